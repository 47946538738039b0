//go:build lab

package systest

import (
	"os/exec"
	"testing"

	"rsagent/lab/network"
)

func TestTwoBareNodesServeThroughTheTunnel(t *testing.T) {
	site := newService(t)
	startAgent(t, site.Web1, site.AgentConfig(network.HTTPPool))
	_, err := site.Web2.Start(exec.Command("rsagent", "run", "--vip", network.VIP.String(),
		"--director", site.Dir1.Addr.String(), "--director", site.Dir2.Addr.String()))
	ok(t, err)
	ok(t, site.Web2.UntilReady())
	capture, err := site.StartCapture()
	ok(t, err)
	answers := site.Client.Requests(200)
	frames, err := capture.Stop()
	ok(t, err)
	allAnswered(t, answers, "web1", "web2")

	var encapsulated, direct int
	for _, f := range frames {
		p := f.Packet
		switch {
		case p == nil:
		case f.Host == "dir1" && p.From == network.VIP && p.FromPort == 80:
			t.Fatalf("an answer passed the director: %v", f)
		case f.Host == "dir1" && f.Sent && p.Inner != nil && p.Inner.To == network.VIP:
			encapsulated++
		case f.Host == "client" && !f.Sent && p.From == network.VIP && p.FromPort == 80 &&
			(f.From == site.Web1.MAC || f.From == site.Web2.MAC):
			direct++
		}
	}
	if encapsulated < 2*200 || direct < 2*200 {
		t.Errorf("the director encapsulated %d packets, the nodes sent the client %d; want 400 or more of each", encapsulated, direct)
	}
}
