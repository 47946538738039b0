//go:build lab

package systest

import (
	"strings"
	"testing"
	"time"

	"rsagent/lab/network"
)

// The director watches /ready all the while, so it sees the agent go and come.
func TestTrafficDoesNotDependOnTheDaemon(t *testing.T) {
	site, _, agent := newChecked(t, quick)
	load := site.Client.StartLoad(perSecond)
	time.Sleep(time.Second)

	dies(t, agent)
	time.Sleep(time.Second)
	agent = startAgent(t, site.Web1, site.AgentConfig(network.HTTPPool, quick)) // over what it left
	time.Sleep(time.Second)
	ends(t, agent) // and once more, as a restart does
	startAgent(t, site.Web1, site.AgentConfig(network.HTTPPool, quick))
	ok(t, site.Dir1.UntilDirects(site.Nodes()...))
	time.Sleep(2 * time.Second)
	back := time.Now().Add(-time.Second)
	answers := load.Stop()

	allAnswered(t, answers, "web1", "web2")
	if answers.Between(back, time.Now()).ByNode()["web1"] == 0 {
		t.Errorf("web1 did not come back: %v", answers.Between(back, time.Now()))
	}
}

// Here the director checks nothing, so the node gets its share all the while.
func TestARestartMovesNoPacket(t *testing.T) {
	site := newService(t)
	// This director asks nobody, and goes on sending.
	config := site.AgentConfig(network.HTTPPool, "[drain]\nnotice = \"1s\"\ntimeout = \"1s\"\n")
	agent, _ := startAgents(t, site, config)
	load := site.Client.StartLoad(2 * perSecond)
	for _, end := range []func(*testing.T, *network.Process){dies, ends, dies} {
		time.Sleep(500 * time.Millisecond)
		end(t, agent)
		time.Sleep(500 * time.Millisecond)
		agent = startAgent(t, site.Web1, config)
	}
	time.Sleep(500 * time.Millisecond)
	answers := load.Stop()
	allAnswered(t, answers, "web1", "web2")
	noneDelayed(t, answers)
}

func TestWhatWasSetUpSurvivesTheDaemon(t *testing.T) {
	site := newService(t)
	const settings = "[sysctl]\n\"net.ipv4.tcp_fin_timeout\" = \"17\"\n"
	const foreign = "10.9.0.77/32"
	agent := startAgent(t, site.Web1, site.AgentConfig(settings, network.HTTPPool, quick))
	startAgent(t, site.Web2, site.AgentConfig(network.HTTPPool))
	ok(t, site.Web1.IP("addr add "+foreign+" dev tunl0"))
	ok(t, agent.WaitLog(foreign, 5*time.Second))

	stands := func(t *testing.T) {
		t.Helper()
		wantState(t, site.Web1, "arp_ignore 1, arp_announce 2, tunl0@NONE UNKNOWN 10.9.0.100/32 "+foreign)
		if value, err := site.Web1.Sysctl("net/ipv4/tcp_fin_timeout"); err != nil || value != "17" {
			t.Errorf("tcp_fin_timeout is %s, %v, want 17", value, err)
		}
		allAnswered(t, site.Client.Requests(20), "web1", "web2")
	}
	dies(t, agent)
	stands(t)
	agent = startAgent(t, site.Web1, site.AgentConfig(settings, network.HTTPPool, quick))
	stands(t)
	_, findings := check(t, site.Web1)
	if f := findings["tunnel/foreign"]; f.Status != "failed" || f.Severity != "advisory" || f.Got != foreign {
		t.Errorf("the address of somebody else is reported as %+v", f)
	}
	ends(t, agent)
	stands(t)
}

// wantState compares how far a node's set-up has come, without its IPv6.
func wantState(t *testing.T, node *network.Host, want string) {
	t.Helper()
	if got := stateOf(t, node); got != want && !strings.HasPrefix(got, want+" ") {
		t.Errorf("%s is in the state %q, want %q", node.Name, got, want)
	}
}
