//go:build lab

package systest

import (
	"strings"
	"testing"
	"time"

	"rsagent/lab/network"
)

// perSecond is the load that most tests put on the VIP: new connections a
// second.
const perSecond = 20

// newChecked returns a site whose director is keepalived, with nginx and
// rsagent on both nodes.
func newChecked(t *testing.T, config string) (site *network.Site, nginx, agent *network.Process) {
	t.Helper()
	site = newSite(t)
	nginx, err := site.Web1.StartNginx()
	ok(t, err)
	_, err = site.Web2.StartNginx()
	ok(t, err)
	agent, _ = startAgents(t, site, site.AgentConfig(network.HTTPPool, config))
	_, err = site.Dir1.StartKeepalived(network.Keepalived{Priority: 100, Nodes: site.Nodes(), Inhibit: true})
	ok(t, err)
	ok(t, site.Dir1.UntilDirects(site.Nodes()...))
	return site, nginx, agent
}

func TestADrainedNodeLosesNoRequest(t *testing.T) {
	site, nginx, agent := newChecked(t, quick)
	load := site.Client.StartLoad(perSecond)
	time.Sleep(2 * time.Second)

	asked := time.Now()
	ends(t, agent)
	drained := time.Now()
	ends(t, nginx)
	time.Sleep(2 * time.Second)
	answers := load.Stop()

	allAnswered(t, answers, "web1", "web2")
	if n := answers.Between(drained, time.Now()).ByNode()["web1"]; n != 0 {
		t.Errorf("%d new requests came to web1 after it had drained", n)
	}
	t.Logf("the drain took %v", drained.Sub(asked))
	for _, want := range []string{`"signal":"SIGTERM"`, `"told":1,"connections_left":0`} {
		if !strings.Contains(agent.Log(), want) {
			t.Errorf("no %s in the log: %s", want, agent.Log())
		}
	}
	if strings.Contains(agent.Log(), "not_told") {
		t.Errorf("the director was not told: %s", agent.Log())
	}
}

// Without rsagent the director looks at the web server itself, as people have
// it today. This is what makes the test above one that can fail.
func TestANodeStoppedWithoutADrainLosesRequests(t *testing.T) {
	site := newSite(t)
	nginx, err := site.Web1.StartNginx()
	ok(t, err)
	_, err = site.Web2.StartNginx()
	ok(t, err)
	for _, node := range site.Nodes() {
		ok(t, setUpByHand(node))
	}
	_, err = site.Dir1.StartKeepalived(network.Keepalived{
		Priority: 100, Nodes: site.Nodes(), Inhibit: true, CheckPort: 80, CheckPath: "/",
	})
	ok(t, err)
	ok(t, site.Dir1.UntilDirects(site.Nodes()...))

	load := site.Client.StartLoad(perSecond)
	time.Sleep(2 * time.Second)
	stopped := time.Now()
	ends(t, nginx)
	time.Sleep(5 * time.Second)
	answers := load.Stop()

	t.Log(answers)
	if failed := answers.Between(time.Time{}, stopped.Add(-time.Second)).Failed(); len(failed) > 0 {
		t.Errorf("requests failed before anything was stopped: %v", failed)
	}
	if len(answers.Failed()) == 0 {
		t.Error("no request failed, want some: what shows that a drain loses none shows nothing")
	}
}

// setUpByHand makes a node what people make it today, in the order of the seed:
// sysctls, then tunl0.
func setUpByHand(node *network.Host) error {
	for _, setting := range [][2]string{
		{"net/ipv4/conf/all/arp_ignore", "1"},
		{"net/ipv4/conf/all/arp_announce", "2"},
		{"net/ipv4/conf/all/rp_filter", "0"},
		{"net/ipv4/conf/default/rp_filter", "0"},
	} {
		if err := node.SetSysctl(setting[0], setting[1]); err != nil {
			return err
		}
	}
	if _, err := node.Run("sh", "-c", "ip link show tunl0 || ip link add tunl0 type ipip"); err != nil {
		return err
	}
	return node.IP("addr add "+network.VIP.String()+"/32 dev tunl0", "link set tunl0 up")
}
