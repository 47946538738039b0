package path

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Flow is a packet of TCP whose way is looked up.
type Flow struct {
	In       string // the link that it comes in by; "lo" if this node sends it
	From, To netip.Addr
}

// Actions of rules: FR_ACT_... in linux/fib_rules.h.
const (
	toTable, toRule                        = 1, 2
	ruleBlackhole, ruleRefuses, ruleForbid = 6, 7, 8
)

// discards are the types of routes and rules that lead nowhere, as ip(8) names
// them.
var discards = map[int]string{unix.RTN_BLACKHOLE: "blackhole", unix.RTN_UNREACHABLE: "unreachable", unix.RTN_PROHIBIT: "prohibit"}

// Explain walks the rules of policy routing for a packet that is for this node,
// or leaves it, and says what stands in its way: a rule or a route. The Stop is
// empty if none does. The kernel does the same for a packet, and does not say
// where it ended: fib_rules_lookup (net/core/fib_rules.c).
func Explain(f Flow) (Stop, error) {
	rules, err := listRules()
	if err != nil {
		return Stop{}, fmt.Errorf("cannot list the rules of policy routing: %w", err)
	}
	if !slices.ContainsFunc(rules, func(r netlink.Rule) bool { return r.Table == unix.RT_TABLE_LOCAL }) {
		return Stop{Where: "policy routing", Why: "has no rule that leads to the table local", Remedy: "ip rule add pref 0 table local"}, nil
	}
	slices.SortStableFunc(rules, func(a, b netlink.Rule) int { return a.Priority - b.Priority })
	until := 0 // the rule that a goto leads to
	for _, r := range rules {
		if r.Priority < until || !takes(r, f) {
			continue
		}
		switch int(r.Type) {
		case ruleBlackhole, ruleRefuses, ruleForbid:
			return Stop{Where: fmt.Sprintf("the rule %d (from %s to %s)", r.Priority, orAll(r.Src), orAll(r.Dst)),
				Why: "discards them", Remedy: fmt.Sprintf("ip rule del pref %d", r.Priority)}, nil
		case toRule:
			until = r.Goto
		case toTable:
			stop, end, err := inTable(r, f)
			if err != nil || end {
				return stop, err
			}
		}
	}
	return Stop{Where: "policy routing", Why: fmt.Sprintf("has no route to %s", f.To)}, nil
}

// listRules lists the rules with their actions, which the library passes over:
// struct fib_rule_hdr and FRA_... in linux/fib_rules.h.
func listRules() ([]netlink.Rule, error) {
	list, err := dump(unix.RTM_GETRULE, unix.RTM_NEWRULE, append([]byte{unix.AF_INET}, make([]byte, 11)...))
	if err != nil {
		return nil, err
	}
	var rules []netlink.Rule
	for _, b := range list {
		r, err := parseRule(b)
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	return rules, nil
}

func parseRule(b []byte) (netlink.Rule, error) {
	const head, inverted = 12, 2
	if len(b) < head {
		return netlink.Rule{}, fmt.Errorf("the kernel describes a rule in %d bytes", len(b))
	}
	r := netlink.Rule{Tos: uint(b[3]), Table: int(b[4]), Type: b[7], SuppressPrefixlen: -1,
		Invert: binary.NativeEndian.Uint32(b[8:])&inverted != 0}
	prefix := func(v []byte, bits byte) *net.IPNet {
		if len(v) != 4 || bits > 32 {
			return nil
		}
		return &net.IPNet{IP: net.IP(v), Mask: net.CIDRMask(int(bits), 32)}
	}
	return r, attributes(b[head:], func(kind uint16, v []byte) error {
		switch kind {
		case 1:
			r.Dst = prefix(v, b[1])
		case 2:
			r.Src = prefix(v, b[2])
		case 3:
			r.IifName = text(v)
		case 4:
			r.Goto = int(number(v))
		case 6:
			r.Priority = int(number(v))
		case 10:
			r.Mark = number(v)
		case 12:
			r.TunID = 1
		case 14:
			r.SuppressPrefixlen = int(int32(number(v)))
		case 15:
			r.Table = int(number(v))
		case 16:
			mask := number(v)
			r.Mask = &mask
		case 17:
			r.OifName = text(v)
		case 19:
			if number(v) != 0 {
				r.Table = 0
			}
		case 20:
			// All users: what the kernel says of a rule without a range.
			if len(v) == 8 && (binary.NativeEndian.Uint32(v) != 0 || binary.NativeEndian.Uint32(v[4:]) != ^uint32(0)) {
				r.UIDRange = &netlink.RuleUIDRange{}
			}
		case 22:
			r.IPProto = int(number(v))
		case 23:
			r.Sport = &netlink.RulePortRange{}
		case 24:
			r.Dport = &netlink.RulePortRange{}
		}
		return nil
	})
}

// takes tells whether a packet without a mark, and without a type of service, is
// one that the rule is about.
func takes(r netlink.Rule, f Flow) bool {
	in := func(n *net.IPNet, a netip.Addr) bool { return n == nil || len(n.IP) == 0 || n.Contains(a.AsSlice()) }
	mask := ^uint32(0)
	if r.Mask != nil {
		mask = *r.Mask
	}
	hit := in(r.Src, f.From) && in(r.Dst, f.To) && (r.IifName == "" || r.IifName == f.In) && r.OifName == "" && r.Tos == 0 &&
		(r.Mark&mask == 0 || r.Mask == nil && r.Mark == 0) && r.TunID == 0 && r.UIDRange == nil && r.Dport == nil && r.Sport == nil &&
		(r.IPProto == 0 || r.IPProto == unix.IPPROTO_TCP)
	return hit != r.Invert
}

// inTable looks up the packet in the rule's table: the longest prefix, and of
// the same the smallest metric. End says that no later rule is asked.
func inTable(r netlink.Rule, f Flow) (stop Stop, end bool, err error) {
	if r.Table == 0 {
		return Stop{}, false, nil // of a VRF
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: r.Table}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return Stop{}, false, fmt.Errorf("cannot list the routes of table %d: %w", r.Table, err)
	}
	best, length := netlink.Route{}, -1
	for _, route := range routes {
		bits := 0
		if route.Dst != nil {
			bits, _ = route.Dst.Mask.Size()
		}
		if route.Tos != 0 || route.Dst != nil && !route.Dst.Contains(f.To.AsSlice()) {
			continue
		}
		if bits > length || bits == length && route.Priority < best.Priority {
			best, length = route, bits
		}
	}
	if length < 0 || best.Type == unix.RTN_THROW || r.SuppressPrefixlen >= 0 && length <= r.SuppressPrefixlen {
		return Stop{}, false, nil
	}
	to := fmt.Sprintf("%s/%d", f.To, 32)
	if best.Dst != nil {
		to = best.Dst.String()
	}
	if length == 0 {
		to = "default"
	}
	table := map[int]string{unix.RT_TABLE_LOCAL: "local", unix.RT_TABLE_MAIN: "main"}[r.Table]
	if table == "" {
		table = fmt.Sprint(r.Table)
	}
	// One in an own table is there for its rule: that goes.
	remedy := fmt.Sprintf("ip rule del pref %d", r.Priority)
	if r.Table == unix.RT_TABLE_LOCAL || r.Table == unix.RT_TABLE_MAIN || r.Table == unix.RT_TABLE_DEFAULT {
		remedy = fmt.Sprintf("ip route del %s table %s", to, table)
	}
	stop = Stop{Where: fmt.Sprintf("the route to %s in table %s, which rule %d leads to,", to, table, r.Priority), Remedy: remedy}
	switch {
	case discards[best.Type] != "":
		stop.Why = "discards them"
		if r.Table == unix.RT_TABLE_LOCAL || r.Table == unix.RT_TABLE_MAIN || r.Table == unix.RT_TABLE_DEFAULT {
			stop.Remedy = fmt.Sprintf("ip route del %s %s table %s", discards[best.Type], to, table)
		}
	case f.In != "lo" && best.Type == unix.RTN_UNICAST:
		stop.Why = "sends them on to another host"
	case f.In == "lo" && best.Type == unix.RTN_LOCAL:
		stop.Why = "keeps them on this node"
	case f.In == "lo" && linkIs(best.LinkIndex, "ipip"):
		stop.Why = "sends them into the tunnel"
	default:
		return Stop{}, true, nil
	}
	return stop, true, nil
}

func linkIs(index int, kind string) bool {
	l, err := netlink.LinkByIndex(index)
	return err == nil && l.Type() == kind
}
