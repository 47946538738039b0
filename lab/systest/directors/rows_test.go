//go:build lab

package directors

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rsagent/lab/network"
)

// What breaks the tunnel of a node, and stays: rsagent takes it for somebody's
// will, and says so at /ready.
const (
	noWayBack     = "ip rule add pref 77 from 10.9.0.100 blackhole"
	noWayBackOver = "ip rule del pref 77"
)

// What /ready does not know of: the packet filter of somebody else.
const (
	filtered     = "nft 'table ip t { chain c { type filter hook input priority 0; ip protocol 4 drop; }; }'"
	filteredOver = "nft delete table ip t"
)

// row is one way to look after nodes.
type row struct {
	name           string
	args           []string // of rsagent config director
	node           func(*network.Site, *network.Host) string
	program        program
	breaks, mended string // scripts on a node: its tunnel; empty where there is none
	deletes        bool   // requests under way are lost when it takes a node out
}

var rows = []row{
	{"keepalived", []string{"keepalived"}, tunnelled, keepalived, noWayBack, noWayBackOver, false},
	{"keepalived that deletes", []string{"keepalived", "--delete-failed"}, tunnelled, keepalived, noWayBack, noWayBackOver, true},
	{"keepalived through the tunnel", []string{"keepalived", "--check", "probe"}, tunnelled, keepalived, filtered, filteredOver, false},
	{"ldirectord", []string{"ldirectord"}, tunnelled, ldirectord, noWayBack, noWayBackOver, false},
	{"ldirectord through the tunnel", []string{"ldirectord", "--check", "probe"}, patient, ldirectord, filtered, filteredOver, false},
	{"HAProxy", []string{"haproxy"}, plain, haproxy, "", "", false},
	{"HAProxy by agent-check", []string{"haproxy", "--check", "agent"}, plain, haproxy, "", "", false},
	{"Apache", []string{"apache"}, plain, apache, "", "", false},
}

// Each director is configured by what rsagent writes, and by nothing else that has
// to do with the nodes.
func TestEveryDirectorBelievesTheNode(t *testing.T) {
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			site := newSite(t)
			nginx := startNginx(t, site.Web1)
			startNginx(t, site.Web2)
			agent := startAgent(t, site.Web1, r.node(site, site.Web1))
			startAgent(t, site.Web2, r.node(site, site.Web2))
			r.start(t, site)
			when := func(what string, nodes ...string) {
				t.Helper()
				began := time.Now()
				until(t, what, serve(site, nodes...))
				t.Logf("%s after %v", what, time.Since(began).Round(100*time.Millisecond))
			}
			when("both nodes are in", "web1", "web2")
			ok(t, nginx.Kill())
			when("the failed pool is out", "web2")
			nginx = startNginx(t, site.Web1)
			when("the pool is back", "web1", "web2")
			if r.breaks != "" {
				run(t, site.Web1, r.breaks)
				when("the failed tunnel is out", "web2")
				run(t, site.Web1, r.mended)
				when("the tunnel is back", "web1", "web2")
			}
			r.drains(t, site, nginx)
			for line := range strings.Lines(agent.Log()) {
				if strings.Contains(line, `"drain ended"`) {
					t.Log(line)
				}
			}
		})
	}
}

// start starts the director.
func (r row) start(t *testing.T, site *network.Site) {
	t.Helper()
	config := r.node(site, site.Web1)
	if r.breaks != "" {
		loadIPVS(t, site)
		run(t, site.Dir1, "sysctl -p "+file(t, site.Dir1, "sysctl.conf", written(t, site, config, "sysctl")))
	}
	text := written(t, site, config, append(both(site), r.args...)...)
	text = withScript(t, site.Dir1, text)
	_, err := site.Dir1.Start(r.program.start(t, site.Dir1, text))
	ok(t, err)
}

// withScript puts the script that a comment shows where it can be run.
func withScript(t *testing.T, h *network.Host, text string) string {
	t.Helper()
	const wanted = "/etc/ha.d/rsagent-check"
	_, script, shown := strings.Cut(text, "#   #!/bin/sh\n")
	if !shown {
		return text
	}
	script, _, _ = strings.Cut(script, "\n\n")
	path := filepath.Join(h.Dir, "rsagent-check")
	lines := "#!/bin/sh\n" + strings.ReplaceAll("\n"+script, "\n#   ", "\n") + "\n"
	ok(t, os.WriteFile(path, []byte(lines), 0o755))
	return strings.ReplaceAll(text, `"`+wanted+`"`, `"`+path+`"`)
}

// serve wants the clients to be answered by these nodes, each time.
func serve(site *network.Site, nodes ...string) func() error {
	return func() error {
		count := map[string]int{}
		for range 8 {
			a := site.Client.RequestOf(network.VIP, time.Second)
			if a.Error != "" {
				return fmt.Errorf("a request failed: %s", a.Error)
			}
			count[a.Node]++
		}
		if got := slices.Sorted(maps.Keys(count)); !slices.Equal(got, nodes) {
			return fmt.Errorf("%v answer, want %v", got, nodes)
		}
		return nil
	}
}

// Under this load, from beginning to end, a node is drained, its web server is
// killed and started again, and the node comes back.
const (
	perSecond = 30
	enough    = 500
)

func (r row) drains(t *testing.T, site *network.Site, nginx *network.Process) {
	t.Helper()
	load := site.Client.StartLoad(perSecond)
	time.Sleep(time.Second)
	said := run(t, site.Web1, "rsagent drain --wait")
	drained := time.Now()
	ok(t, nginx.Kill())
	time.Sleep(time.Second)
	startNginx(t, site.Web1)
	back := time.Now()
	said += run(t, site.Web1, "rsagent undrain --wait")
	until(t, "the node is back, after enough requests", func() error {
		answers := load.SoFar()
		if len(answers) < enough || answers.Between(back, time.Now()).ByNode()["web1"] == 0 {
			return fmt.Errorf("there are %v", answers)
		}
		return nil
	})
	answers := load.Stop()
	t.Logf("%s%v", said, answers)
	for _, a := range answers.Failed() {
		if r.deletes && a.Sent.Before(drained) {
			continue
		}
		t.Errorf("a request failed %v after the drain ended, after %v: %s", a.Sent.Sub(drained), a.Took, a.Error)
	}
	if n := answers.Between(drained, back).ByNode()["web1"]; n != 0 {
		t.Errorf("%d requests came to the drained node", n)
	}
}
