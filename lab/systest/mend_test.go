//go:build lab

package systest

import (
	"fmt"
	"testing"
	"time"

	"rsagent/lab/network"
)

// damage is what goes wrong on a node, and what check calls it.
type damage struct {
	name, id string
	do       func(node *network.Host) error
}

func damages() []damage {
	ip := func(line string) func(*network.Host) error {
		return func(node *network.Host) error { return node.IP(line) }
	}
	set := func(path, value string) func(*network.Host) error {
		return func(node *network.Host) error { return node.SetSysctl(path, value) }
	}
	return []damage{
		{"tunl0 is set down", "tunnel/up", ip("link set tunl0 down")},
		{"the VIP is deleted", "tunnel/vip/10.9.0.100", ip("addr del 10.9.0.100/32 dev tunl0")},
		{"reverse path filtering comes back", "sysctl/rp_filter/tunl0", set("net/ipv4/conf/tunl0/rp_filter", "1")},
		{"ARP is let out", "sysctl/arp_ignore/all", set("net/ipv4/conf/all/arp_ignore", "0")},
	}
}

func TestWhatGoesWrongOnANodeIsMended(t *testing.T) {
	site := newService(t)
	startAgents(t, site, site.AgentConfig(network.HTTPPool))
	// Less than the 10 s of a sweep: it is the event that has it mended.
	const within = 3 * time.Second
	whole := stateWithFilter(t, site.Web1)
	for _, d := range damages() {
		t.Run(d.name, func(t *testing.T) {
			ok(t, d.do(site.Web1))
			broken := time.Now()
			for got := ""; got != whole; time.Sleep(10 * time.Millisecond) {
				if got = stateWithFilter(t, site.Web1); got != whole && time.Since(broken) > within {
					t.Fatalf("after %v the node is still in the state %q, want %q", within, got, whole)
				}
			}
			t.Logf("mended within %v", time.Since(broken))
			allAnswered(t, site.Client.Requests(10), "web1", "web2")
		})
	}
}

// The daemon is dead, so nobody but check's reader mends anything.
func TestCheckNamesTheCommandThatMends(t *testing.T) {
	site := newService(t)
	web1, _ := startAgents(t, site, site.AgentConfig(network.HTTPPool))
	dies(t, web1)
	for _, d := range damages() {
		t.Run(d.name, func(t *testing.T) {
			if status, report := check(t, site.Web1); status != 0 {
				t.Fatalf("check exits with %d for a whole node: %+v", status, report)
			}
			ok(t, d.do(site.Web1))
			status, report := check(t, site.Web1)
			f := report[d.id]
			if status != 1 || f.Status != "failed" || f.Severity != "required" {
				t.Fatalf("check exits with %d, want 1, and says %+v of it", status, f)
			}
			out, err := site.Web1.Run("sh", "-c", f.Remedy)
			t.Logf("%s: %s", f.Remedy, out)
			ok(t, err)
			if status, report := check(t, site.Web1); status != 0 {
				t.Errorf("check exits with %d after the remedy: %+v", status, report)
			}
			allAnswered(t, site.Client.Requests(10), "web1", "web2")
		})
	}
}

// stateWithFilter is stateOf and whether reverse path filtering is strict.
func stateWithFilter(t *testing.T, node *network.Host) string {
	t.Helper()
	value, err := node.Sysctl("net/ipv4/conf/tunl0/rp_filter")
	return fmt.Sprintf("%s, strict %t, %v", stateOf(t, node), value == "1", err)
}
