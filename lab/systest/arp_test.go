//go:build lab

package systest

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"rsagent/lab/network"
)

// arpSettings are the files whose writes mark the moments of a start-up.
var arpSettings = []string{"net/ipv4/conf/*/arp_ignore", "net/ipv4/conf/*/arp_announce"}

// moments are when the daemon is killed in its start-up: at a time after its
// start, or at the nth change that it makes.
var moments = []struct {
	after  time.Duration
	change int
}{
	{after: 0}, {after: 50 * time.Millisecond},
	{change: 1}, {change: 2}, {change: 3}, {change: 4}, {change: 5}, {change: 6}, {change: 7},
	{after: time.Second},
}

func TestNoNodeEverSpeaksForTheVIP(t *testing.T) {
	site := newService(t)
	capture, err := site.StartCapture()
	ok(t, err)
	asker, err := site.Client.StartAsking(network.VIP)
	ok(t, err)

	var states []string
	for _, m := range moments {
		var p *network.Process
		if m.change > 0 {
			p = killAtChange(t, site, m.change)
		} else {
			p = killAfter(t, site, m.after)
		}
		asker.Ask()
		state := stateOf(t, site.Web1)
		t.Logf("killed %v after its start, at change %d: %s", m.after, m.change, state)
		if !slices.Contains(states, state) {
			states = append(states, state)
		}
		time.Sleep(150 * time.Millisecond) // at least one more question in this state
		ok(t, p.Kill())
		makeBare(t, site.Web1)
	}
	agent := startAgent(t, site.Web1, site.AgentConfig(network.HTTPPool, quick))
	startAgent(t, site.Web2, site.AgentConfig(network.HTTPPool))
	// A node that answers from the VIP asks for the client's address: that
	// question must not come from the VIP either.
	ok(t, site.Web1.IP("neigh flush all"))
	allAnswered(t, site.Client.Requests(20), "web1", "web2")
	ends(t, agent)
	time.Sleep(300 * time.Millisecond)

	asked, err := asker.Stop()
	ok(t, err)
	frames, err := capture.Stop()
	ok(t, err)
	answers, questions := 0, 0
	for _, f := range frames {
		if f.Sent && f.Host == "web1" && f.ARP != nil && f.ARP.TargetAddr == site.Client.Addr {
			questions++
		}
		if !f.Sent || !f.ARP.Claims(network.VIP) {
			continue
		}
		if f.Host != "dir1" {
			t.Errorf("%s spoke for the VIP: %v", f.Host, f)
		}
		answers++
	}
	if answers < asked {
		t.Errorf("the client asked %d times and got %d answers, so the test proves nothing", asked, answers)
	}
	if questions == 0 {
		t.Error("web1 never asked for the client, so the test proves nothing")
	}
	if len(states) < 5 {
		t.Errorf("the daemon was killed in %d different states, want 5 or more: %v", len(states), states)
	}
}

// Without this the test above could not fail: it shows that it would see it.
func TestANodeThatAnswersARPForTheVIPIsSeen(t *testing.T) {
	site := newService(t)
	ok(t, setUpByHand(site.Web1))
	ok(t, site.Web1.SetSysctl("net/ipv4/conf/all/arp_ignore", "0"))
	ok(t, site.Web1.SetSysctl("net/ipv4/conf/all/arp_announce", "0"))
	capture, err := site.StartCapture()
	ok(t, err)
	asker, err := site.Client.StartAsking(network.VIP)
	ok(t, err)
	time.Sleep(300 * time.Millisecond)
	_, err = asker.Stop()
	ok(t, err)
	ok(t, site.Web1.IP("neigh flush all"))
	// The reply goes to whom the client takes for the VIP: what counts is how
	// web1 asks for the client.
	_, _ = site.Web1.Run("ping", "-c", "1", "-W", "1", "-I", network.VIP.String(), site.Client.Addr.String())
	frames, err := capture.Stop()
	ok(t, err)

	var replies, requests int
	for _, f := range frames {
		switch {
		case f.Host != "web1" || !f.Sent || !f.ARP.Claims(network.VIP):
		case f.ARP.Reply:
			replies++
		default:
			requests++
		}
	}
	if replies == 0 || requests == 0 {
		t.Errorf("saw %d replies and %d requests of web1 in the VIP's name, want some of both", replies, requests)
	}
}

// killAfter starts the daemon on web1 and kills it a while later.
func killAfter(t *testing.T, site *network.Site, after time.Duration) *network.Process {
	t.Helper()
	p, err := site.Web1.StartAgent(site.AgentConfig())
	ok(t, err)
	time.Sleep(after)
	dies(t, p)
	return p
}

// killAtChange starts the daemon on web1 and kills it when the kernel tells of
// its nth change. It shares its CPU with the one who kills it, so that it gets
// no further.
func killAtChange(t *testing.T, site *network.Site, change int) *network.Process {
	t.Helper()
	cmd, err := site.Web1.Agent(site.AgentConfig(), "run")
	ok(t, err)
	cmd = exec.Command("taskset", append([]string{"-c", "0"}, cmd.Args...)...)
	var p *network.Process
	seen, started, killed := 0, make(chan struct{}), make(chan error, 1)
	writes, err := site.Web1.OnWrites(func(string) {
		if seen++; seen == change {
			<-started
			killed <- p.Kill()
		}
	}, arpSettings...)
	ok(t, err)
	p, err = site.Web1.Start(cmd)
	ok(t, err)
	close(started)
	select {
	case err := <-killed:
		ok(t, err)
	case <-time.After(5 * time.Second):
		t.Logf("there is no change %d", change)
		ok(t, p.Kill())
	}
	_, err = writes.Stop()
	ok(t, err)
	return p
}

// stateOf says how far the set-up of a node has come.
func stateOf(t *testing.T, node *network.Host) string {
	t.Helper()
	ignore, err := node.Sysctl("net/ipv4/conf/all/arp_ignore")
	ok(t, err)
	announce, err := node.Sysctl("net/ipv4/conf/all/arp_announce")
	ok(t, err)
	links, err := node.Run("ip", "-br", "addr")
	ok(t, err)
	tunnel := "no tunl0"
	for line := range strings.Lines(links) {
		if strings.HasPrefix(line, "tunl0") {
			tunnel = strings.Join(strings.Fields(line), " ")
		}
	}
	return fmt.Sprintf("arp_ignore %s, arp_announce %s, %s", ignore, announce, tunnel)
}

// makeBare takes back what the daemon did, first what would speak.
func makeBare(t *testing.T, node *network.Host) {
	t.Helper()
	ok(t, network.UnloadIPIP())
	if !network.OwnMachine() {
		ok(t, node.IP("link set tunl0 down", "addr flush dev tunl0"))
	}
	ok(t, node.SetSysctl("net/ipv4/conf/all/arp_ignore", "0"))
	ok(t, node.SetSysctl("net/ipv4/conf/all/arp_announce", "0"))
}
