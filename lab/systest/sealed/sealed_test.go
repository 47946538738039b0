// Package sealed shows what rsagent says on a machine that loads no modules
// any more. That lasts until the next boot, so these tests have a machine of
// their own.
package sealed

import (
	"os"
	"strings"
	"testing"
	"time"

	"rsagent/lab/network"
)

func TestAKernelThatLoadsNoModulesIsNamedAndLeftAsItIs(t *testing.T) {
	if !network.OwnMachine() {
		t.Fatal("this changes the machine until its next boot and needs the lab's own: set LAB_VM=always")
	}
	site, err := network.New()
	if err != nil {
		t.Fatal(err)
	}
	defer site.Close()
	if err := network.UnloadIPIP(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/proc/sys/kernel/modules_disabled", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	agent, err := site.Web1.StartAgent(site.AgentConfig())
	if err != nil {
		t.Fatal(err)
	}
	status, err := agent.Wait(20 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if status != 2 {
		t.Errorf("exit status %d, want 2", status)
	}
	for _, words := range []string{"cannot start", "kernel.modules_disabled = 1", "reboot"} {
		if !strings.Contains(agent.Log(), words) {
			t.Errorf("the message does not say %q: %s", words, agent.Log())
		}
	}
	if value, err := site.Web1.Sysctl("net/ipv4/conf/all/arp_ignore"); err != nil || value != "0" {
		t.Errorf("arp_ignore is %s, %v, want it as it was", value, err)
	}
}
