//go:build lab

package boot

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"rsagent/lab/network"
)

const (
	unit = "rsagent.service"
	// soon is before the next sweep, which would hide that there was no word of a
	// change.
	soon = 4 * time.Second
	// patience is how long anything may take on an emulated machine that boots.
	patience = 90 * time.Second
	// perSecond is how many new connections the clients open all the while.
	perSecond = 5
)

// node is this machine, as web1, and what goes on around it.
type node struct {
	t       *testing.T
	site    *network.Site
	ended   chan os.Signal // when all that uses the network has been stopped
	capture *network.Capture
	asker   *network.Asker // asks who has the VIP, from before the cable is in
	load    *network.Load
}

// powerOn wires the node up while it boots, into a site that serves.
func powerOn(t *testing.T) *node {
	t.Helper()
	n := &node{t: t, ended: make(chan os.Signal, 1)}
	signal.Notify(n.ended, syscall.SIGTERM)
	site, err := network.New()
	ok(t, err)
	// The site goes with the machine.
	n.site = site
	ok(t, site.TakeWeb1())
	t.Cleanup(func() {
		if t.Failed() {
			for _, e := range n.entries("--boot", "--unit="+unit, "--unit=nginx") {
				if e.Program != "rsagent" || e.line.Message != "" { // no goroutines of one that was aborted
					t.Log(e)
				}
			}
		}
	})
	n.capture, err = site.StartARPCapture()
	ok(t, err)
	n.asker, err = site.Client.StartAsking(network.VIP)
	ok(t, err)
	n.isSilentBeforeTheNetwork()
	ok(t, site.PlugIn(site.Web1))

	n.until("nginx on web2", func() error { _, err := site.Web2.StartNginx(); return err })
	_, err = site.Web2.StartAgent(site.AgentConfig(network.HTTPPool))
	ok(t, err)
	_, err = site.Dir1.StartKeepalived(network.Keepalived{Priority: 100, Nodes: site.Nodes(), Inhibit: true})
	ok(t, err)
	n.until("traffic to web2", func() error { return site.Dir1.UntilDirects(site.Web2) })
	n.load = site.Client.StartLoad(perSecond)
	return n
}

// until tries again and again.
func (n *node) until(what string, try func() error) {
	n.t.Helper()
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Since(began) > patience {
			n.t.Fatalf("%s does not come about: %v", what, err)
		}
	}
}

// within waits, but not long, until settings by their paths below net/ipv4/conf
// have their values, and says how long that took.
func (n *node) within(limit time.Duration, values map[string]string) time.Duration {
	n.t.Helper()
	began := time.Now()
	for path, want := range values {
		for n.setting(path) != want {
			if time.Since(began) > limit {
				n.t.Errorf("%s is %s, not %s, after %v", path, n.setting(path), want, limit)
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return time.Since(began)
}

func (n *node) setting(path string) string {
	n.t.Helper()
	value, err := os.ReadFile("/proc/sys/net/ipv4/conf/" + path)
	ok(n.t, err)
	return strings.TrimSpace(string(value))
}

func (n *node) set(path, value string) {
	n.t.Helper()
	ok(n.t, os.WriteFile("/proc/sys/net/ipv4/conf/"+path, []byte(value), 0))
}

func (n *node) run(words ...string) string {
	n.t.Helper()
	out, err := run(words...)
	ok(n.t, err)
	return strings.TrimSpace(out)
}

// show asks systemd for a property of a unit.
func (n *node) show(unit, property string) string {
	n.t.Helper()
	return n.run("systemctl", "show", "--value", "--property="+property, unit)
}

func (n *node) want(property, value string) {
	n.t.Helper()
	if got := n.show(unit, property); got != value {
		n.t.Errorf("the unit's %s is %q, want %q", property, got, value)
	}
}

// inService: the director sends to the node, and it answers.
func (n *node) inService() {
	n.t.Helper()
	n.until("traffic to web1", func() error { return n.site.Dir1.UntilDirects(n.site.Web1) })
	since := time.Now()
	n.until("an answer of web1", func() error {
		if n.load.SoFar().Between(since, time.Now()).ByNode()["web1"] == 0 {
			return errors.New("there is none")
		}
		return nil
	})
	if got := n.run("ip", "-4", "-brief", "address", "show", "dev", "tunl0", "up"); !strings.Contains(got, network.VIP.String()+"/32") {
		n.t.Errorf("tunl0 is %q, want the VIP on it", got)
	}
}

// entry is a line of the journal (systemd.journal-fields(7)), and what rsagent has
// in it if it is rsagent's.
type entry struct {
	Cursor   string `json:"__CURSOR"`
	Priority string `json:"PRIORITY"`
	Program  string `json:"SYSLOG_IDENTIFIER"`
	Of       string `json:"_SYSTEMD_UNIT"`
	About    string `json:"UNIT"` // which unit systemd speaks of
	Result   string `json:"UNIT_RESULT"`
	Message  any    `json:"MESSAGE"` // an array of bytes, if it is not text
	line     line
}

type line struct {
	Level, Message, Condition, What, Old, New string
}

func (e entry) String() string {
	return fmt.Sprintf("%s <%s> %v", e.Program, e.Priority, e.Message)
}

func (n *node) entries(args ...string) []entry {
	n.t.Helper()
	n.run("journalctl", "--sync")
	var entries []entry
	for text := range strings.Lines(n.run(append([]string{"journalctl", "--quiet", "--output=json"}, args...)...)) {
		var e entry
		ok(n.t, json.Unmarshal([]byte(text), &e))
		if said, is := e.Message.(string); is && e.Program == "rsagent" {
			_ = json.Unmarshal([]byte(said), &e.line) // what is no JSON has no such line
		}
		entries = append(entries, e)
	}
	return entries
}

// cursor is where the journal ends now.
func (n *node) cursor() string {
	n.t.Helper()
	last := n.entries("--lines=1")
	if len(last) != 1 {
		n.t.Fatal("the journal is empty")
	}
	return last[0].Cursor
}

// since are the entries after a cursor. Asked for those of one unit, journalctl
// would leave out the first, if the cursor's own is of another.
func (n *node) since(cursor string) []entry {
	n.t.Helper()
	return n.entries("--after-cursor=" + cursor)
}

// repairs are those of which the journal tells after a cursor.
func (n *node) repairs(after string) []entry {
	n.t.Helper()
	var repairs []entry
	for _, e := range n.since(after) {
		if e.line.Message == "repaired" {
			repairs = append(repairs, e)
		}
	}
	return repairs
}

// waitRepair waits until the journal tells of the repair of what.
func (n *node) waitRepair(after, what string) (found entry) {
	n.t.Helper()
	n.until("word of the repair of "+what, func() error {
		for _, e := range n.repairs(after) {
			if found = e; e.line.What == what {
				return nil
			}
		}
		return fmt.Errorf("the journal has none")
	})
	return found
}

func run(words ...string) (string, error) {
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("cannot run %s: %v: %s", strings.Join(words, " "), err, out)
	}
	return string(out), nil
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
