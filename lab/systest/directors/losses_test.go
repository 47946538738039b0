package directors

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// loss is what clients of one kind lose in a rolling restart.
type loss struct {
	text   string   // in the README
	errors []string // how their requests fail; none: they do not
	always bool     // some do, each time that both nodes are restarted
	killed bool     // only from the end of the web server until its start; else from the drain on
}

// ending is how a drain ends.
type ending struct {
	text         string // in the README
	inTime, late bool   // which of them may be
}

// A director that has deleted a node answers what comes for its connections with
// a reset, which the node never sees. One without the settings sends clients to a
// node that has drained.
var (
	nothing   = loss{text: "none"}
	underWay  = loss{"those under way", []string{"reset"}, false, false}
	ofTheNode = loss{"one on each of the node's connections", []string{"reset"}, false, false}
	onTheNode = loss{"all on the node", []string{"reset"}, true, false}
	sentThere = loss{"all sent there", []string{"refused", "reset", "cut off"}, true, true}

	inTime    = ending{"in time", true, false}
	late      = ending{"at `drain.timeout`", false, true}
	eitherWay = ending{"too early, or at `drain.timeout`", true, true}
)

// losses are what a rolling restart loses behind a director.
type losses struct {
	director                             string
	persistent                           bool
	short, samePort, keptAlive, download loss
	drain                                ending
}

var (
	theKeepalived      = losses{"keepalived, `HTTP_GET`", false, nothing, nothing, nothing, nothing, inTime}
	theKeepalivedKeeps = losses{"keepalived, `HTTP_GET`", true, nothing, nothing, nothing, nothing, inTime}
	theProbe           = losses{"keepalived, `--check probe`", false, nothing, nothing, nothing, nothing, inTime}
	theLdirectord      = losses{"ldirectord", false, nothing, nothing, nothing, nothing, inTime}
	theLdirectordKeeps = losses{"ldirectord", true, nothing, nothing, nothing, nothing, inTime}
	theLdirectordProbe = losses{"ldirectord, `--check probe`", false, nothing, nothing, nothing, nothing, inTime}
	theHAProxy         = losses{"HAProxy", false, nothing, nothing, nothing, nothing, inTime}
	theAgent           = losses{"HAProxy, `--check agent`", false, nothing, nothing, nothing, nothing, inTime}
	theApache          = losses{"Apache", false, nothing, nothing, nothing, nothing, inTime}
	theDeleting        = losses{"keepalived, `--delete-failed`", false, underWay, underWay, ofTheNode, onTheNode, late}
	theDeletingKeeps   = losses{"keepalived, `--delete-failed`", true, underWay, underWay, ofTheNode, onTheNode, late}
	theUnsettled       = losses{"keepalived without the settings", false, nothing, sentThere, nothing, nothing, eitherWay}
	theUnsettledKeeps  = losses{"keepalived without the settings", true, sentThere, sentThere, sentThere, nothing, eitherWay}
)

var allLosses = []losses{
	theKeepalived, theKeepalivedKeeps, theProbe, theLdirectord, theLdirectordKeeps, theLdirectordProbe,
	theHAProxy, theAgent, theApache, theDeleting, theDeletingKeeps, theUnsettled, theUnsettledKeeps,
}

func (l losses) String() string {
	if l.persistent {
		return l.director + ", persistent"
	}
	return l.director
}

// row is a line of the README's table.
func (l losses) row() string {
	return fmt.Sprintf("| %v | %s | %s | %s | %s | %s |", l, l.short.text, l.samePort.text, l.keptAlive.text, l.download.text, l.drain.text)
}

func TestTheReadmeSaysWhatARollingRestartLoses(t *testing.T) {
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range allLosses {
		if !strings.Contains(string(readme), "\n"+l.row()+"\n") {
			t.Errorf("no such line: %s", l.row())
		}
	}
}
