package path

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Gateway is where answers to clients anywhere go first.
type Gateway struct {
	Addr netip.Addr // not valid: there is none, or clients are asked for directly
	Link int
	Err  error // why there is no route to clients anywhere

	State int    // of the kernel's entry, NUD_...; 0: there is none
	MAC   string // of that entry
}

// gateway asks for the way of what a VIP answers, where there is one: a rule may
// give it another than the node's own packets have.
func gateway(q Question) Gateway {
	to := net.IP(anywhere.AsSlice())
	for _, s := range q.Services {
		list, err := netlink.RouteGetWithOptions(to, &netlink.RouteGetOptions{SrcAddr: net.IP(s.Addr().AsSlice())})
		if err == nil && len(list) > 0 {
			return firstHop(list, nil)
		}
	}
	return firstHop(netlink.RouteGet(to))
}

func firstHop(list []netlink.Route, err error) Gateway {
	if err != nil || len(list) == 0 {
		return Gateway{Err: err}
	}
	g := Gateway{Link: list[0].LinkIndex}
	if a, ok := netip.AddrFromSlice(list[0].Gw); ok && a.Unmap().Is4() {
		g.Addr = a.Unmap()
	}
	return g
}

// Silent tells that the kernel has asked for the gateway and got no answer.
func (g Gateway) Silent() bool { return g.State&(unix.NUD_FAILED|unix.NUD_INCOMPLETE) != 0 }

// Fixed tells that somebody has set the gateway's address by hand.
func (g Gateway) Fixed() bool { return g.State&unix.NUD_PERMANENT != 0 }

// others are the directors that are not this node itself.
func (q Question) others() []netip.Addr {
	return slices.DeleteFunc(slices.Clone(q.Directors), func(d netip.Addr) bool { return q.Own[d] })
}

// nodeAddress is the address that this node has for a director: what it would
// send from. It is not valid if there is none.
func nodeAddress(q Question) netip.Addr {
	for _, to := range append(q.others(), anywhere) {
		list, err := netlink.RouteGet(net.IP(to.AsSlice()))
		if err != nil || len(list) == 0 {
			continue
		}
		if a, ok := netip.AddrFromSlice(list[0].Src); ok {
			return a.Unmap()
		}
	}
	return netip.Addr{}
}

// foreign compares this thread's network namespace with that of process 1.
func foreign() (bool, error) {
	var own, first unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &own); err != nil {
		return false, fmt.Errorf("cannot tell the network namespace: %w", err)
	}
	if err := unix.Stat("/proc/1/ns/net", &first); err != nil {
		if os.IsPermission(err) {
			return false, fmt.Errorf("cannot tell the network namespace of process 1 without root: %w", err)
		}
		return false, fmt.Errorf("cannot tell the network namespace of process 1: %w", err)
	}
	return own.Ino != first.Ino || own.Dev != first.Dev, nil
}

// neighbours reads whom the kernel can send to at once, and whom it has asked for
// and not found, and what it knows of the gateway. What is for others waits.
func (f *Facts) neighbours() {
	f.Resolved, f.Unreached = map[netip.Addr]bool{}, map[netip.Addr]bool{}
	list, _ := netlink.NeighList(0, netlink.FAMILY_V4) // none: then nothing is said of answers that are missing
	for _, n := range list {
		a, ok := netip.AddrFromSlice(n.IP)
		a = a.Unmap()
		switch {
		case !ok:
		case n.State&(unix.NUD_FAILED|unix.NUD_INCOMPLETE) == 0:
			f.Resolved[a] = true
		default:
			f.Unreached[a] = true
		}
		if g := &f.Gateway; ok && a == g.Addr && n.LinkIndex == g.Link {
			g.State, g.MAC = n.State, n.HardwareAddr.String()
		}
		// It waits still, so the answer to this look came while it did.
		if n.State&unix.NUD_INCOMPLETE != 0 && len(f.Claims[a]) > 0 {
			f.Unheard = append(f.Unheard, a)
		}
	}
}
