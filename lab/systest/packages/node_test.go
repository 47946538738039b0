//go:build lab

package packages

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rsagent/lab/network"
)

const (
	unit     = "rsagent.service"
	dropIn   = "/etc/systemd/system/" + unit + ".d/lab.conf"
	config   = "/etc/rsagent/rsagent.toml"
	patience = 30 * time.Second
)

// node is web1 with nginx, where the package goes, behind a director that asks
// nobody and sends it all there is.
type node struct {
	t     *testing.T
	site  *network.Site
	began time.Time
}

func newNode(t *testing.T) node {
	t.Helper()
	if !network.OwnMachine() {
		t.Fatal("this installs packages and needs the lab's own machine: set LAB_VM=always")
	}
	ok(t, network.UnloadIPIP())
	site, err := network.New()
	ok(t, err)
	n := node{t, site, time.Now()}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(n.journal())
		}
		ok(t, site.Close())
	})
	ok(t, site.Dir1.Direct([]*network.Host{site.Web1}, 80))
	_, err = site.Web1.StartNginx()
	ok(t, err)
	// All that the lab changes of the unit: where the network is.
	ok(t, os.MkdirAll(filepath.Dir(dropIn), 0o755))
	text := fmt.Sprintf("[Service]\nNetworkNamespacePath=/run/netns/%s\n", site.Web1.Name)
	ok(t, os.WriteFile(dropIn, []byte(text), 0o644))
	t.Cleanup(func() { ok(t, os.RemoveAll(filepath.Dir(dropIn))) })
	return n
}

// run runs a program on the node.
func (n node) run(words ...string) string {
	n.t.Helper()
	out, err := on(n.site.Web1, words...)
	ok(n.t, err)
	return out
}

// with runs a package manager on a file. It unpacks with what time the clients
// leave: on an emulated machine it would take all of it.
func (n node) with(command []string, file string) string {
	n.t.Helper()
	return n.run(slices.Concat([]string{"nice", "-n", "19"}, command, []string{brought(n.t, file)})...)
}

func (n node) journal() string {
	n.t.Helper()
	n.run("journalctl", "--sync")
	return n.run("journalctl", "--quiet", "--unit="+unit, "--output=cat", fmt.Sprintf("--since=@%d", n.began.Unix()))
}

func (n node) waitSaid(text string) {
	n.t.Helper()
	for began := time.Now(); !strings.Contains(n.journal(), text); time.Sleep(100 * time.Millisecond) {
		if time.Since(began) > patience {
			n.t.Fatalf("the journal does not have %q", text)
		}
	}
}

func (n node) show(property string) string {
	n.t.Helper()
	return strings.TrimSpace(n.run("systemctl", "show", "--value", "--property="+property, unit))
}

func (n node) want(property, value string) {
	n.t.Helper()
	if got := n.show(property); got != value {
		n.t.Errorf("the unit's %s is %q, want %q", property, got, value)
	}
}

func (n node) answersReady() {
	n.t.Helper()
	ok(n.t, n.site.Dir1.UntilAnswer(n.site.Web1.ReadyURL(), 200))
}

// state is what an agent could change on the node, but for the device that comes
// with the module and never goes.
func (n node) state() []string {
	n.t.Helper()
	state, err := n.site.Web1.State(
		"net/ipv4/conf/*/arp_ignore", "net/ipv4/conf/*/arp_announce", "net/ipv4/conf/*/rp_filter",
		"net/ipv4/conf/*/accept_redirects", "net/ipv4/conf/*/send_redirects",
		"net/ipv4/tcp_synack_retries", "net/ipv4/tcp_fin_timeout")
	ok(n.t, err)
	var lines []string
	for line := range strings.Lines(state) {
		switch {
		case !strings.Contains(line, "tunl0"):
			lines = append(lines, strings.TrimSpace(line))
		case strings.Contains(line, "inet "), strings.Contains(line, ",UP"), strings.HasPrefix(line, "local"):
			n.t.Errorf("tunl0 is in use: %s", line)
		}
	}
	return lines
}

// watch asks the node for /ready from the director, again and again, as clients
// ask for pages; end wants that none of either failed.
type watch struct {
	n       node
	load    *network.Load
	stop    chan struct{}
	over    sync.WaitGroup
	answers map[string]int
}

// perSecond is few: an emulated machine has a package to unpack beside them.
const perSecond = 5

func (n node) watch() *watch {
	n.answersReady()
	w := &watch{n: n, load: n.site.Client.StartLoad(perSecond), stop: make(chan struct{}), answers: make(map[string]int)}
	w.over.Go(func() {
		for {
			select {
			case <-w.stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
			w.answers[n.ask()]++
		}
	})
	return w
}

// askLimit is longer than the 5 s of keepalived: the machine may be emulated, and
// busy. A check that nobody answers fails all the same.
const askLimit = 10 * time.Second

// ask asks for /ready from the director: "200 ready", or what else there was.
func (n node) ask() string {
	conn, err := n.site.Dir1.Dial(n.site.Web1.Addr.String()+":9380", 0, askLimit)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(askLimit)); err != nil {
		return err.Error()
	}
	if _, err := io.WriteString(conn, "GET /ready HTTP/1.0\r\n\r\n"); err != nil {
		return err.Error()
	}
	said, err := io.ReadAll(conn)
	if err != nil {
		return err.Error()
	}
	head, body, _ := strings.Cut(string(said), "\r\n\r\n")
	status, _, _ := strings.Cut(strings.TrimPrefix(head, "HTTP/1.0 "), " ")
	return status + " " + strings.TrimSpace(body)
}

func (w *watch) end() {
	w.n.t.Helper()
	close(w.stop)
	w.over.Wait()
	answers := w.load.Stop()
	w.n.t.Logf("clients: %v; checks: %v", answers, w.answers)
	for _, a := range answers.Failed() {
		w.n.t.Errorf("a request failed at %s after %v: %s", a.Sent.Format("05.000"), a.Took, a.Error)
	}
	if checks := w.answers["200 ready"]; checks < 2*perSecond || len(w.answers) != 1 || len(answers) < 2*perSecond {
		w.n.t.Errorf("got checks %v of %v, want no other than 200 ready, and enough of both", w.answers, answers)
	}
}
