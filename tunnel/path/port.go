package path

import (
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Port finds the port by which a bridge has a host of its segment: the only one
// that there is, or the one at which the bridge has learnt the host's hardware
// address. It is not ok if that is not known.
func Port(bridge int, host netip.Addr) (link int, ok bool) {
	list, err := links()
	if err != nil {
		return 0, false
	}
	return portIn(list, bridge, host)
}

func portIn(list []Link, bridge int, host netip.Addr) (link int, ok bool) {
	var ports []int
	for _, l := range list {
		if l.Master == bridge {
			ports = append(ports, l.Index)
		}
	}
	if len(ports) == 1 {
		return ports[0], true
	}
	mac := hardwareAddress(bridge, host)
	if mac == nil {
		return 0, false
	}
	learnt, err := netlink.NeighList(0, unix.AF_BRIDGE)
	if err != nil {
		return 0, false
	}
	for _, n := range learnt {
		if n.HardwareAddr.String() == mac.String() && slices.Contains(ports, n.LinkIndex) {
			return n.LinkIndex, true
		}
	}
	return 0, false
}

// hardwareAddress is that of a neighbour; nil: the kernel does not know it.
func hardwareAddress(link int, host netip.Addr) net.HardwareAddr {
	list, err := netlink.NeighList(link, netlink.FAMILY_V4)
	if err != nil {
		return nil
	}
	for _, n := range list {
		if a, ok := netip.AddrFromSlice(n.IP); ok && a.Unmap() == host && len(n.HardwareAddr) > 0 {
			return n.HardwareAddr
		}
	}
	return nil
}

// beneath are the links by which others, such as a bridge, a bond or a VLAN, have
// what they take in and send: the port by which a bridge reaches one of the hosts,
// all of a bond. Those that a VLAN stands on see other packets than it does, so
// they are apart.
func beneath(list []Link, over []int, hosts []netip.Addr) (under, tagged []int) {
	add := func(to []int, index int) []int {
		if slices.Contains(to, index) || slices.Contains(over, index) {
			return to
		}
		return append(to, index)
	}
	for _, index := range over {
		l := linkOf(list, func(l Link) bool { return l.Index == index })
		switch {
		case l == nil:
		case l.Kind == "bridge":
			for _, host := range hosts {
				if port, ok := portIn(list, index, host); ok {
					under = add(under, port)
				}
			}
		case l.Kind == "bond" || l.Kind == "team":
			for _, part := range list {
				if part.Master == index && part.Up {
					under = add(under, part.Index)
				}
			}
		case l.Kind == "vlan" && l.lower != 0:
			tagged = add(tagged, l.lower)
		}
	}
	if len(under) > 0 { // a bond may be the port of a bridge
		deeper, more := beneath(list, under, hosts)
		under, tagged = append(under, deeper...), append(tagged, more...)
	}
	if len(tagged) > 0 { // and a VLAN may stand on a bond
		deeper, more := beneath(list, tagged, hosts)
		tagged = slices.Concat(tagged, deeper, more)
	}
	return under, tagged
}
