//go:build lab

package directors

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rsagent/lab/network"
)

// A drain waits for downloads, and not much longer.
const (
	downloadTime = 20 * time.Second
	downloadRate = 16 << 10        // bytes a second
	downloads    = 4               // of each service, under way when a node is taken out
	down         = 3 * time.Second // for so long there is no web server
)

// Each client that does not come by a proxy has an address, by which a director
// with persistence knows it.
const rollingClients = 6

// downloaded is what is downloaded. nginx sends what is for the first second at
// once.
func downloaded() []byte {
	bytes := make([]byte, (int(downloadTime/time.Second)+1)*downloadRate)
	_, _ = rand.NewChaCha8([32]byte{}).Read(bytes) // never fails
	return bytes
}

// rolling is a rolling restart of the web servers of both nodes, under load.
type rolling struct {
	site     *network.Site
	services []behind
	tunnel   bool                      // the directors have IPVS
	crowds   map[string]*network.Crowd // by VIP
	nginx    map[*network.Host]*network.Process
	began    time.Time
	restarts []restart
}

// restart is when a node was taken out, and its web server was ended and came back.
type restart struct {
	node                *network.Host
	asked, killed, back time.Time
}

func TestARollingRestartLosesNothingWhereFlowsGoOn(t *testing.T) { roll(t, flowsGoOn) }

func TestARollingRestartLosesNothingBehindAProxy(t *testing.T) { roll(t, proxies) }

func TestARollingRestartLosesWhatADirectorBreaks(t *testing.T) { roll(t, flowsBreak) }

// roll restarts one node after the other behind some directors.
func roll(t *testing.T, g group) {
	site := newSite(t)
	ok(t, site.Dir1.IP("addr del "+network.VIP.String()+"/32 dev eth0"))
	r := &rolling{site: site, services: g.services(), tunnel: g.tunnel, crowds: map[string]*network.Crowd{}, nginx: map[*network.Host]*network.Process{}}
	for _, node := range site.Nodes() {
		r.nginx[node] = g.startWeb(t, node)
		startAgent(t, node, g.config(site, node, r.services))
	}
	for _, d := range g.directors {
		d.start(t, site, g)
	}
	r.startCrowds(t)
	for _, node := range site.Nodes() {
		r.restart(t, node, g)
	}
	time.Sleep(down)
	for _, s := range r.services {
		replies := r.crowds[s.vip].Stop()
		t.Run(s.String(), func(t *testing.T) { r.judge(t, s, replies) })
	}
}

func (r *rolling) startCrowds(t *testing.T) {
	t.Helper()
	var clients []netip.Addr
	for i := range rollingClients {
		a := netip.AddrFrom4([4]byte{10, 9, 0, byte(40 + i)})
		ok(t, r.site.Client.IP("addr add "+a.String()+"/24 dev eth0"))
		clients = append(clients, a)
	}
	for _, s := range r.services {
		r.crowds[s.vip] = r.site.Client.StartCrowd(netip.MustParseAddr(s.vip), clients)
	}
	r.began = time.Now()
	for _, s := range r.services {
		until(t, "both nodes answer behind "+s.String(), func() error {
			nodes := r.crowds[s.vip].SoFar().Of(network.Short).ByNode()
			if nodes["web1"] == 0 || nodes["web2"] == 0 {
				return fmt.Errorf("only these do: %v", nodes)
			}
			return nil
		})
	}
}

// restart takes a node out while there are downloads under way, and has its web
// server killed: whoever still needs it loses what it has there.
func (r *rolling) restart(t *testing.T, node *network.Host, g group) {
	t.Helper()
	r.download(t, node)
	one := restart{node: node, asked: time.Now()}
	r.drain(t, node)
	one.killed = time.Now()
	ok(t, r.nginx[node].Kill())
	time.Sleep(down)
	r.nginx[node] = g.startWeb(t, node)
	one.back = time.Now()
	t.Logf("%s was taken out in %v; %s", node.Name, one.killed.Sub(one.asked).Round(100*time.Millisecond), run(t, node, "rsagent undrain --wait"))
	r.restarts = append(r.restarts, one)
}

// download has clients download from every service, until enough of them do from
// the node.
func (r *rolling) download(t *testing.T, node *network.Host) {
	t.Helper()
	var all sync.WaitGroup
	for _, s := range r.services {
		all.Go(func() {
			there := 0
			for range 10 {
				for _, from := range r.crowds[s.vip].Download("/long", downloaded()) {
					if from == node.Name {
						there++
					}
				}
				if there >= downloads {
					return
				}
			}
			t.Errorf("behind %v %d downloads come from %s, want %d at least", s, there, node.Name, downloads)
		})
	}
	all.Wait()
}

// drain takes out the node, or where a drain does not end in time behind every
// director, each of its pools by itself.
func (r *rolling) drain(t *testing.T, node *network.Host) {
	t.Helper()
	stuck := func(b behind) bool { return b.drain.late }
	if !slices.ContainsFunc(r.services, stuck) {
		said, err := node.Run("rsagent", "drain", "--wait")
		t.Log(said)
		if err != nil {
			t.Errorf("%s: %v", node.Name, err)
		}
		return
	}
	var all sync.WaitGroup
	for _, s := range r.services {
		all.Go(func() {
			said, err := node.Run("rsagent", "drain", "--wait", s.pool())
			t.Logf("%v: %s", s, said)
			if drained := err == nil; drained && !s.drain.inTime || !drained && !s.drain.late {
				t.Errorf("%s drained in time behind %v: %t, want its drain to end %s", node.Name, s, drained, s.drain.text)
			}
		})
	}
	all.Wait()
}

// judge compares what the clients of a service lost with what they were to lose.
func (r *rolling) judge(t *testing.T, s behind, replies network.Replies) {
	for _, kind := range []struct {
		name string
		loss loss
	}{
		{network.Short, s.short}, {network.SamePort, s.samePort}, {network.KeptAlive, s.keptAlive}, {network.Download, s.download},
	} {
		answers := replies.Of(kind.name)
		t.Logf("%s: %v", kind.name, answers)
		r.judgeKind(t, kind.name, kind.loss, answers)
	}
	r.judgeNodes(t, s, replies)
}

// judgeNodes wants no answer of a node that was out, and with persistence each
// client to have had one node.
func (r *rolling) judgeNodes(t *testing.T, s behind, replies network.Replies) {
	t.Helper()
	own := map[netip.Addr]string{}
	crossed := 0
	for _, a := range replies {
		if a.Crossed {
			crossed++
		}
		for _, one := range r.restarts {
			if r.out(one, s, a) {
				t.Errorf("one of %s was answered by %s while it was out, or was lost there: %+v", a.Kind, a.Node, a)
			}
		}
		if !s.persistent || a.Kind != network.Short || !a.Sent.Add(a.Took).Before(r.restarts[0].asked) {
			continue
		}
		if first, known := own[a.From]; known && first != a.Node {
			t.Errorf("the client %v was answered by %s and by %s, want one node", a.From, first, a.Node)
		}
		own[a.From] = a.Node
	}
	t.Logf("closed in order as a request came, which was sent again: %d", crossed)
}

// out tells whether a request had to do with a node that was out and must not
// have. What a proxy closes does not.
func (r *rolling) out(one restart, s behind, a network.Reply) bool {
	if s.samePort.killed || a.Kind == network.Download || a.Node != one.node.Name || a.Crossed && !r.tunnel {
		return false
	}
	at := a.Sent
	if a.Crossed {
		at = at.Add(a.Took)
	}
	return !at.Before(one.killed) && at.Before(one.back)
}

func (r *rolling) judgeKind(t *testing.T, kind string, want loss, answers network.Answers) {
	t.Helper()
	if len(answers) == 0 {
		t.Errorf("there were no %s", kind)
	}
	for _, a := range answers {
		if kind == network.Download && a.Error == "" && a.Took < downloadTime-time.Second {
			t.Errorf("a download took only %v", a.Took)
		}
	}
	lost := 0
	for _, a := range answers.Failed() {
		if !r.expects(want, a) {
			t.Errorf("one of %s failed that was to be answered: %s, after %v, %v after the load began, at %s", kind, a.Error, a.Took, a.Sent.Sub(r.began), a.Node)
			continue
		}
		lost++
	}
	if want.always && lost == 0 {
		t.Errorf("none of %s failed, want some: what was to break them did not", kind)
	}
}

// expects tells whether a request was to fail, as it did and when it did.
func (r *rolling) expects(want loss, a network.Answer) bool {
	return slices.Contains(want.errors, a.Error) && slices.ContainsFunc(r.restarts, func(one restart) bool {
		from := one.asked
		if want.killed {
			from = one.killed
		}
		return !a.Sent.Add(a.Took).Before(from) && a.Sent.Before(one.back)
	})
}

// startWeb starts a web server with a page that takes long, and which ends each
// connection in order, well within drain.timeout.
func (g group) startWeb(t *testing.T, node *network.Host) *network.Process {
	t.Helper()
	dir, err := node.PrepareNginx()
	ok(t, err)
	ok(t, os.WriteFile(filepath.Join(dir, "www", "long"), downloaded(), 0o644))
	path := filepath.Join(dir, "nginx.conf")
	text, err := os.ReadFile(path)
	ok(t, err)
	more := g.web + `
    keepalive_timeout 8s;
    keepalive_time 10s;
    location = /long { limit_rate 16k; add_header Node ` + node.Name + `; }
    location / {`
	ok(t, os.WriteFile(path, []byte(strings.Replace(string(text), "location / {", more, 1)), 0o644))
	p, err := node.Start(exec.Command("nginx", "-p", dir, "-c", path))
	ok(t, err)
	until(t, "nginx answers on "+node.Name, func() error {
		conn, err := node.Dial(node.Addr.String()+":80", 0, time.Second)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	return p
}
