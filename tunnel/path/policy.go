package path

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"

	"rsagent/packet"
)

// policies finds the IPsec policies that packets of the legs run into. It needs
// CAP_NET_ADMIN.
func policies(q Question, s samples, links []Link) ([]Stop, error) {
	if _, err := os.Stat("/proc/thread-self/net/xfrm_stat"); err != nil {
		if _, err := os.Stat("/proc/sys/net/core/xfrm_acq_expires"); err != nil {
			return nil, nil // a kernel without IPsec
		}
	}
	list, err := netlink.XfrmPolicyList(netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("cannot list the IPsec policies: %w", err)
	}
	facing := ""
	for _, l := range links {
		if len(q.Facing) > 0 && l.Index == q.Facing[0] {
			facing = l.Name
		}
	}
	var stops []Stop
	for leg, on := range map[Leg]string{Outer: facing, Inner: q.Device, Answer: facing} {
		if on == "" || exempt(on, leg) {
			continue
		}
		for _, p := range s[leg] {
			h, _ := packet.Parse(p)
			first := firstPolicy(list, leg, h)
			if first == nil {
				continue
			}
			if stop, ok := blocks(*first, leg); ok {
				stops = append(stops, stop)
				break
			}
		}
	}
	return stops, nil
}

// exempt tells whether the link asks no policy: inet_devconf's disable_policy
// for what comes in, disable_xfrm for what goes out (ip-sysctl.rst).
func exempt(link string, leg Leg) bool {
	key := "disable_policy"
	if leg == Answer {
		key = "disable_xfrm"
	}
	b, err := os.ReadFile("/proc/sys/net/ipv4/conf/" + strings.ReplaceAll(link, "/", ".") + "/" + key)
	return err == nil && strings.TrimSpace(string(b)) == "1"
}

// firstPolicy is the one that the kernel acts on: of those that match, that of
// the lowest priority, and the oldest of the same (xfrm_policy_lookup_bytype,
// net/xfrm/xfrm_policy.c).
func firstPolicy(list []netlink.XfrmPolicy, leg Leg, h packet.Header) *netlink.XfrmPolicy {
	dir := netlink.XFRM_DIR_IN
	if leg == Answer {
		dir = netlink.XFRM_DIR_OUT
	}
	var first *netlink.XfrmPolicy
	for i, p := range list {
		if p.Dir == dir && p.Ifindex == 0 && p.Ifid == 0 && (p.Mark == nil || p.Mark.Value == 0) && selects(p, h) &&
			(first == nil || p.Priority < first.Priority) {
			first = &list[i]
		}
	}
	return first
}

func selects(p netlink.XfrmPolicy, h packet.Header) bool {
	in := func(n *net.IPNet, a netip.Addr) bool { return n == nil || len(n.IP) == 0 || n.Contains(a.AsSlice()) }
	return in(p.Src, h.From) && in(p.Dst, h.To) && (p.Proto == 0 || byte(p.Proto) == h.Protocol) &&
		(p.SrcPort == 0 || p.SrcPort == int(h.Ports[0])) && (p.DstPort == 0 || p.DstPort == int(h.Ports[1]))
}

// blocks tells whether the policy lets no plain packet through. What goes out
// may be encrypted as well as the other side wants it, so only a block stops it.
func blocks(p netlink.XfrmPolicy, leg Leg) (Stop, bool) {
	dir := map[bool]string{true: "out", false: "in"}[leg == Answer]
	stop := Stop{Leg: leg, Where: fmt.Sprintf("an IPsec policy (dir %s, index %d, from %s to %s)", dir, p.Index, orAll(p.Src), orAll(p.Dst)),
		Remedy: fmt.Sprintf("ip xfrm policy delete dir %s index %d", dir, p.Index)}
	if p.Action == netlink.XFRM_POLICY_BLOCK {
		stop.Why = "blocks them"
		return stop, true
	}
	for _, t := range p.Tmpls {
		if t.Optional == 0 && leg != Answer {
			stop.Why = "takes encrypted packets only, and drops them"
			return stop, true
		}
	}
	return Stop{}, false
}

func orAll(n *net.IPNet) string {
	if n == nil || len(n.IP) == 0 {
		return "anywhere"
	}
	return n.String()
}
