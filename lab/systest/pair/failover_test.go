//go:build lab

package pair

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rsagent/lab/network"
)

const (
	downloads = 6
	takes     = 20 * time.Second // a download
	kept      = 6                // connections that are kept alive
)

// The director that holds the VIP dies while one node drains and both hand out
// downloads. The other knows of their connections, since keepalived runs the sync
// daemon of IPVS, and of the drain, since it has asked all the time.
func TestConnectionsAndADrainOutliveADirector(t *testing.T) {
	site, _ := newSite(t)
	asks := network.Keepalived{Fall: 3, Sync: true}
	direct(t, site, asks, asks)
	long := site.Client.StartDownloads(fmt.Sprintf("/?for=%v", takes), downloads)
	clients := keepAlive(t, site.Client)
	time.Sleep(1100 * time.Millisecond)
	ended := make(chan network.Answers, 1)
	go func() { ended <- long.Stop() }()
	load := site.Client.StartDownloads("/", 10)
	run(t, site.Web1, "rsagent", "drain")
	for _, d := range site.Directors() {
		ok(t, d.UntilWithout(site.Web1))
	}
	// What a director has not yet told the other of is lost with it: it gathers that
	// for 2 s at most (net/netfilter/ipvs/ip_vs_sync.c).
	time.Sleep(2 * time.Second)

	gone := fail(t, site)
	pulse := feelPulse()
	time.Sleep(5 * time.Second)
	clients.end(t)
	run(t, site.Web1, "rsagent", "drain", "--wait")
	over := time.Now()
	limit := atMost + pulse.end()
	answers := load.Stop()
	gone.tell(t, answers)
	if after := answers.Between(gone.to, over); after.ByNode()["web1"] > 0 {
		t.Errorf("the new director sends a node that drains new connections: %v", after)
	}
	last := time.Time{}
	whole := <-ended
	t.Logf("downloads: %v", whole)
	for _, a := range whole.Failed() {
		t.Errorf("a download that began %v before the failure broke after %v: %s", gone.from.Sub(a.Sent), a.Took, a.Error)
	}
	for _, a := range whole {
		if end := a.Sent.Add(a.Took); a.Node == site.Web1.Name && end.After(last) {
			last = end
		}
	}
	if last.Before(gone.to) || over.Before(last) || over.Sub(last) > limit {
		t.Errorf("the last download from web1 ended %v after the failover and %v before the drain", last.Sub(gone.to), over.Sub(last))
	}
	if n := whole.ByNode()["web2"]; n == 0 {
		t.Error("no download came from web2")
	}
}

// The director that holds the VIP has noticed a drain and dies. The other, which
// asks seldom, has not noticed, and sends the node new connections still: the drain
// waits for it.
func TestADrainTakesAsLongAsTheDirectorThatTakesOver(t *testing.T) {
	site, web1 := newSite(t)
	direct(t, site, network.Keepalived{Fall: 3, Sync: true},
		network.Keepalived{Every: 3 * time.Second, Again: 3 * time.Second, Fall: 3, Sync: true})
	time.Sleep(known)
	second := site.Dir2.WatchWeight(site.Web1)
	load := site.Client.StartDownloads("/", 10)
	time.Sleep(time.Second)

	pulse := feelPulse()
	drained := make(chan error, 1)
	began := time.Now()
	go func() {
		_, err := site.Web1.Run("rsagent", "drain", "--wait")
		drained <- err
	}()
	ok(t, site.Dir1.UntilWithout(site.Web1))
	gone := fail(t, site)
	ok(t, <-drained)
	over := time.Now()
	limit := atMost + pulse.end()
	ok(t, web1.Close())
	time.Sleep(2 * time.Second)
	answers := load.Stop()
	second.Stop()
	noticed, weight, err := second.Since()
	ok(t, err)

	gone.tell(t, answers)
	t.Logf("dir2 took the VIP %v after the drain began, and noticed the drain after %v; it ended after %v",
		gone.to.Sub(began), noticed.Sub(began), over.Sub(began))
	if weight != 0 || over.Before(noticed) || over.Sub(noticed) > limit {
		t.Errorf("the drain ended %v after the new director gave the node weight %d, want 0s to %v after weight 0", over.Sub(noticed), weight, limit)
	}
	if n := answers.Between(gone.to, noticed).ByNode()["web1"]; n == 0 {
		t.Error("the new director sent the node nothing before it noticed: that shows nothing")
	}
	if n := answers.Between(over, time.Now()).ByNode()["web1"]; n > 0 {
		t.Errorf("a node that has stopped answers %d times", n)
	}
}

// gap is when there was no director.
type gap struct{ from, to time.Time }

// tell wants no request to fail but those that found no director. Those are not
// rsagent's to save.
func (g gap) tell(t *testing.T, answers network.Answers) {
	t.Helper()
	const underWay = time.Second
	before, after := answers.Between(time.Time{}, g.from.Add(-underWay)), answers.Between(g.to, time.Now())
	t.Logf("before: %v; %v without a director: %v; after: %v", before, g.to.Sub(g.from), answers.Between(g.from.Add(-underWay), g.to), after)
	for _, a := range slices.Concat(before.Failed(), after.Failed()) {
		t.Errorf("a request failed %v after the failure, after %v: %s", a.Sent.Sub(g.from), a.Took, a.Error)
	}
	if after.ByNode()["web2"] == 0 {
		t.Error("nothing came by the new director")
	}
}

// fail takes the first director off the network, and waits for the other.
func fail(t *testing.T, site *network.Site) gap {
	t.Helper()
	from := time.Now()
	ok(t, site.Dir1.IP("link set eth0 down"))
	ok(t, site.Dir2.UntilDirects(site.Web2))
	return gap{from, time.Now()}
}

// keepers are clients that ask again and again on the connection that they have.
type keepers struct {
	stop chan struct{}
	over sync.WaitGroup

	mu       sync.Mutex
	requests map[string]int // by node
	broken   []error
}

// keepAlive begins with them; their connections go to both nodes.
func keepAlive(t *testing.T, client *network.Host) *keepers {
	t.Helper()
	k := &keepers{stop: make(chan struct{}), requests: make(map[string]int)}
	for range kept {
		conn, err := client.Dial(network.VIP.String()+":80", 0, patience)
		ok(t, err)
		k.over.Go(func() {
			defer conn.Close()
			if err := k.askOn(conn); err != nil {
				k.mu.Lock()
				defer k.mu.Unlock()
				k.broken = append(k.broken, err)
			}
		})
	}
	return k
}

func (k *keepers) askOn(conn net.Conn) error {
	in := bufio.NewReader(conn)
	for {
		select {
		case <-k.stop:
			return nil
		case <-time.After(300 * time.Millisecond):
		}
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", network.ServerName); err != nil {
			return err
		}
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		k.mu.Lock()
		k.requests[strings.TrimSpace(string(body))]++
		k.mu.Unlock()
	}
}

// end ends them: every connection must have lasted, and both nodes have some.
func (k *keepers) end(t *testing.T) {
	t.Helper()
	close(k.stop)
	k.over.Wait()
	t.Logf("requests on %d connections that were kept: %v", kept, k.requests)
	for _, err := range k.broken {
		t.Errorf("a kept connection broke: %v", err)
	}
	if len(k.requests) != 2 {
		t.Errorf("the nodes were asked %v times, want both", k.requests)
	}
}
