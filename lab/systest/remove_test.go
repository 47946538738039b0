//go:build lab

package systest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rsagent/lab/network"
)

// rest is a node's state but for the device that the kernel never gives up
// again; that is down.
func rest(t *testing.T, node *network.Host) []string {
	t.Helper()
	state, err := node.State(everySetting...)
	ok(t, err)
	var lines []string
	for line := range strings.Lines(state) {
		if !strings.Contains(line, "tunl0") {
			lines = append(lines, strings.TrimSpace(line))
			continue
		}
		if strings.Contains(line, "inet ") || strings.Contains(line, ",UP") || strings.HasPrefix(line, "local") {
			t.Errorf("tunl0 is in use still: %s", line)
		}
	}
	return lines
}

func TestAStopForGoodGivesBackWhatWasThereBefore(t *testing.T) {
	site := newService(t)
	config := site.AgentConfig(quick, "[sysctl]\n\"net.ipv4.tcp_fin_timeout\" = \"17\"\n", network.HTTPPool)
	before := rest(t, site.Web1)
	removing := strings.Replace(config, "[drain]", "[tunnel]\non_stop = \"remove\"\n[drain]", 1)
	ends(t, startAgent(t, site.Web1, removing))
	if diff := cmp.Diff(before, rest(t, site.Web1)); diff != "" {
		t.Errorf("after a stop with on_stop = remove (-before +after):\n%s", diff)
	}

	// With keep all of it stays, also when the daemon dies, until it is undone.
	agent := startAgent(t, site.Web1, config)
	refusal, err := site.Web1.Agent(config, "undo")
	ok(t, err)
	p, err := site.Web1.Start(refusal)
	ok(t, err)
	status, err := p.Wait(patience)
	ok(t, err)
	if status != 2 || !strings.Contains(p.Log(), "another rsagent looks after this node") {
		t.Errorf("undo beside a daemon exits with %d: %s", status, p.Log())
	}
	dies(t, agent)
	state, err := site.Web1.State(everySetting...)
	ok(t, err)
	if !strings.Contains(state, "10.9.0.100/32") {
		t.Errorf("the VIP went with the daemon:\n%s", state)
	}
	undo, err := site.Web1.Agent(config, "undo")
	ok(t, err)
	p, err = site.Web1.Start(undo)
	ok(t, err)
	if status, err := p.Wait(patience); err != nil || status != 0 {
		t.Errorf("undo exits with %d, %v: %s", status, err, p.Log())
	}
	if diff := cmp.Diff(before, rest(t, site.Web1)); diff != "" {
		t.Errorf("after rsagent undo (-before +after):\n%s", diff)
	}
}
