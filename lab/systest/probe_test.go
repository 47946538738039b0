//go:build lab

package systest

import (
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rsagent/lab/network"
	"rsagent/probe/through"
)

// tunnelFault is something that a check of the node's own address does not see.
type tunnelFault struct {
	name     string
	do, undo string // scripts on the node
	want     string // what the probe says
}

func probeFaults(node *network.Host) []tunnelFault {
	const silent = "no SYN-ACK from the VIP within 1s"
	nginx := fmt.Sprintf("NGINX=%s/nginx RIP=%s\n", node.Dir, node.Addr) + restartNginx
	return []tunnelFault{
		{"tunl0 is down", "ip link set tunl0 down", "ip link set tunl0 up", "it answers IPIP by ICMP port unreachable"},
		{"the VIP is missing", "ip addr del 10.9.0.100/32 dev tunl0", "ip addr add 10.9.0.100/32 dev tunl0 scope host", silent},
		{"rp_filter is strict", "echo 1 > /proc/sys/net/ipv4/conf/tunl0/rp_filter", "echo 2 > /proc/sys/net/ipv4/conf/tunl0/rp_filter", silent},
		{"protocol 4 is dropped", "nft 'table ip t { chain c { type filter hook input priority 0; ip protocol 4 drop; }; }'", "nft delete table ip t", silent},
		{"nothing listens for the VIP", nginx + listenAt("$RIP:80"), nginx + listenAnywhere, "it refuses the connection"},
		{"the answers find no way back", "ip rule add pref 77 from 10.9.0.100 blackhole", "ip rule del pref 77", silent},
	}
}

// newProbed is a site whose first node rsagent has set up, with these tables
// besides, with an active director and a backup that has the same services and no
// VIP.
func newProbed(t *testing.T, tables ...string) (*network.Site, *network.Process) {
	t.Helper()
	site := newService(t)
	ok(t, site.Dir2.Direct(site.Nodes(), 80))
	ok(t, site.Dir2.IP("addr del 10.9.0.100/32 dev eth0"))
	return site, startAgent(t, site.Web1, site.AgentConfig(append(tables, quick, network.HTTPPool)...))
}

// asks runs the command on a director and returns its status and what it said.
func asks(t *testing.T, director, node *network.Host, args ...string) (int, string) {
	t.Helper()
	args = append([]string{"probe", "--timeout", "1s", "--vip", network.VIP.String() + ":80", "--real", node.Addr.String()}, args...)
	p, err := director.Start(exec.Command("rsagent", args...))
	ok(t, err)
	status, err := p.Wait(patience)
	ok(t, err)
	return status, p.Log()
}

func TestAProbeFindsWhatAPlainCheckDoesNot(t *testing.T) {
	site, agent := newProbed(t)
	dies(t, agent) // it would mend each of them
	good := func(when string) {
		t.Helper()
		for _, director := range site.Directors() {
			if status, said := asks(t, director, site.Web1); status != 0 || !strings.HasPrefix(said, "good: ") {
				t.Fatalf("%s, from %s: status %d: %s", when, director.Name, status, said)
			}
		}
	}
	good("at first")
	for _, f := range probeFaults(site.Web1) {
		run(t, site.Web1, f.do)
		for _, director := range site.Directors() {
			status, said := asks(t, director, site.Web1)
			if status != 1 || !strings.Contains(said, f.want) {
				t.Errorf("%s, from %s: status %d, want 1 and %q: %s", f.name, director.Name, status, f.want, said)
			}
			if status, _, err := director.Get("http://" + site.Web1.Addr.String()); err != nil || status != 200 {
				t.Errorf("%s: a plain check from %s sees it too: %d, %v", f.name, director.Name, status, err)
			}
		}
		run(t, site.Web1, f.undo)
		good("after " + f.name)
	}
	noneHalfOpen(t, site.Web1)
}

// A node that lacks the VIP and forwards brings the SYN to the active director,
// which would hand it to a good node: that one must not answer for the other.
func TestAnotherNodesAnswerIsNotTakenForThisOnes(t *testing.T) {
	site, agent := newProbed(t)
	dies(t, agent)
	startAgent(t, site.Web2, site.AgentConfig(network.HTTPPool))
	run(t, site.Web1, "ip addr del 10.9.0.100/32 dev tunl0; echo 1 > /proc/sys/net/ipv4/ip_forward")
	for _, director := range site.Directors() {
		for range 4 { // the director takes nodes in turn
			if status, said := asks(t, director, site.Web1); status != 1 {
				t.Errorf("from %s: status %d: %s", director.Name, status, said)
			} else {
				t.Logf("from %s: %s", director.Name, said)
			}
		}
	}
}

// The node's own word decides with it, and keepalived takes 2 for a drain.
func TestAProbeKnowsOfADrain(t *testing.T) {
	site, agent := newProbed(t)
	ready := []string{"--ready", "http://:9380/ready/http-pool"}
	wants := func(status int, words string, args ...string) {
		t.Helper()
		for _, director := range site.Directors() {
			if got, said := asks(t, director, site.Web1, append(ready, args...)...); got != status || !strings.Contains(said, words) {
				t.Errorf("from %s: status %d, want %d and %q: %s", director.Name, got, status, words, said)
			}
		}
	}
	wants(0, "ms): ready")
	wants(0, "ms): ready", "--plain")
	ok(t, agent.Signal(syscall.SIGTERM))
	ok(t, agent.WaitLog("draining", patience))
	wants(2, "wants no more: draining")
	_, err := agent.Wait(patience)
	ok(t, err)
	wants(1, "whether it is ready cannot be learned: no answer: nothing listens there")
	wants(1, "rsagent does not run on the node", "--plain")
}

// keepalived's misc_dynamic takes N for the weight N-2, of which the node says how
// much it wants; 2 is a node that is good and wants nobody new.
func TestAProbeKnowsOfAWeight(t *testing.T) {
	file := filepath.Join(t.TempDir(), "weight")
	site, _ := newProbed(t, fmt.Sprintf("[weight]\nfrom = \"file\"\nfile = %q\n", file))
	for _, step := range []struct {
		name, script string
		status       int
		words        string
		args         []string
	}{
		{"no file yet", "true", 0, "ms): ready\n", nil},
		{"a part", "echo 30 > " + file, 32, "at 30% of its weight", nil},
		{"a part of a weight that is not 100", "true", 62, "at 30% of its weight", []string{"--weight", "200"}},
		{"a part, and only 0 and 1 are asked for", "true", 0, "at 30% of its weight", []string{"--plain"}},
		{"nothing", "echo 0 > " + file, 2, "wants no more: ready at weight 0", nil},
		{"no number any more", "echo none > " + file, 2, "wants no more: ready at weight 0", nil},
		{"all", "echo 100 > " + file, 0, "ms): ready\n", nil},
	} {
		run(t, site.Web1, step.script)
		time.Sleep(time.Second) // the file is read at once, but this machine is emulated
		for _, director := range site.Directors() {
			args := append([]string{"--ready", "http://:9380/ready/http-pool"}, step.args...)
			if got, said := asks(t, director, site.Web1, args...); got != step.status || !strings.Contains(said, step.words) {
				t.Errorf("%s, from %s: status %d, want %d and %q: %s", step.name, director.Name, got, step.status, step.words, said)
			}
		}
	}
}

// A good node is good each time, from both directors at once.
func TestAGoodNodeIsGoodAThousandTimes(t *testing.T) {
	site, _ := newProbed(t)
	vip := netip.AddrPortFrom(network.VIP, 80)
	var both sync.WaitGroup
	for _, director := range site.Directors() {
		both.Go(func() {
			var took []time.Duration
			bad := 0
			for range 1000 {
				began := time.Now()
				var results []through.Result
				err := director.Do(func() (err error) {
					results, err = through.Ask(t.Context(), through.Question{VIP: vip, Reals: []netip.Addr{site.Web1.Addr}})
					return err
				})
				took = append(took, time.Since(began))
				if err != nil || results[0].State != through.Good {
					bad++
					t.Errorf("from %s: %+v, %v", director.Name, results, err)
				}
			}
			slices.Sort(took)
			t.Logf("from %s: %d of 1000 good, p50 %v, max %v", director.Name, 1000-bad, took[500], took[999])
		})
	}
	both.Wait()
	noneHalfOpen(t, site.Web1)
}

// noneHalfOpen wants no connection of a probe to wait for its client on the node.
func noneHalfOpen(t *testing.T, node *network.Host) {
	t.Helper()
	left := ""
	if !soon(func() bool {
		var err error
		left, err = node.Run("ss", "-Htn", "state", "syn-recv")
		ok(t, err)
		return strings.TrimSpace(left) == ""
	}) {
		t.Errorf("connections are left half open: %s", left)
	}
}
