//go:build lab

package pair

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"rsagent/agent/control"
	"rsagent/lab/network"
)

// quickly and slowly are how two directors ask: one has noticed a drain 1.8 s after
// it began at most, by the third refusal, the other after 2.4 s, by the second, and
// says so.
var (
	quickly = network.Keepalived{Every: time.Second, Again: 400 * time.Millisecond, Fall: 3}
	slowly  = network.Keepalived{Every: 1200 * time.Millisecond, Again: 1200 * time.Millisecond, Fall: 2,
		CheckPort: 9380, CheckPath: "/ready?fall=2"}
)

// atMost is how much longer a drain may take than what it waits for.
const atMost = time.Second

// drained is one drain, in time since it began.
type drained struct {
	request  time.Duration // how long the longest request takes
	noticed  time.Duration // when the slower director had given the node weight 0
	lastDone time.Duration // when the last request that the node got was over
	over     time.Duration // when the daemon took the drain for over
	returned time.Duration // when rsagent drain --wait returned

	asked int             // how many requests there were
	lost  network.Answers // those that failed
}

// needed is how long the drain had to be: no request is lost from then on.
func (d drained) needed() time.Duration { return max(d.noticed, d.lastDone) }

// A drain ends when the slower director has noticed and the last request that the
// node got is over, and no sooner: 20 of them, with requests from 0.2 s to 5.9 s,
// the slower director the one that requests come by, or the one that stands by.
func TestADrainTakesAsLongAsTheSlowestDirectorAndTheLongestRequest(t *testing.T) {
	site, _ := newSite(t)
	var all []drained
	stoodStill := 0
	for i, pair := range [][2]network.Keepalived{{slowly, quickly}, {quickly, slowly}} {
		directors := direct(t, site, pair[0], pair[1])
		if i == 0 {
			time.Sleep(known)
		}
		for n := range 10 {
			pulse := feelPulse()
			d := drainOnce(t, site, time.Duration(200+300*(2*n+i))*time.Millisecond)
			for ; pulse.end() > steady && stoodStill < mostRepeats; stoodStill++ {
				pulse = feelPulse()
				d = drainOnce(t, site, d.request)
			}
			all = append(all, d)
		}
		for _, d := range directors {
			_, err := d.Stop(patience)
			ok(t, err)
		}
	}
	t.Logf("%s\nNot among them: %d drains while the machine stood still.", table(all), stoodStill)
	for i, d := range all {
		if len(d.lost) > 0 {
			t.Errorf("drain %d lost %d of %d requests: %v", i+1, len(d.lost), d.asked, d.lost)
		}
		if d.over < d.needed()-hears {
			t.Errorf("drain %d was over %v too soon", i+1, d.needed()-d.over)
		}
		if late := d.returned - d.needed(); late > atMost {
			t.Errorf("drain %d took %v longer than it had to, want %v at most", i+1, late, atMost)
		}
	}
}

// An emulated machine whose host is busy stands still now and then. What takes longer
// then says nothing, and is done again; not without end.
const (
	steady      = 150 * time.Millisecond
	mostRepeats = 10
)

// hears is how much later than the kernel of a client has an answer, and that of a
// director its weight, the test may know of it.
const hears = 50 * time.Millisecond

// pulse tells for how long the machine stood still.
type pulse struct {
	stop  chan struct{}
	worst chan time.Duration
}

func feelPulse() pulse {
	p := pulse{make(chan struct{}), make(chan time.Duration, 1)}
	go func() {
		const beat = 20 * time.Millisecond
		worst, last := time.Duration(0), time.Now()
		for {
			select {
			case <-p.stop:
				p.worst <- worst
				return
			case <-time.After(beat):
			}
			now := time.Now()
			worst, last = max(worst, now.Sub(last)-beat), now
		}
	}()
	return p
}

// end is the longest time that it stood still.
func (p pulse) end() time.Duration {
	close(p.stop)
	return <-p.worst
}

// drainOnce drains web1 while requests of one length come all the time.
func drainOnce(t *testing.T, site *network.Site, length time.Duration) drained {
	t.Helper()
	var watches []*network.WeightWatch
	for _, d := range site.Directors() {
		watches = append(watches, d.WatchWeight(site.Web1))
	}
	short := site.Client.StartDownloads("/", 10)
	long := site.Client.StartDownloads(fmt.Sprintf("/?after=%v", length), 4)
	time.Sleep(700 * time.Millisecond)

	began := time.Now()
	run(t, site.Web1, "rsagent", "drain", "--wait")
	d := drained{request: length, returned: time.Since(began), over: endOfDrain(t, site.Web1).Sub(began)}
	stopped := make(chan network.Answers, 1)
	go func() { stopped <- slices.Concat(short.Stop(), long.Stop()) }()
	for _, w := range watches {
		w.Stop()
		at, weight, err := w.Since()
		ok(t, err)
		if weight != 0 {
			t.Errorf("a director gives the drained node weight %d", weight)
		}
		d.noticed = max(d.noticed, at.Sub(began))
	}
	run(t, site.Web1, "rsagent", "undrain", "--wait")
	ok(t, site.Dir1.UntilDirects(site.Nodes()...))
	answers := <-stopped
	d.asked, d.lost = len(answers), answers.Failed()
	for _, a := range answers {
		if a.Node == site.Web1.Name && a.Sent.Before(began.Add(d.returned)) {
			d.lastDone = max(d.lastDone, a.Sent.Add(a.Took).Sub(began))
		}
	}
	return d
}

// endOfDrain is when the daemon took the node's drain for over.
func endOfDrain(t *testing.T, node *network.Host) time.Time {
	t.Helper()
	var state control.State
	ok(t, json.Unmarshal([]byte(run(t, node, "rsagent", "status", "--json")), &state))
	if len(state.Drains) != 1 || state.Drains[0].Ended.IsZero() {
		t.Fatalf("no drain is over: %+v", state.Drains)
	}
	return state.Drains[0].Ended
}

// table shows the drains, and how long each would have had to be if nobody knew how
// long it had to be.
func table(all []drained) string {
	var b strings.Builder
	b.WriteString("in seconds:\nrun  request  noticed  last done  drain  longer than it had to be\n")
	var drains, late []time.Duration
	var notice, request time.Duration
	asked, lost := 0, 0
	for i, d := range all {
		fmt.Fprintf(&b, "%3d  %7.2f  %7.2f  %9.2f  %5.2f  %4.2f\n", i+1, d.request.Seconds(), d.noticed.Seconds(),
			d.lastDone.Seconds(), d.returned.Seconds(), (d.returned - d.needed()).Seconds())
		drains, late = append(drains, d.returned), append(late, d.returned-d.needed())
		notice, request = max(notice, d.noticed), max(request, d.request)
		asked, lost = asked+d.asked, lost+len(d.lost)
	}
	slices.Sort(drains)
	slices.Sort(late)
	fmt.Fprintf(&b, "The drains took %.2f at p50, %.2f at most; longer than they had to: %.2f at p50, %.2f at most.\n",
		middle(drains), drains[len(drains)-1].Seconds(), middle(late), late[len(late)-1].Seconds())
	fmt.Fprintf(&b, "%d of %d requests failed.\n", lost, asked)
	fmt.Fprintf(&b, "A sleep that loses nothing in these runs: %.2f (%.2f of notice and %.2f of request) each time.",
		(notice + request).Seconds(), notice.Seconds(), request.Seconds())
	return b.String()
}

func middle(sorted []time.Duration) float64 { return sorted[len(sorted)/2].Seconds() }
