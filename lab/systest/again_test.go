//go:build lab

package systest

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rsagent/lab/network"
)

// everySetting is what rsagent may write by itself.
var everySetting = []string{
	"net/ipv4/conf/*/arp_ignore", "net/ipv4/conf/*/arp_announce", "net/ipv4/conf/*/rp_filter",
	"net/ipv4/conf/*/accept_redirects", "net/ipv4/conf/*/send_redirects",
	"net/ipv4/tcp_synack_retries", "net/ipv4/tcp_fin_timeout",
}

func TestASecondStartChangesNothing(t *testing.T) {
	site := newSite(t)
	_, err := site.Web1.StartNginx()
	ok(t, err)
	config := site.AgentConfig("[sysctl]\n\"net.ipv4.tcp_fin_timeout\" = \"17\"\n", network.HTTPPool)
	start := func() []string {
		writes, err := site.Web1.WatchWrites(everySetting...)
		ok(t, err)
		agent := startAgent(t, site.Web1, config)
		time.Sleep(time.Second)
		dies(t, agent)
		seen, err := writes.Stop()
		ok(t, err)
		return seen
	}
	first := start()
	for _, want := range []string{
		"write net/ipv4/conf/all/arp_ignore", "write net/ipv4/conf/all/arp_announce",
		"write net/ipv4/conf/all/accept_redirects", "write net/ipv4/conf/default/send_redirects",
		"write net/ipv4/tcp_fin_timeout", "link new", "address new",
	} {
		if !slices.Contains(first, want) {
			t.Errorf("nothing was seen of %q at the first start, only %q", want, first)
		}
	}
	if diff := cmp.Diff([]string(nil), start()); diff != "" {
		t.Errorf("changed by the second start (-want +got):\n%s", diff)
	}
}

func TestANodeSetUpByHandIsTakenOver(t *testing.T) {
	site := newService(t)
	for _, node := range site.Nodes() {
		ok(t, setUpByHand(node))
	}
	load := site.Client.StartLoad(perSecond)
	startAgents(t, site, site.AgentConfig(network.HTTPPool))
	time.Sleep(time.Second)
	answers := load.Stop()
	allAnswered(t, answers, "web1", "web2")
	noneDelayed(t, answers)
}

func TestANodeServesWhereReversePathFilteringIsStrict(t *testing.T) {
	site := newService(t)
	ok(t, site.Web1.SetSysctl("net/ipv4/conf/all/rp_filter", "1"))
	ok(t, site.Web1.SetSysctl("net/ipv4/conf/default/rp_filter", "1"))
	startAgents(t, site, site.AgentConfig(network.HTTPPool))
	allAnswered(t, site.Client.Requests(20), "web1", "web2")
	if all, err := site.Web1.Sysctl("net/ipv4/conf/all/rp_filter"); err != nil || all != "1" {
		t.Errorf("conf/all/rp_filter is %s, %v: it is not rsagent's to change", all, err)
	}
}
