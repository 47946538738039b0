package agent

import (
	"errors"
	"strings"
	"testing"

	"rsagent/agent/health"
	"rsagent/probe/sockets"
	"rsagent/tunnel"
	"rsagent/tunnel/path"
)

func TestWhatIsTooLargeForTheTunnelIsToldIfItGetsLost(t *testing.T) {
	c := oneVIPOnly(t)
	for _, x := range []struct {
		name      string
		mtu       int
		announced int
		gaps      sockets.Gaps
		err       error
		want      health.Status
	}{
		{"nobody was answered", 1500, 0, sockets.Gaps{}, nil, health.OK},
		{"what is announced fits", 1500, 1440, sockets.Gaps{Open: 9, Waiting: 9}, nil, health.OK},
		{"jumbo frames", 9000, 1460, sockets.Gaps{Open: 9, Waiting: 9}, nil, health.OK},
		{"it does not fit, and all comes", 1500, 1460, sockets.Gaps{Open: 900}, nil, health.OK},
		{"one client is gone", 1500, 1460, sockets.Gaps{Open: 3, Waiting: 1}, nil, health.OK},
		{"some of many clients are gone", 1500, 1460, sockets.Gaps{Open: 900, Waiting: 9}, nil, health.OK},
		{"many clients wait", 1500, 1460, sockets.Gaps{Open: 20, Waiting: 4}, nil, health.Failed},
		{"connections cannot be listed", 1500, 1460, sockets.Gaps{}, errors.New("no"), health.Unknown},
	} {
		t.Run(x.name, func(t *testing.T) {
			n := Node{Facing: []int{2}, Examined: &Examination{Gaps: x.gaps, GapsErr: x.err, Path: path.Facts{Wire: path.Wire{MSS: x.announced}}}}
			n.Net.Links = []tunnel.Link{{Index: 2, Name: "eth0", MTU: x.mtu, Up: true}}
			v := largePacketsCome(c).Evaluate(n)
			if v.Status != x.want || v.Status == health.Failed && !strings.Contains(v.Remedy, "maxseg size set 1440") {
				t.Errorf("got %+v, want %s", v, x.want)
			}
		})
	}
	if v := largePacketsCome(c).Evaluate(Node{Examined: &Examination{Path: path.Facts{WireErr: errors.New("no")}}}); v.Status != health.Unknown {
		t.Errorf("without a look at the wire: %+v", v)
	}
}
