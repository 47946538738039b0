package agent

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"rsagent/agent/health"
	"rsagent/probe"
	"rsagent/sysctl"
	"rsagent/tunnel"
)

// turn is one change of one source of a node, which it numbers as a new look.
type turn struct {
	source source
	what   string
	make   func(t *rapid.T, n *Node)
}

func turns() []turn {
	down := func(of string) func(*rapid.T, *Node) {
		return func(_ *rapid.T, n *Node) {
			n.Net.Links = slices.Clone(n.Net.Links)
			for i := range n.Net.Links {
				if n.Net.Links[i].Name == of {
					n.Net.Links[i].Up = !n.Net.Links[i].Up
				}
			}
		}
	}
	return []turn{
		{atLinks, "as at first", func(_ *rapid.T, n *Node) {
			good := goodNode()
			n.Net, n.NetErr, n.IPIP, n.Facing = good.Net, nil, good.IPIP, good.Facing
		}},
		{atLinks, "not seen", func(_ *rapid.T, n *Node) { n.Net, n.NetErr = tunnel.Node{}, errors.New("no buffer") }},
		{atLinks, "no IPIP", func(_ *rapid.T, n *Node) { n.IPIP = tunnel.Obstacle{Certain: true, Cause: "no module"} }},
		{atLinks, "tunl0 is gone", func(_ *rapid.T, n *Node) { n.dropLink("tunl0") }},
		{atLinks, "tunl0 is another device", func(_ *rapid.T, n *Node) {
			n.Net.Links = slices.Clone(n.Net.Links)
			for i := range n.Net.Links {
				if n.Net.Links[i].Name == "tunl0" {
					n.Net.Links[i].Kind, n.Net.Links[i].Index = "dummy", 3+n.Net.Links[i].Index
				}
			}
		}},
		{atLinks, "tunl0 goes up or down", down("tunl0")},
		{atLinks, "another interface", func(_ *rapid.T, n *Node) {
			n.Net.Links = append(slices.Clone(n.Net.Links), tunnel.Link{Index: 9, Name: "eth9", Up: true, MTU: 1400})
		}},
		{atLinks, "directors by another link", func(_ *rapid.T, n *Node) { n.Facing = []int{9} }},
		{atLinks, "the VIP is gone", func(_ *rapid.T, n *Node) {
			n.Net.Addresses = maps.Clone(n.Net.Addresses)
			delete(n.Net.Addresses, vip)
		}},
		{atLinks, "another address", func(t *rapid.T, n *Node) {
			n.Net.Addresses, n.Net.Local = maps.Clone(n.Net.Addresses), maps.Clone(n.Net.Local)
			n.address(rapid.SampledFrom([]string{"eth0", "tunl0"}).Draw(t, "link"),
				rapid.SampledFrom([]string{"203.0.113.10/24", "203.0.113.10/32", "198.51.100.7/32"}).Draw(t, "address"))
		}},
		{atLinks, "no local route", func(_ *rapid.T, n *Node) {
			n.Net.Local = maps.Clone(n.Net.Local)
			delete(n.Net.Local, vip)
		}},
		{atSettings, "as at first", func(_ *rapid.T, n *Node) { n.Sysctl = goodNode().Sysctl }},
		written(atARPIgnore),
		written(atARPAnnounce),
		written(atRPFilter),
		written(atOtherSettings),
		{atSettings, "not read", func(_ *rapid.T, n *Node) {
			for key := range n.Sysctl {
				n.Sysctl[key] = sysctl.Value{Err: unix.EACCES}
			}
		}},
		{atFirewall, "as at first", func(_ *rapid.T, n *Node) { n.Firewall, n.FirewallErr = goodNode().Firewall, nil }},
		{atFirewall, "flushed", func(_ *rapid.T, n *Node) { n.Firewall = tunnel.FirewallState{} }},
		{atFirewall, "not seen", func(_ *rapid.T, n *Node) { n.FirewallErr = unix.EINTR }},
		{atFirewall, "no nf_tables", func(_ *rapid.T, n *Node) { n.FirewallErr = tunnel.ErrNoNFTables }},
		{atWays, "none", func(_ *rapid.T, n *Node) { n.Ways = nil }},
		{atWays, "not in", func(_ *rapid.T, n *Node) { n.Ways = []Way{{VIP: vip, Client: anywhere}} }},
		{atWays, "in and out", func(t *rapid.T, n *Node) {
			n.Ways = []Way{{VIP: vip, Client: anywhere, In: tunnel.Route{Local: true},
				Out: tunnel.Route{Link: rapid.SampledFrom([]int{2, 3, 6}).Draw(t, "by")}}}
		}},
		{0, "probed", func(t *rapid.T, n *Node) {
			n.Pools = map[string]probe.Result{"web": {State: probe.State(rapid.IntRange(0, 2).Draw(t, "state"))}}
		}},
		{0, "drained, or not", func(t *rapid.T, n *Node) {
			n.Draining = rapid.SampledFrom([]map[string]DrainState{nil, {wholeNode: {Why: "SIGTERM"}}, {"web": {Why: "hand", Over: true}}}).Draw(t, "drains")
		}},
		{0, "held back, or not", func(t *rapid.T, n *Node) {
			n.Held = map[string]string{rapid.SampledFrom([]string{"", arpIgnoreAllID, deviceUpID}).Draw(t, "what"): "a rival"}
		}},
	}
}

// written is a write to one setting of a source.
func written(to source) turn {
	return turn{to, "one written", func(t *rapid.T, n *Node) {
		keys := slices.Sorted(maps.Keys(goodNode().Sysctl))
		keys = slices.DeleteFunc(keys, func(k sysctl.Key) bool { return sourceOf(k) != to })
		// In place, as the daemon takes in what was written.
		n.Sysctl[rapid.SampledFrom(keys).Draw(t, "key")] = sysctl.Value{
			Text: rapid.SampledFrom([]string{"0", "1", "2", "x"}).Draw(t, "value")}
	}}
}

// A condition that looks at a source which it does not name says here what held
// before.
func TestWhatIsKeptIsWhatWouldBeJudged(t *testing.T) {
	c := oneVIP(t)
	c.Tunnel.Guard, c.Tunnel.ClampMSS.Auto = true, true
	conditions := allConditions(c)
	rapid.Check(t, func(t *rapid.T) {
		j, n := newJudge(conditions), goodNode()
		n.Looks.next(atLinks | atSettings | atFirewall | atWays)
		j.evaluate(n)
		for range rapid.IntRange(1, 30).Draw(t, "turns") {
			now := n
			// More than one may change between two looks.
			for range rapid.IntRange(1, 3).Draw(t, "at once") {
				turn := rapid.SampledFrom(turns()).Draw(t, "turn")
				t.Logf("%v: %s", turn.source, turn.what)
				turn.make(t, &now)
				now.Looks.next(turn.source)
			}
			n = now
			seen := n
			if rapid.Bool().Draw(t, "not numbered") {
				seen.Looks = looks{}
			}
			fresh := n
			fresh.Looks = looks{}
			want, got := evaluate(allConditions(c), fresh), j.evaluate(seen)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("what is kept is not what would be judged (-want +got):\n%s", diff)
			}
		}
	})
}

// Whatever a node is like, a change at a source that a condition does not name
// makes no difference to it, unless it is judged every time.
func TestAConditionNamesAllThatItLooksAt(t *testing.T) {
	c, all := oneVIP(t), turns()
	rapid.Check(t, func(t *rapid.T) {
		n := goodNode()
		for _, s := range sources {
			of := slices.DeleteFunc(slices.Clone(all), func(o turn) bool { return o.source&s == 0 })
			rapid.SampledFrom(of).Draw(t, "turn").make(t, &n)
		}
		conditions := allConditions(c)
		for _, turn := range all {
			changed := n
			changed.Sysctl = maps.Clone(n.Sysctl)
			turn.make(t, &changed)
			for i, condition := range conditions {
				if condition.Looks == 0 || condition.Looks&turn.source != 0 {
					continue
				}
				before, gone := judged(conditions[i], n)
				now, goneNow := judged(conditions[i], changed)
				if !gone && !goneNow && before != now {
					t.Fatalf("%s looks at %v (%s) and does not name it: %+v became %+v",
						condition.ID, turn.source, turn.what, before, now)
				}
			}
		}
	})
}

// judged is the verdict of one condition. What it needs may be gone: then the
// daemon would not ask it.
func judged(c Condition, n Node) (v Verdict, gone bool) {
	defer func() { gone = recover() != nil }()
	return c.Evaluate(n), false
}

// The loop keeps verdicts at all: without that, the tests above hold too.
func TestAVerdictIsKeptWhileItsSourcesAre(t *testing.T) {
	judged := 0
	j := newJudge([]Condition{{ID: "one", Looks: atSettings, Evaluate: func(Node) Verdict {
		judged++
		return Verdict{Status: health.OK}
	}}})
	var n Node
	for _, step := range []struct {
		changed source
		want    int
	}{{atSettings, 1}, {0, 1}, {atLinks, 1}, {atSettings | atWays, 2}} {
		n.Looks.next(step.changed)
		j.evaluate(n)
		if judged != step.want {
			t.Errorf("after a change of %v it was judged %d times, want %d", step.changed, judged, step.want)
		}
	}
}
