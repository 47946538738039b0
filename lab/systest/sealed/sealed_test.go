//go:build lab

package sealed

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rsagent/lab/network"
)

// patience is how long a program that has nothing to wait for may take.
const patience = 20 * time.Second

func newSite(t *testing.T) *network.Site {
	t.Helper()
	if !network.OwnMachine() {
		t.Fatal("this changes the machine itself and needs the lab's own: set LAB_VM=always")
	}
	ok(t, network.UnloadIPIP())
	site, err := network.New()
	ok(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(site.Web1.Logs())
		}
		ok(t, site.Close())
	})
	return site
}

func TestADeviceThatGoesWithItsModuleComesBack(t *testing.T) {
	site := newSite(t)
	ok(t, site.Dir1.Direct([]*network.Host{site.Web1}, 80))
	_, err := site.Web1.StartNginx()
	ok(t, err)
	_, err = site.Web1.StartAgent(site.AgentConfig(network.HTTPPool))
	ok(t, err)
	ok(t, site.Web1.UntilReady())

	ok(t, network.UnloadIPIP())
	gone := time.Now()
	for site.Client.Request("/").Error != "" {
		if time.Since(gone) > patience {
			t.Fatalf("no answer for %v after the module was unloaded", patience)
		}
	}
	if failed := site.Client.Requests(10).Failed(); len(failed) > 0 {
		t.Errorf("requests still fail: %v", failed)
	}
}

// The last case cannot be taken back.
func TestAKernelThatDoesNotLoadIPIPIsNamedAndNothingIsChanged(t *testing.T) {
	site := newSite(t)
	const forbidding, modules, hidden = "/etc/modprobe.d/lab.conf", "/lib/modules", "/lib/modules.hidden"
	cases := []struct {
		name       string
		make, back func() error
		wanted     []string
	}{
		{
			name:   "modprobe forbids it",
			make:   func() error { return os.WriteFile(forbidding, []byte("install ipip /bin/false\n"), 0o644) },
			back:   func() error { return os.Remove(forbidding) },
			wanted: []string{"cannot start", "ipip", forbidding},
		},
		{
			name:   "there are no modules on disk",
			make:   func() error { return os.Rename(modules, hidden) },
			back:   func() error { return os.Rename(hidden, modules) },
			wanted: []string{"cannot start", "ipip", modules},
		},
		{
			name:   "no module is loaded any more",
			make:   func() error { return os.WriteFile("/proc/sys/kernel/modules_disabled", []byte("1"), 0) },
			back:   func() error { return nil },
			wanted: []string{"cannot start", "ipip", "kernel.modules_disabled = 1", "reboot"},
		},
	}
	settings := []string{"net/ipv4/conf/*/arp_ignore", "net/ipv4/conf/*/arp_announce", "net/ipv4/conf/*/rp_filter"}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			before, err := site.Web1.State(settings...)
			ok(t, err)
			ok(t, c.make())
			defer func() { ok(t, c.back()) }()
			agent, err := site.Web1.StartAgent(site.AgentConfig())
			ok(t, err)
			status, err := agent.Wait(patience)
			ok(t, err)
			if status != 2 {
				t.Errorf("exit status %d, want 2", status)
			}
			for _, words := range c.wanted {
				if !strings.Contains(agent.Log(), words) {
					t.Errorf("the message does not say %q: %s", words, agent.Log())
				}
			}
			after, err := site.Web1.State(settings...)
			ok(t, err)
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("something was changed (-before +after):\n%s", diff)
			}
		})
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
