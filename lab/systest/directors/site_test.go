//go:build lab

package directors

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"rsagent/lab/network"
)

// patience is how long anything may take to come about: the machine is emulated.
const patience = 45 * time.Second

// newSite returns a fresh site, with the VIP on the first director.
func newSite(t *testing.T) *network.Site {
	t.Helper()
	ok(t, network.UnloadIPIP())
	site, err := network.New()
	ok(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			for _, h := range site.Hosts() {
				t.Log(h.Logs())
			}
		}
		ok(t, site.Close())
	})
	ok(t, site.Dir1.IP("addr add "+network.VIP.String()+"/32 dev eth0"))
	return site
}

// loadIPVS makes the kernel one of directors.
func loadIPVS(t *testing.T, site *network.Site) {
	t.Helper()
	run(t, site.Dir1, "modprobe -a ip_vs ip_vs_wrr")
}

// quick is how nodes drain here: directors ask once a second.
const quick = `
[health]
agent_listen = ":9381"

[drain]
notice  = "7s"
timeout = "20s"
`

// tunnelled is the configuration of a node behind IPVS.
func tunnelled(site *network.Site, _ *network.Host) string {
	return site.AgentConfig(quick, network.HTTPPool)
}

// patient is the same for a director that starts programs to ask, which takes a
// second on an emulated machine: it asks every 2 s.
func patient(site *network.Site, _ *network.Host) string {
	return site.AgentConfig(strings.Replace(quick, `"7s"`, `"10s"`, 1), network.HTTPPool)
}

// plain is that of a node behind a proxy.
func plain(_ *network.Site, node *network.Host) string {
	pool := strings.Replace(network.HTTPPool, `vip   = "10.9.0.100"`, fmt.Sprintf("address = %q", node.Addr), 1)
	return "[tunnel]\nmode = \"none\"\n" + quick + pool
}

// warnings go to another stream, which a process here does not tell apart.
var warnings = regexp.MustCompile(`(?m)^warning: .*\n`)

// written is what `rsagent config director` on the first node says for a director of
// both nodes, or of those that are named.
func written(t *testing.T, site *network.Site, config string, args ...string) string {
	t.Helper()
	program, err := exec.LookPath("rsagent")
	ok(t, err)
	if len(args) > 1 && args[len(args)-1] == "probe" {
		args = append(args, "--program", program)
	}
	cmd, err := site.Web1.Agent(config, append([]string{"config", "director"}, args...)...)
	ok(t, err)
	p, err := site.Web1.Start(cmd)
	ok(t, err)
	status, err := p.Wait(patience)
	ok(t, err)
	if status != 0 {
		t.Fatalf("rsagent config director %q ends with %d: %s", args, status, p.Log())
	}
	return warnings.ReplaceAllString(p.Log(), "")
}

// both are the flags that name both nodes.
func both(site *network.Site) []string {
	return []string{"--real", site.Web1.Addr.String(), "--real", site.Web2.Addr.String()}
}

// file writes a file on the director.
func file(t *testing.T, h *network.Host, name, text string) string {
	t.Helper()
	path, err := h.WriteFile(name, text)
	ok(t, err)
	return path
}

func run(t *testing.T, h *network.Host, script string) string {
	t.Helper()
	out, err := h.Run("sh", "-c", script)
	ok(t, err)
	return out
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// until waits for something, and says what was last in its way.
func until(t *testing.T, what string, try func() error) {
	t.Helper()
	began := time.Now()
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Since(began) > patience {
			t.Fatalf("cannot see that %s: %v", what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
