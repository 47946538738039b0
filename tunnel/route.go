package tunnel

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Route is what the kernel would do with a packet.
type Route struct {
	Local bool // deliver it to this node
	Link  int  // else send it out by the link with this index; 0 is none

	// Gateway is the host that it would go by, if it is not sent to its own address.
	Gateway netip.Addr

	// Source is the address that it would be sent from, if none was given.
	Source netip.Addr
}

// RouteTo asks the kernel what it would do with a packet that this node sends
// to an IPv4 address, from another if that is valid. The error is the kernel's
// if it would not send it.
func (h *Handle) RouteTo(to, from netip.Addr) (Route, error) {
	r, err := h.lookUp(to, from, 0)
	if err != nil {
		return r, fmt.Errorf("cannot find the route to %s: %w", to, err)
	}
	return r, nil
}

// RouteIn asks the kernel what it would do with a packet that comes in by a
// link. It is what happens to a real one (ip_route_input_rcu, net/ipv4/route.c),
// reverse path filtering included, but it does not matter whether the link is
// up. The error is the kernel's if it would drop it: EXDEV or, from Linux 6.18 at
// the latest, EINVAL by reverse path filtering, EINVAL as a martian, EHOSTUNREACH
// since it is neither for this node nor to be forwarded.
func (h *Handle) RouteIn(l Link, to, from netip.Addr) (Route, error) {
	r, err := h.lookUp(to, from, l.Index)
	if err != nil {
		return r, fmt.Errorf("cannot find the way of a packet from %s to %s that comes in by %s: %w", from, to, l.Name, err)
	}
	return r, nil
}

// lookUp sends a struct rtmsg with its attributes: rtnetlink(7).
func (h *Handle) lookUp(to, from netip.Addr, in int) (Route, error) {
	if !to.Is4() || from.IsValid() && !from.Is4() {
		return Route{}, fmt.Errorf("not an IPv4 address")
	}
	b := make([]byte, unix.SizeofRtMsg, 48)
	b[0], b[1] = unix.AF_INET, 32
	dst := to.As4()
	b = attribute(b, unix.RTA_DST, dst[:])
	if from.IsValid() {
		b[2] = 32
		src := from.As4()
		b = attribute(b, unix.RTA_SRC, src[:])
	}
	if in != 0 {
		b = attribute32(b, unix.RTA_IIF, uint32(in))
	}
	m, err := h.ask.get(unix.RTM_GETROUTE, b)
	if err != nil {
		return Route{}, err
	}
	if m.kind != unix.RTM_NEWROUTE || len(m.body) < unix.SizeofRtMsg {
		return Route{}, fmt.Errorf("the kernel answers with a message of kind %d and %d bytes", m.kind, len(m.body))
	}
	switch kind := m.body[7]; kind {
	case unix.RTN_LOCAL:
		return Route{Local: true}, nil
	case unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT, unix.RTN_THROW:
		return Route{}, unix.EHOSTUNREACH
	}
	var r Route
	err = eachAttribute(m.body[unix.SizeofRtMsg:], func(kind uint16, value []byte) {
		switch {
		case kind == unix.RTA_OIF && len(value) == 4:
			r.Link = int(binary.NativeEndian.Uint32(value))
		case kind == unix.RTA_GATEWAY && len(value) == 4:
			r.Gateway = netip.AddrFrom4([4]byte(value))
		case kind == unix.RTA_PREFSRC && len(value) == 4:
			r.Source = netip.AddrFrom4([4]byte(value))
		}
	})
	return r, err
}
