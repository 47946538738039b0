package path

import (
	"fmt"
	"net/netip"
	"slices"
)

// rivals finds the tunnels that take what the directors send away from the
// device, in the order of ip_tunnel_lookup (net/ipv4/ip_tunnel.c): local and
// remote address, remote, local, then one with addresses from each packet, and
// the fallback last. Only a tunnel that is up takes anything. One whose VIPs
// are on it is no rival: it is a device of its own.
func rivals(links []Link, q Question, node netip.Addr) []Stop {
	own := linkOf(links, func(l Link) bool { return l.Name == q.Device })
	if own == nil || !own.tunnel.known || !node.IsValid() {
		return nil
	}
	var stops []Stop
	for _, l := range links {
		t := l.tunnel
		if !t.known || !l.Up || l.Index == own.Index || t.encapsulation != 0 && !t.external {
			continue
		}
		if t.protocol != 0 && t.protocol != 4 && !t.external {
			continue // MPLS
		}
		var takes []netip.Addr
		for _, d := range q.Directors {
			if precedes(t, own.tunnel, d, node, q.Facing) {
				takes = append(takes, d)
			}
		}
		if len(takes) == 0 {
			continue
		}
		who := "every director"
		if len(takes) < len(q.Directors) {
			who = addresses(takes)
		}
		stops = append(stops, Stop{Leg: Outer, Where: "the tunnel " + l.Name,
			Why:    fmt.Sprintf("takes what %s sends, before %s can", who, q.Device),
			Remedy: fmt.Sprintf("ip link set %s down", l.Name)})
	}
	return stops
}

// rank is the round of ip_tunnel_lookup in which a tunnel takes a packet; 0 is
// the first, and 4 none of them.
func rank(t outer, from, to netip.Addr) int {
	local, remote := netip.AddrFrom4(t.local), netip.AddrFrom4(t.remote)
	none := netip.IPv4Unspecified()
	switch {
	case t.external:
		return 3
	case local == to && remote == from:
		return 0
	case local == none && remote == from:
		return 1
	case local == to && remote == none:
		return 2
	}
	return 4
}

func precedes(t, own outer, from, to netip.Addr, facing []int) bool {
	if t.link != 0 && !slices.Contains(facing, int(t.link)) {
		return false
	}
	return rank(t, from, to) < rank(own, from, to)
}

func addresses(list []netip.Addr) string {
	text := ""
	for i, a := range list {
		if i > 0 {
			text += ", "
		}
		text += a.String()
	}
	return text
}
