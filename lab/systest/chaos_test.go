//go:build lab

package systest

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"rsagent/lab/network"
)

const (
	chaosFaults = 300
	mostAtOnce  = 3
	// Less than a sweep: it is the word of the change that has it mended.
	mendedWithin = 3 * time.Second
)

// TestChaos does to a node, again and again, what the field's catalogue has.
// LAB_SEED makes it the same as an earlier one.
func TestChaos(t *testing.T) {
	c := newChaos(t)
	capture, err := c.site.StartARPCapture()
	ok(t, err)
	asker, err := c.site.Client.StartAsking(network.VIP)
	ok(t, err)
	load := c.site.Client.StartLoad(5)
	truth := watchTruth(t, c.site, c.node)

	began := time.Now()
	for c.done < chaosFaults {
		c.turn(c.draw())
	}
	t.Logf("%d faults in %d turns took %v", c.done, len(c.turns), time.Since(began))
	ok(t, c.node.UntilReady())
	c.say()

	truth.end(t)
	allAnswered(t, c.site.Client.Requests(20), "web1")
	t.Logf("load: %v", load.Stop())
	asked, err := asker.Stop()
	ok(t, err)
	time.Sleep(300 * time.Millisecond)
	frames, err := capture.Stop()
	ok(t, err)
	c.wantSilence(frames, asked)
}

// chaos is a node that faults are done to.
type chaos struct {
	t    *testing.T
	site *network.Site
	node *network.Host
	eye  *eye

	whole   shape
	foreign string

	random *rand.Rand
	faults []fault
	deck   []int // faults that were not drawn yet, by their number

	done      int
	turns     []turn
	exposed   time.Time // since when a fault has the node speak ARP for the VIP; zero: none does
	exposures []span
}

// turn is what came of some faults.
type turn struct {
	names string
	took  time.Duration // until the node was whole, or said what is wrong
}

// span is a time in which the node had to speak ARP for the VIP, since what
// somebody had done was not mended or taken back yet.
type span struct{ from, to time.Time }

func newChaos(t *testing.T) *chaos {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("LAB_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		ok(t, err)
	}
	t.Logf("the seed is %d: the same faults again with LAB_SEED=%d", seed, seed)
	site := newSite(t)
	c := &chaos{
		t: t, site: site, node: site.Web1, eye: openEye(t, site.Web1),
		random: rand.New(rand.NewPCG(seed, 0)), faults: faults(),
	}
	ok(t, site.Dir1.Direct([]*network.Host{site.Web1}, 80))
	// A node that speaks ARP for the VIP shall not get the client's traffic.
	ok(t, site.Client.IP("neigh replace 10.9.0.100 lladdr "+site.Dir1.MAC+" dev eth0 nud permanent"))
	_, err := site.Web1.StartNginx()
	ok(t, err)
	ok(t, site.Web1.IP("addr add 10.9.0.78/32 dev eth0", "route add 198.51.100.0/24 via 10.9.0.10"))
	ok(t, nft(foreignTable)(site.Web1))
	ok(t, site.Web1.SetSysctl("net/ipv4/conf/eth0/log_martians", "1"))
	ok(t, site.Web1.SetSysctl("net/ipv4/tcp_fin_timeout", "33"))
	// Chaos is no rival.
	startAgent(t, site.Web1, site.AgentConfig("[repair]\nflaps = 0\n", network.HTTPPool))

	var others string
	c.whole, others, err = c.eye.look()
	ok(t, err)
	want := shape{VIP: "10.9.0.100/32 on tunl0", Filter: c.whole.Filter}
	if diff := gocmp.Diff(want, c.whole); diff != "" || c.whole.Filter == "" {
		t.Fatalf("a node that is ready is not whole (-want +got):\n%s", diff)
	}
	c.foreign, err = c.eye.foreign(others)
	ok(t, err)
	return c
}

// draw takes one to three faults, each fault of the table as often as any other.
func (c *chaos) draw() []fault {
	n := min(1+c.random.IntN(mostAtOnce), chaosFaults-c.done)
	if len(c.deck) < n {
		c.deck = c.random.Perm(len(c.faults))
	}
	var drawn []fault
	for _, number := range c.deck[:n] {
		drawn = append(drawn, c.faults[number])
	}
	c.deck = c.deck[n:]
	return drawn
}

// turn does the faults one after the other and wants the node whole again, or
// its own word on what is wrong.
func (c *chaos) turn(drawn []fault) {
	c.t.Helper()
	var names []string
	var done []fault
	for i, f := range drawn {
		if f.exposes && c.exposed.IsZero() {
			c.exposed = time.Now()
		}
		err := f.do(c.node)
		if err != nil && i == 0 {
			c.t.Fatalf("cannot do that %s: %v", f.name, err)
		}
		if err != nil {
			continue // one before it has taken away what it is done to
		}
		names, done = append(names, f.name), append(done, f)
	}
	c.done += len(done)
	what := strings.Join(names, "; ")
	began := time.Now()
	reported := c.settle(what, done)
	c.turns = append(c.turns, turn{what, time.Since(began)})
	if reported {
		for _, f := range done {
			if f.reports == "" {
				continue
			}
			if err := f.undo(c.node); err != nil && len(done) == 1 {
				c.t.Fatalf("cannot take back that %s: %v", f.name, err)
			}
		}
		c.settle(what+"; and it is taken back", nil)
	}
	c.cleanUp(what, done)
}

// settle waits until the node is whole again. If some of the faults are not
// rsagent's to mend, it also is enough that it says so, and of nothing else.
func (c *chaos) settle(what string, drawn []fault) (reported bool) {
	c.t.Helper()
	var named []string
	within := mendedWithin
	for _, f := range drawn {
		within += f.takes
		if f.reports != "" {
			named = append(named, f.reports)
		}
	}
	slices.Sort(named)
	deadline := time.Now().Add(within)
	for {
		// The packet filter is looked at last, since that takes long.
		s, err := c.eye.glance()
		if err == nil && s.silent() {
			c.close()
		}
		if s.Filter = c.whole.Filter; err == nil && gocmp.Equal(c.whole, s) {
			var others string
			if s, others, err = c.eye.look(); err == nil && gocmp.Equal(c.whole, s) {
				c.wantForeign(what, others)
				return false
			}
		}
		if len(named) > 0 && c.says(named) {
			return true
		}
		if late := time.Now().After(deadline); late && err == nil {
			c.t.Fatalf("fault %d, %s: %v later the node is not whole (-want +got):\n%s/ready says %q, and these have failed: %v", c.done, what,
				within, gocmp.Diff(c.whole, s), askReady(c.site.Client, c.node).line, c.failed())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// close ends a time in which the node had to speak ARP for the VIP.
func (c *chaos) close() {
	if !c.exposed.IsZero() {
		// What was sent in it may be read from the capture a little later.
		c.exposures = append(c.exposures, span{c.exposed, time.Now().Add(200 * time.Millisecond)})
		c.exposed = time.Time{}
	}
}

// says tells whether the node is not ready, and names these conditions.
func (c *chaos) says(conditions []string) bool {
	if askReady(c.site.Client, c.node).status != 503 {
		return false
	}
	return slices.Equal(c.failed(), conditions)
}

// failed is the required conditions that the daemon says have failed, but for
// those of services, which are asked once a second, and those that hold and that
// chaos has broken twice in a row.
func (c *chaos) failed() []string {
	var ids []string
	for id, f := range status(c.t, c.node) {
		if f.Status == "failed" && f.Severity == "required" && !strings.HasPrefix(id, "pool/") && !strings.Contains(f.Cause, "soon undone again") {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// cleanUp takes back what is left of the faults, once it is sure that rsagent
// has left it alone.
func (c *chaos) cleanUp(what string, drawn []fault) {
	c.t.Helper()
	wiped := slices.ContainsFunc(drawn, func(f fault) bool { return f.wipes })
	for _, f := range drawn {
		if f.stays != nil && !wiped {
			if err := f.stays(c.node); err != nil {
				c.t.Errorf("%s: it did not stay: %v", what, err)
			}
		}
		if f.undo == nil || f.reports != "" {
			continue
		}
		if err := f.undo(c.node); err != nil && !wiped {
			c.t.Fatalf("cannot take back that %s: %v", f.name, err)
		}
	}
}

// wantForeign fails the test if something has changed that is not rsagent's.
func (c *chaos) wantForeign(what, others string) {
	c.t.Helper()
	foreign, err := c.eye.foreign(others)
	ok(c.t, err)
	if diff := gocmp.Diff(c.foreign, foreign); diff != "" {
		c.t.Fatalf("%s: something was changed that is not rsagent's (-before +after):\n%s", what, diff)
	}
}

// say tells how long it took.
func (c *chaos) say() {
	slices.SortFunc(c.turns, func(a, b turn) int { return cmp.Compare(b.took, a.took) })
	c.t.Logf("whole again, or named: half of the turns within %v, all within %v", c.turns[len(c.turns)/2].took, c.turns[0].took)
	for _, slow := range c.turns[:min(5, len(c.turns))] {
		c.t.Logf("%v: %s", slow.took, slow.names)
	}
}

// wantSilence fails the test if the node spoke for the VIP, but for the moments
// in which a fault had it do that.
func (c *chaos) wantSilence(frames []network.Frame, asked int) {
	c.t.Helper()
	excused, answers := 0, 0
	speakers := map[string]int{}
	for _, f := range frames {
		if !f.Sent || !f.ARP.Claims(network.VIP) {
			continue
		}
		speakers[f.Host]++
		switch {
		case f.Host == "dir1":
			answers++
		case slices.ContainsFunc(c.exposures, func(e span) bool { return !f.Time.Before(e.from) && f.Time.Before(e.to) }):
			excused++
		default:
			c.t.Errorf("%s spoke for the VIP: %v", f.Host, f)
		}
	}
	var open time.Duration
	for _, e := range c.exposures {
		open += e.to.Sub(e.from)
	}
	c.t.Logf("asked %d times by ARP; claims by host: %s; %d of them in the %v of %d faults that open ARP",
		asked, fmt.Sprint(slices.Sorted(maps.Keys(speakers)), speakers), excused, open, len(c.exposures))
	if answers < asked {
		c.t.Errorf("the client asked %d times and got %d answers, so the test proves nothing", asked, answers)
	}
}
