package ruleset

import (
	"cmp"
	"slices"
)

// stop is a place on the way of a packet: a chain that the kernel calls, or
// conntrack.
type stop struct {
	chain     *chain
	conntrack bool
	port      bool // it sees the port of a bridge in place of the bridge
}

// Priorities of include/uapi/linux/netfilter_ipv4.h. All chains of NAT of a hook
// are called from one place (nf_nat_inet_fn, net/netfilter/nf_nat_core.c).
const (
	priorityConntrack = -200
	priorityDNAT      = -100
	prioritySNAT      = 100
)

// Trace follows a packet and says what becomes of it. It looks at nothing but
// the Ruleset, so that two goroutines may use one at the same time.
func (r *Ruleset) Trace(p Packet) Fate {
	t := run{
		rules: r, packet: p, path: r.path(p), budget: spareRules + 50*r.Rules(),
		interned: map[frame]*frame{}, fates: map[state]Fate{},
	}
	t.mark, t.headers = sureWord(0), p.headers()
	if p.State == New {
		t.ctMark = sureWord(0)
	}
	f := t.fate()
	f.packet = p
	return f
}

func (r *Ruleset) path(p Packet) []stop {
	if p.leaves() {
		return slices.Concat(
			r.hook(hookOutput, "", true), r.hook(hookPostrouting, "", false), r.hook(hookEgress, p.Out.Name, false),
			r.atPort(p, hookBridge+hookOutput), r.atPort(p, hookBridge+hookPostrouting), r.atPort(p, hookEgress),
		)
	}
	return slices.Concat(
		r.atPort(p, hookIngress), r.atPort(p, hookBridge+hookPrerouting), r.atPort(p, hookBridge+hookInput),
		r.hook(hookIngress, p.In.Name, false), r.hook(hookPrerouting, "", true), r.hook(hookInput, "", false),
	)
}

// atPort is the chains of a hook of a bridge, or of the link that is its port.
// What a bridge delivers to its own node goes through prerouting and input, and
// what the node sends by it through output and postrouting (br_pass_frame_up and
// __br_forward, net/bridge).
func (r *Ruleset) atPort(p Packet, hook int) []stop {
	if p.Port == (Link{}) || hook < hookBridge && p.Port == SomePort {
		return nil
	}
	link := ""
	if hook < hookBridge {
		link = p.Port.Name
	}
	stops := r.hook(hook, link, false)
	for i := range stops {
		stops[i].port = true
	}
	return stops
}

// hook is the chains of a hook in the order in which the kernel calls them. Of
// two with one priority it calls the one first that came last
// (nf_hook_entries_grow, net/netfilter/core.c).
func (r *Ruleset) hook(hook int, link string, conntrack bool) []stop {
	var chains []*chain
	for _, t := range r.tables {
		for _, c := range t.chains {
			if c.base != nil && c.base.hook == hook && (link == "" || c.base.on(link)) {
				chains = append(chains, c)
			}
		}
	}
	slices.SortFunc(chains, func(a, b *chain) int {
		return cmp.Or(
			cmp.Compare(a.base.called(), b.base.called()),
			cmp.Compare(a.base.priority, b.base.priority),
			cmp.Compare(b.base.order, a.base.order),
		)
	})
	stops := make([]stop, 0, len(chains)+1)
	for _, c := range chains {
		if conntrack && c.base.called() >= priorityConntrack {
			stops, conntrack = append(stops, stop{conntrack: true}), false
		}
		stops = append(stops, stop{chain: c})
	}
	if conntrack {
		stops = append(stops, stop{conntrack: true})
	}
	return stops
}

// called is the priority with which the kernel calls the chain.
func (b *base) called() int32 {
	switch {
	case b.kind != "nat":
		return b.priority
	case b.hook == hookPrerouting || b.hook == hookOutput:
		return priorityDNAT
	}
	return prioritySNAT
}
