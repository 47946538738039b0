//go:build lab

package systest

import (
	"syscall"
	"testing"
	"time"

	"rsagent/lab/network"
)

// newSite returns a fresh site on a machine that has not loaded ipip yet, and
// what the hosts wrote to the log if the test fails.
func newSite(t *testing.T) *network.Site {
	t.Helper()
	if err := network.UnloadIPIP(); err != nil {
		t.Fatal(err)
	}
	site, err := network.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, h := range site.Hosts() {
				t.Log(h.Logs())
			}
		}
		if err := site.Close(); err != nil {
			t.Error(err)
		}
	})
	return site
}

// newService is newSite with a director that checks nothing, and nginx on both
// nodes.
func newService(t *testing.T) *network.Site {
	t.Helper()
	site := newSite(t)
	ok(t, site.Dir1.Direct(site.Nodes(), 80, 443))
	for _, node := range site.Nodes() {
		_, err := node.StartNginx()
		ok(t, err)
	}
	return site
}

// quick is how the nodes drain in tests.
const quick = `
[drain]
notice  = "3s"
timeout = "20s"
`

// startAgents starts rsagent on both nodes and waits until they are ready.
func startAgents(t *testing.T, site *network.Site, config string) (web1, web2 *network.Process) {
	t.Helper()
	return startAgent(t, site.Web1, config), startAgent(t, site.Web2, config)
}

// startAgent starts rsagent on a node and waits until it is ready.
func startAgent(t *testing.T, node *network.Host, config string) *network.Process {
	t.Helper()
	p, err := node.StartAgent(config)
	ok(t, err)
	ok(t, node.UntilReady())
	return p
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// allAnswered fails the test unless every request was answered, and each of
// the nodes answered some.
func allAnswered(t *testing.T, answers network.Answers, nodes ...string) {
	t.Helper()
	t.Log(answers)
	for _, a := range answers.Failed() {
		t.Errorf("a request failed at %s after %v: %s", a.Sent.Format("05.000"), a.Took, a.Error)
	}
	for _, node := range nodes {
		if answers.ByNode()[node] == 0 {
			t.Errorf("no answer from %s: %v", node, answers)
		}
	}
}

// noneDelayed fails the test if a request took so long that a packet of it
// must have been sent again: TCP does that after a second at the earliest.
func noneDelayed(t *testing.T, answers network.Answers) {
	t.Helper()
	for _, a := range answers {
		if a.Took >= time.Second {
			t.Errorf("a packet was lost: the request at %s took %v", a.Sent.Format("05.000"), a.Took)
		}
	}
}

// patience is how long a program that has nothing to wait for may take.
const patience = 20 * time.Second

// ends stops a process with SIGTERM and wants it to exit with 0.
func ends(t *testing.T, p *network.Process) {
	t.Helper()
	status, err := p.Stop(40 * time.Second)
	ok(t, err)
	if status != 0 {
		t.Errorf("%s exited with %d, want 0: %s", p.Name, status, p.Log())
	}
}

// dies ends a process with SIGKILL.
func dies(t *testing.T, p *network.Process) {
	t.Helper()
	ok(t, p.Signal(syscall.SIGKILL))
	_, err := p.Wait(10 * time.Second)
	ok(t, err)
}
