package path

import (
	"bytes"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Bridges tells by which ports the bridges of this node have hosts. It asks the
// kernel when it is asked first, and once. It is for one goroutine.
type Bridges struct {
	links      []Link
	neighbours []netlink.Neigh // by IPv4
	learnt     []netlink.Neigh // by the bridges
	asked      bool
}

// Port finds the port by which a bridge has a host of its segment: the only one
// that there is, or the one at which the bridge has learnt the host's hardware
// address. It is not ok if that is not known.
func (b *Bridges) Port(bridge int, host netip.Addr) (link int, ok bool) {
	if b.links == nil {
		b.links, _ = links() // none: then no port is known
	}
	var ports []int
	for _, l := range b.links {
		if l.Master == bridge {
			ports = append(ports, l.Index)
		}
	}
	if len(ports) == 1 {
		return ports[0], true
	}
	b.ask()
	for _, n := range b.neighbours {
		if a, ok := netip.AddrFromSlice(n.IP); !ok || a.Unmap() != host || n.LinkIndex != bridge || len(n.HardwareAddr) == 0 {
			continue
		}
		for _, at := range b.learnt {
			if bytes.Equal(at.HardwareAddr, n.HardwareAddr) && slices.Contains(ports, at.LinkIndex) {
				return at.LinkIndex, true
			}
		}
	}
	return 0, false
}

func (b *Bridges) ask() {
	if b.asked {
		return
	}
	b.asked = true
	b.neighbours, _ = netlink.NeighList(0, netlink.FAMILY_V4) // of none nothing is known
	b.learnt, _ = netlink.NeighList(0, unix.AF_BRIDGE)
}

// beneath are the links by which others, such as a bridge, a bond or a VLAN, have
// what they take in and send: the port by which a bridge reaches one of the hosts,
// all of a bond. Those that a VLAN stands on see other packets than it does, so
// they are apart.
func (b *Bridges) beneath(over []int, hosts []netip.Addr) (under, tagged []int) {
	add := func(to []int, index int) []int {
		if slices.Contains(to, index) || slices.Contains(over, index) {
			return to
		}
		return append(to, index)
	}
	for _, index := range over {
		l := linkOf(b.links, func(l Link) bool { return l.Index == index })
		switch {
		case l == nil:
		case l.Kind == "bridge":
			for _, host := range hosts {
				if port, ok := b.Port(index, host); ok {
					under = add(under, port)
				}
			}
		case l.Kind == "bond" || l.Kind == "team":
			for _, part := range b.links {
				if part.Master == index && part.Up {
					under = add(under, part.Index)
				}
			}
		case l.Kind == "vlan" && l.lower != 0:
			tagged = add(tagged, l.lower)
		}
	}
	if len(under) > 0 { // a bond may be the port of a bridge
		deeper, more := b.beneath(under, hosts)
		under, tagged = append(under, deeper...), append(tagged, more...)
	}
	if len(tagged) > 0 { // and a VLAN may stand on a bond
		deeper, more := b.beneath(tagged, hosts)
		tagged = slices.Concat(tagged, deeper, more)
	}
	return under, tagged
}
