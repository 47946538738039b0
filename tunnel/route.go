package tunnel

import (
	"fmt"
	"net"
	"net/netip"
)

// LinkToward returns the index of the link by which packets from this node
// leave for an IPv4 address. The error is the kernel's if there is no route.
func (h *Handle) LinkToward(to netip.Addr) (int, error) {
	routes, err := h.route.RouteGet(net.IP(to.AsSlice()))
	if err != nil {
		return 0, fmt.Errorf("cannot find the route to %s: %w", to, err)
	}
	for _, r := range routes {
		if r.LinkIndex != 0 {
			return r.LinkIndex, nil
		}
	}
	return 0, fmt.Errorf("cannot find the route to %s: the kernel names no link", to)
}
