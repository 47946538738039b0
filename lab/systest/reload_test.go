//go:build lab

package systest

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"rsagent/lab/network"
)

func TestAReloadDisturbsNobodyAndABadFileIsRefused(t *testing.T) {
	site := newService(t)
	config := site.AgentConfig(quick, network.HTTPPool)
	agent, _ := startAgents(t, site, config)
	load := site.Client.StartLoad(perSecond)
	hangup := func(config, said string) {
		_, err := site.Web1.WriteFile("rsagent.toml", config)
		ok(t, err)
		ok(t, agent.Signal(syscall.SIGHUP))
		ok(t, agent.WaitLog(said, patience))
	}
	has := func(vip string) bool {
		state, err := site.Web1.State()
		ok(t, err)
		return strings.Contains(state, vip+"/32")
	}

	more := strings.Replace(config, `vips = ["10.9.0.100"]`, `vips = ["10.9.0.100", "10.9.0.101"]`, 1)
	hangup(more, `"vips":2`)
	for deadline := time.Now().Add(patience); !has("10.9.0.101"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the new VIP does not come")
		}
	}
	hangup("vips = [10]\n", `rsagent.toml:1:9: vips`)
	if !has("10.9.0.101") || !has("10.9.0.100") {
		t.Error("a bad file changed the node")
	}
	hangup(config, `"vips":1`)
	if has("10.9.0.101") {
		t.Error("the VIP that was taken out of the file is still there")
	}
	answers := load.Stop()
	allAnswered(t, answers, "web1", "web2")
	noneDelayed(t, answers)
	if status, _, err := site.Dir1.Get(site.Web1.ReadyURL()); err != nil || status != 200 {
		t.Errorf("/ready answers %d, %v", status, err)
	}
}
