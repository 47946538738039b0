// Package tunnel is the one place that speaks netlink. It looks at the links
// and addresses of a node, brings the decapsulating device and the VIPs into
// being, tells when any of that changes, and counts the connections that the
// VIPs still carry.
//
// It decides nothing: what a node should have is said elsewhere.
package tunnel

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Node is one complete look at the links, addresses and local routes of a
// network namespace, never a part of one.
type Node struct {
	// The serials are of a Mirror: another number after each change, of anything
	// that is in the node, of the links, of settings of which netlink tells, and of
	// the node's routes and rules, which are not in here.
	Serial, LinkSerial, SettingSerial, RouteSerial uint64

	Links     []Link                   // by index
	Addresses map[netip.Addr][]Address // IPv4; those of one address by link
	Local     map[netip.Addr]bool      // what a route of table local delivers to this node
}

// Link is a network interface.
type Link struct {
	Index int
	Name  string
	// Kind is the kernel's name for the driver, such as "ipip" or "veth", and
	// "device" for one that has none: hardware, and the loopback.
	Kind     string
	Up       bool // set up by the administrator; says nothing of a carrier
	Loopback bool
	NoARP    bool // neither answers nor asks ARP; what tunnels are
	MTU      int  // bytes

	// The rest is known for kind "ipip" only.

	// Local and Remote are the outer addresses that the tunnel is bound to;
	// the zero Addr is any.
	Local, Remote netip.Addr
	// External tells that the tunnel takes its addresses from each packet
	// ("external", collect_md). While it is up it takes what the fallback
	// would have received (ip_tunnel_lookup, net/ipv4/ip_tunnel.c).
	External bool
	// Fallback tells that the tunnel is any to any and carries IPv4: it
	// receives what no other tunnel claims. There is one at most.
	Fallback bool
}

// Address is an IPv4 address of a link.
type Address struct {
	LinkIndex int
	Link      string
	// Prefix is the local address with its length; an address that has a peer
	// counts as a /32.
	Prefix netip.Prefix
	// HostScope tells that the kernel never names the address to others by
	// itself (RT_SCOPE_HOST), see AddVIPs.
	HostScope bool
}

// Handle holds the netlink sockets to the network namespace in which it was
// opened, wherever it is used later. One goroutine at a time may use it.
type Handle struct {
	route *netlink.Handle
	ask   *requests
	diag  *requests

	firewall    *nftSocket
	firewallErr error // why there is no socket to the packet filter
}

// answerTimeout bounds the wait for a kernel that owes an answer. It answers
// within the request, so only a lost answer waits this long.
const answerTimeout = 10 * time.Second

// Open returns a Handle to the network namespace of the calling thread. It
// needs no privilege; changing anything needs CAP_NET_ADMIN. A kernel without
// nf_tables is no error before the packet filter is asked for.
func Open() (*Handle, error) {
	route, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("cannot open a netlink socket: %v", err)
	}
	if err := route.SetSocketTimeout(answerTimeout); err != nil {
		route.Close()
		return nil, fmt.Errorf("cannot set the timeout of a netlink socket: %v", err)
	}
	h := &Handle{route: route}
	if h.ask, err = openRequests(unix.NETLINK_ROUTE); err != nil {
		route.Close()
		return nil, fmt.Errorf("cannot open a netlink socket: %v", err)
	}
	if h.diag, err = openRequests(unix.NETLINK_SOCK_DIAG); err != nil {
		route.Close()
		h.ask.close()
		return nil, fmt.Errorf("cannot open a netlink socket to count connections: %v", err)
	}
	h.firewall, h.firewallErr = openNFTables()
	return h, nil
}

// Close frees the sockets. The Handle is of no use afterwards.
func (h *Handle) Close() {
	h.route.Close()
	h.ask.close()
	h.diag.close()
	if h.firewall != nil {
		h.firewall.close()
	}
}

// errMoving tells that two lists taken one after the other do not fit.
var errMoving = errors.New("links come and go too fast for a complete list")

// Observe lists the links, the IPv4 addresses and the local routes. A list that
// the kernel marks as interrupted by a change, or that it could not deliver in
// full, is taken again a few times; then Observe fails. It never returns a part.
func (h *Handle) Observe() (Node, error) {
	s, err := listWhole(h.ask, looks)
	if err != nil {
		return Node{}, fmt.Errorf("cannot list links and addresses: %w", err)
	}
	return s.node(func(string, netip.Addr) bool { return true }), nil
}

// again tells whether err may be gone at the next try. EBUSY follows ENOBUFS:
// the list that overflowed is still being delivered.
func again(err error) bool {
	return errors.Is(err, netlink.ErrDumpInterrupted) || errors.Is(err, errMoving) ||
		errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EINTR)
}

func linkOf(l netlink.Link) Link {
	attrs := l.Attrs()
	link := Link{
		Index:    attrs.Index,
		Name:     attrs.Name,
		Kind:     l.Type(),
		Up:       attrs.RawFlags&unix.IFF_UP != 0,
		Loopback: attrs.RawFlags&unix.IFF_LOOPBACK != 0,
		NoARP:    attrs.RawFlags&unix.IFF_NOARP != 0,
		MTU:      attrs.MTU,
	}
	if link.Kind == "tuntap" { // the library's word; the kernel's is shorter
		link.Kind = "tun"
	}
	if t, ok := l.(*netlink.Iptun); ok {
		link.Local = outer(t.Local)
		link.Remote = outer(t.Remote)
		link.External = t.FlowBased
		carriesIPv4 := t.Proto == 0 || t.Proto == unix.IPPROTO_IPIP // 0: any
		link.Fallback = !link.External && !link.Local.IsValid() && !link.Remote.IsValid() && carriesIPv4
	}
	return link
}

// outer is an outer address of a tunnel, the zero Addr for 0.0.0.0 and none.
func outer(ip []byte) netip.Addr {
	addr, ok := netip.AddrFromSlice(ip)
	if !ok || addr.IsUnspecified() {
		return netip.Addr{}
	}
	return addr.Unmap()
}
