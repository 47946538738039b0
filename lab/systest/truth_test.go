//go:build lab

package systest

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"rsagent/lab/network"
)

// truth compares, all the while, what /ready of a node says with what becomes
// of requests to the VIP. The director must hand all of them to that node.
type truth struct {
	stop context.CancelFunc
	over sync.WaitGroup

	requests network.Answers
	asked    []readiness
}

// readiness is what /ready said.
type readiness struct {
	at     time.Time
	took   time.Duration
	status int
	line   string
}

// Of the watch for lies.
const (
	truthEvery     = 100 * time.Millisecond
	requestTimeout = 800 * time.Millisecond // less than TCP takes to send a lost packet again
	lieAfter       = time.Second            // for so long /ready may not know
	// A machine that takes longer to say that it is ready is so slow that a
	// request may be late for no other reason.
	slowAnswer = 400 * time.Millisecond
)

// watchTruth begins to watch. It ends with end, or with the test.
func watchTruth(t *testing.T, site *network.Site, node *network.Host) *truth {
	ctx, stop := context.WithCancel(context.Background())
	w := &truth{stop: stop}
	w.over.Go(func() {
		every(ctx, truthEvery, func() {
			w.requests = append(w.requests, site.Client.RequestOf(network.VIP, requestTimeout))
		})
	})
	w.over.Go(func() {
		every(ctx, truthEvery, func() { w.asked = append(w.asked, askReady(site.Client, node)) })
	})
	t.Cleanup(w.halt)
	return w
}

func (w *truth) halt() {
	w.stop()
	w.over.Wait()
}

func every(ctx context.Context, interval time.Duration, do func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			do()
		}
	}
}

func askReady(from, node *network.Host) readiness {
	r := readiness{at: time.Now()}
	status, line, err := from.Get(node.ReadyURL())
	if r.status, r.line = status, strings.TrimSpace(line); err != nil {
		r.line = err.Error()
	}
	r.took = time.Since(r.at)
	return r
}

// end stops the watch and fails the test for every lie.
func (w *truth) end(t *testing.T) {
	t.Helper()
	w.halt()
	slow, longest := 0, time.Duration(0)
	for _, r := range w.asked {
		if r.took > slowAnswer {
			slow++
		}
	}
	for _, f := range failures(w.requests) {
		longest = max(longest, f.last.Sub(f.first))
		if lies := f.lies(w.asked); len(lies) > 0 {
			t.Errorf("requests to the VIP failed from %s to %s, but /ready said %d times that all is well, first at %s",
				f.first.Format("15:04:05.000"), f.last.Format("15:04:05.000"), len(lies), lies[0].at.Format("15:04:05.000"))
		}
	}
	t.Logf("requests to the VIP: %v, the longest failure %v; /ready was asked %d times, %d times it was slow",
		w.requests, longest, len(w.asked), slow)
	if len(w.asked) == 0 || slow > len(w.asked)/2 {
		t.Errorf("/ready was slow %d times of %d, so the test proves nothing", slow, len(w.asked))
	}
}

// failure is a time in which no request to the VIP was answered: when the first
// and the last of these were sent.
type failure struct{ first, last time.Time }

func failures(requests network.Answers) []failure {
	var all []failure
	before := false
	for _, r := range requests {
		if r.Error == "" {
			before = false
			continue
		}
		if !before {
			all = append(all, failure{first: r.Sent})
		}
		before, all[len(all)-1].last = true, r.Sent
	}
	return all
}

// lies are the answers of /ready that were good although it must have known.
func (f failure) lies(asked []readiness) []readiness {
	var lies []readiness
	for _, r := range asked {
		if r.status == 200 && r.took < slowAnswer && r.at.Sub(f.first) > lieAfter && !r.at.After(f.last) {
			lies = append(lies, r)
		}
	}
	return lies
}

// Without this the tests that watch for lies could not fail.
func TestALieOfReadyIsSeen(t *testing.T) {
	site := newSite(t)
	ok(t, site.Dir1.Direct([]*network.Host{site.Web1}, 80))
	_, err := site.Web1.StartNginx()
	ok(t, err)
	startAgent(t, site.Web1, site.AgentConfig(network.HTTPPool))
	w := watchTruth(t, site, site.Web1)
	time.Sleep(time.Second)
	// This is the director's doing, so the node cannot know.
	_, err = site.Dir1.Run("ipvsadm", "-C")
	ok(t, err)
	time.Sleep(3 * time.Second)
	w.halt()
	found := failures(w.requests)
	if len(found) != 1 {
		t.Fatalf("%d failures were seen, want one: %v", len(found), found)
	}
	if lies := found[0].lies(w.asked); len(lies) < 5 {
		t.Errorf("/ready was seen to lie %d times in 3 s, want 5 or more", len(lies))
	}
}
