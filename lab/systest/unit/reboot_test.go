//go:build lab

package unit

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"rsagent/lab/network"
)

// rebootLoad is how many new connections a second the clients open, all through
// the reboot, and enough how many there are at least.
const (
	rebootLoad = 20
	enough     = 500
)

const rebootConfig = `
[drain]
notice  = "10s"
timeout = "30s"
fall    = 2
`

// A node with systemd, Debian's nginx and our unit goes down and comes up again,
// behind a director that asks it, while clients ask for pages and download.
func TestARebootLosesNoRequest(t *testing.T) {
	site, web1 := newBooting(t, shipped(t))
	load, downloads := site.Client.StartLoad(rebootLoad), downloads(site)
	time.Sleep(2 * time.Second)
	began := time.Now()
	ok(t, web1.system.Reboot(2*time.Minute))
	down := time.Now()
	ok(t, site.PowerCycle(site.Web1, 2*time.Second))
	up := time.Now()
	web1.boot()
	ok(t, web1.serves(load, up))
	answers := load.Stop()

	t.Logf("down after %v, back after %v: %v", down.Sub(began), time.Since(up), answers)
	for _, a := range answers.Failed() {
		t.Errorf("a request failed %v after the reboot began, after %v: %s", a.Sent.Sub(began), a.Took, a.Error)
	}
	for _, a := range downloads() {
		if a.Error != "" || len(a.Node) != network.SlowBytes-1 {
			t.Errorf("a download ended after %v with %d bytes: %s", a.Took, len(a.Node), a.Error)
		}
	}
	if n := answers.Between(began, down).ByNode()["web1"]; n == 0 {
		t.Error("no request came to web1 after the reboot began: that shows nothing")
	}
	if n := answers.Between(down, up).ByNode()["web1"]; n != 0 {
		t.Errorf("%d requests are answered by a node that is off", n)
	}
	web1.wantInTurn("drain began", "drain ended", "Stopped rsagent.service", "Stopping nginx.service")
}

// The same with a unit that is not ordered after the web server. This is what
// makes the test above one that can fail.
func TestARebootInAnyOrderLosesRequests(t *testing.T) {
	text := shipped(t)
	unordered := strings.Replace(text, " nginx.service", "", 1)
	if unordered == text {
		t.Fatal("the unit is not ordered after nginx.service")
	}
	site, web1 := newBooting(t, unordered)
	load := site.Client.StartLoad(rebootLoad)
	time.Sleep(2 * time.Second)
	ok(t, web1.system.Reboot(2*time.Minute))
	answers := load.Stop()
	t.Log(answers)
	if len(answers.Failed()) == 0 {
		t.Error("no request failed, want some")
	}
}

// booting is a node that boots.
type booting struct {
	t      *testing.T
	node   *network.Host
	files  map[string]string
	system *network.System
}

// newBooting returns a site behind keepalived; web1 has booted with the unit.
func newBooting(t *testing.T, unitText string) (*network.Site, *booting) {
	t.Helper()
	site := newSite(t)
	config := site.AgentConfig(rebootConfig, network.HTTPPool)
	web1 := &booting{t: t, node: site.Web1, files: bootFiles(t, site.Web1, unitText, config)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(web1.journal())
		}
	})
	_, err := site.Web2.StartNginx()
	ok(t, err)
	_, err = site.Web2.StartAgent(config)
	ok(t, err)
	ok(t, site.Web2.UntilReady())
	web1.boot()
	_, err = site.Dir1.StartKeepalived(network.Keepalived{Priority: 100, Nodes: site.Nodes(), Inhibit: true})
	ok(t, err)
	ok(t, site.Dir1.UntilDirects(site.Nodes()...))
	return site, web1
}

// shipped is the unit as it is shipped.
func shipped(t *testing.T) string {
	t.Helper()
	binary, err := exec.LookPath("rsagent")
	ok(t, err)
	text, err := os.ReadFile(filepath.Join(filepath.Dir(binary), unit))
	ok(t, err)
	return string(text)
}

// bootFiles are rsagent, its unit and its configuration where a package has them,
// and a configuration for Debian's nginx.
func bootFiles(t *testing.T, node *network.Host, unitText, config string) map[string]string {
	t.Helper()
	path, err := exec.LookPath("rsagent")
	ok(t, err)
	binary, err := os.ReadFile(path)
	ok(t, err)
	dir, err := node.PrepareNginx()
	ok(t, err)
	nginx, err := os.ReadFile(filepath.Join(dir, "nginx.conf"))
	ok(t, err)
	asDebian := strings.NewReplacer("daemon off;\n", "", "pid "+dir+"/nginx.pid", "pid /run/nginx.pid")
	return map[string]string{
		"usr/bin/rsagent":                      string(binary),
		"usr/lib/systemd/system/" + unit:       unitText,
		"etc/rsagent/rsagent.toml":             config,
		"etc/nginx/nginx.conf":                 asDebian.Replace(string(nginx)),
		"etc/systemd/journald.conf.d/lab.conf": "[Journal]\nRateLimitBurst=0\n",
	}
}

// boot boots the node and waits until the directors may send.
func (b *booting) boot() {
	b.t.Helper()
	var err error
	b.system, err = b.node.Boot(b.files, unit, "nginx.service")
	ok(b.t, err)
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		status, body, err := b.node.Get(b.node.ReadyURL())
		if err == nil && status == 200 {
			return
		}
		if time.Since(began) > time.Minute {
			b.t.Fatalf("web1 is not ready after its boot: %d %s %v", status, body, err)
		}
	}
}

// serves waits until the node answers clients again, and there are enough.
func (b *booting) serves(load *network.Load, from time.Time) error {
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		answers := load.SoFar()
		if len(answers) >= enough && answers.Between(from, time.Now()).ByNode()["web1"] > 0 {
			return nil
		}
		if time.Since(began) > time.Minute {
			return fmt.Errorf("web1 gets no clients: %v", answers)
		}
	}
}

func (b *booting) journal() string {
	text, err := b.system.Journal(unit, "nginx.service")
	if err != nil {
		return err.Error()
	}
	return text
}

// wantInTurn wants the journal to have these texts, one after the other.
func (b *booting) wantInTurn(texts ...string) {
	b.t.Helper()
	rest := b.journal()
	for _, text := range texts {
		_, after, found := strings.Cut(rest, text)
		if !found {
			b.t.Errorf("the journal does not have %q in its place", text)
			return
		}
		rest = after
	}
}

// downloads begins some, as many as take both nodes, and returns how they end.
func downloads(site *network.Site) (ended func() network.Answers) {
	var all network.Answers
	var mu sync.Mutex
	var over sync.WaitGroup
	for range 6 {
		over.Go(func() {
			a := site.Client.Download("/slow")
			mu.Lock()
			defer mu.Unlock()
			all = append(all, a)
		})
	}
	return func() network.Answers {
		over.Wait()
		return all
	}
}
