//go:build lab

package healthy

import (
	"fmt"
	"os/exec"
	"testing"

	"rsagent/lab/network"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newSite returns a fresh site, and what ran on the node and the director if the
// test fails.
func newSite(t *testing.T) *network.Site {
	t.Helper()
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

func nginx(t *testing.T, site *network.Site) {
	t.Helper()
	_, err := site.Web1.StartNginx()
	ok(t, err)
}

// haproxy answers like nginx does, on these addresses only.
func haproxy(binds ...string) func(t *testing.T, site *network.Site) {
	return func(t *testing.T, site *network.Site) {
		t.Helper()
		text := "defaults\n  mode http\n  timeout client 5s\nfrontend web\n"
		for _, b := range binds {
			text += "  bind " + b + "\n"
		}
		text += "  http-request return status 200 content-type text/plain string web1\n"
		file, err := site.Web1.WriteFile("haproxy.cfg", text)
		ok(t, err)
		_, err = site.Web1.Start(exec.Command("haproxy", "-db", "-f", file))
		ok(t, err)
	}
}

// on runs a script on the node.
func on(script string, words ...any) func(t *testing.T, site *network.Site) {
	if len(words) > 0 {
		script = fmt.Sprintf(script, words...)
	}
	return func(t *testing.T, site *network.Site) {
		t.Helper()
		run(t, site.Web1, script)
	}
}

func run(t *testing.T, host *network.Host, script string) {
	t.Helper()
	_, err := host.Run("sh", "-ec", script)
	ok(t, err)
}

// nft loads a ruleset into the node.
func nft(t *testing.T, node *network.Host, ruleset string) {
	t.Helper()
	file, err := node.WriteFile("ruleset.nft", ruleset)
	ok(t, err)
	_, err = node.Run("nft", "-f", file)
	ok(t, err)
}

// with is a configuration with these lines before the pool.
func with(lines ...string) func(*network.Site) string {
	return func(site *network.Site) string { return site.AgentConfig(append(lines, network.HTTPPool)...) }
}
