package tunnel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// state is what the kernel has said of links, addresses and local routes, in a
// list or one change after the other: the messages are the same.
type state struct {
	links     map[int]Link
	addresses map[addressKey]uint8 // the scope
	routes    map[localRoute]bool
}

// addressKey is what makes an address of a link another one (inet_rtm_deladdr,
// net/ipv4/devinet.c).
type addressKey struct {
	link        int
	local, peer [4]byte
	bits        uint8
}

// localRoute is a route of table local that delivers one address to this node.
type localRoute struct {
	to   [4]byte
	link uint32
	tos  uint8
	prio uint32
}

func newState() state {
	return state{links: map[int]Link{}, addresses: map[addressKey]uint8{}, routes: map[localRoute]bool{}}
}

// Requests for whole lists: struct ifinfomsg with IFLA_EXT_MASK, ifaddrmsg,
// rtmsg (rtnetlink(7)). Statistics are left out, which a kernel before 4.5
// gives all the same.
func linksRequest() []byte {
	const skipStatistics = 1 << 3 // RTEXT_FILTER_SKIP_STATS, linux/rtnetlink.h
	b := make([]byte, unix.SizeofIfInfomsg, unix.SizeofIfInfomsg+8)
	return attribute32(b, unix.IFLA_EXT_MASK, skipStatistics)
}

func addressesRequest() []byte {
	return append(make([]byte, 0, unix.SizeofIfAddrmsg), unix.AF_INET, 0, 0, 0, 0, 0, 0, 0)
}

func localRoutesRequest() []byte {
	b := make([]byte, unix.SizeofRtMsg)
	b[0], b[4] = unix.AF_INET, unix.RT_TABLE_LOCAL
	return b
}

// list fills an empty state. With ErrDumpInterrupted it is not whole.
func (s *state) list(ask *requests) error {
	for _, l := range []struct {
		request, kind uint16
		body          []byte
	}{
		{unix.RTM_GETLINK, unix.RTM_NEWLINK, linksRequest()},
		{unix.RTM_GETADDR, unix.RTM_NEWADDR, addressesRequest()},
		{unix.RTM_GETROUTE, unix.RTM_NEWROUTE, localRoutesRequest()},
	} {
		err := ask.dump(l.request, l.kind, l.body, func(m message) error { _, err := s.apply(m); return err })
		if l.request == unix.RTM_GETROUTE && errors.Is(err, unix.ENOENT) {
			err = nil // there is no table local before the first address
		}
		if err != nil {
			return err
		}
	}
	for a := range s.addresses {
		if _, known := s.links[a.link]; !known {
			return errMoving
		}
	}
	return nil
}

// apply takes in one message. Those of no interest are passed over. It returns
// what has changed, in a form that tells what it was about.
func (s *state) apply(m message) (touched, error) {
	switch m.kind {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return s.link(m)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return s.address(m)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return s.route(m)
	}
	return touched{}, nil
}

// touched is what a message was about. The zero value is nothing.
type touched struct {
	name  string     // of the link, or of that which has the address
	addr  netip.Addr // an address, or where a local route leads
	gone  bool       // that is not there any more
	links bool       // the link itself is what changed
	route bool       // a local route is
}

func (s *state) link(m message) (touched, error) {
	if len(m.body) < unix.SizeofIfInfomsg {
		return touched{}, fmt.Errorf("the kernel describes a link in %d bytes", len(m.body))
	}
	// Word of bridge ports comes in the same form, and a port that leaves its
	// bridge as if the link had gone (br_ifinfo_notify, net/bridge/br_netlink.c).
	if m.body[0] != unix.AF_UNSPEC {
		return touched{}, nil
	}
	index := int(int32(binary.NativeEndian.Uint32(m.body[4:])))
	was, known := s.links[index]
	if m.kind == unix.RTM_DELLINK {
		s.forget(index)
		return touched{name: was.Name, links: known}, nil
	}
	l, err := netlink.LinkDeserialize(&unix.NlMsghdr{Type: m.kind}, m.body)
	if err != nil {
		return touched{}, fmt.Errorf("the kernel's description of a link does not parse: %v", err)
	}
	now := linkOf(l)
	s.links[index] = now
	// Statistics and carriers of links come by this way, too.
	return touched{name: now.Name, links: now != was}, nil
}

// forget drops a link and all that was on it. The kernel says nothing of the
// routes that go with a link (fib_table_flush, net/ipv4/fib_trie.c).
func (s *state) forget(index int) {
	delete(s.links, index)
	for a := range s.addresses {
		if a.link == index {
			delete(s.addresses, a)
		}
	}
	for r := range s.routes {
		if r.link == uint32(index) {
			delete(s.routes, r)
		}
	}
}

func (s *state) address(m message) (touched, error) {
	if len(m.body) < unix.SizeofIfAddrmsg {
		return touched{}, fmt.Errorf("the kernel describes an address in %d bytes", len(m.body))
	}
	if m.body[0] != unix.AF_INET {
		return touched{}, nil
	}
	key := addressKey{link: int(binary.NativeEndian.Uint32(m.body[4:])), bits: m.body[1]}
	scope := m.body[3]
	var local, peer []byte
	err := eachAttribute(m.body[unix.SizeofIfAddrmsg:], func(kind uint16, value []byte) {
		switch kind {
		case unix.IFA_LOCAL:
			local = value
		case unix.IFA_ADDRESS:
			peer = value
		}
	})
	if err != nil {
		return touched{}, err
	}
	if local == nil {
		local = peer
	}
	if len(local) != 4 || len(peer) != 4 || key.bits > 32 {
		return touched{}, errors.New("the kernel lists an IPv4 address that is none")
	}
	key.local, key.peer = [4]byte(local), [4]byte(peer)
	t := touched{name: s.links[key.link].Name, addr: netip.AddrFrom4(key.local)}
	if m.kind == unix.RTM_DELADDR {
		t.gone = true
		delete(s.addresses, key)
		return t, nil
	}
	s.addresses[key] = scope
	return t, nil
}

// route takes in the routes of table local that are for one address. All
// others, of which a router may have a million, are passed over.
func (s *state) route(m message) (touched, error) {
	if len(m.body) < unix.SizeofRtMsg {
		return touched{}, fmt.Errorf("the kernel describes a route in %d bytes", len(m.body))
	}
	b := m.body
	if b[0] != unix.AF_INET || b[1] != 32 || b[4] != unix.RT_TABLE_LOCAL || b[7] != unix.RTN_LOCAL {
		return touched{}, nil
	}
	r := localRoute{tos: b[3]}
	var to []byte
	err := eachAttribute(b[unix.SizeofRtMsg:], func(kind uint16, value []byte) {
		switch {
		case kind == unix.RTA_DST:
			to = value
		case kind == unix.RTA_OIF && len(value) == 4:
			r.link = binary.NativeEndian.Uint32(value)
		case kind == unix.RTA_PRIORITY && len(value) == 4:
			r.prio = binary.NativeEndian.Uint32(value)
		}
	})
	if err != nil {
		return touched{}, err
	}
	if len(to) != 4 {
		return touched{}, errors.New("the kernel lists a local route that leads nowhere")
	}
	r.to = [4]byte(to)
	t := touched{name: s.links[int(r.link)].Name, addr: netip.AddrFrom4(r.to), route: true}
	if m.kind == unix.RTM_DELROUTE {
		t.gone = true
		delete(s.routes, r)
		return t, nil
	}
	s.routes[r] = true
	return t, nil
}

// node is the state as a Node. Of addresses and local routes it has those that
// matter.
func (s *state) node(matters func(link string, addr netip.Addr) bool) Node {
	n := Node{
		Links:     make([]Link, 0, len(s.links)),
		Addresses: make(map[netip.Addr][]Address),
		Local:     make(map[netip.Addr]bool),
	}
	for _, l := range s.links {
		n.Links = append(n.Links, l)
	}
	slices.SortFunc(n.Links, func(a, b Link) int { return a.Index - b.Index })
	for k, scope := range s.addresses {
		addr, link := netip.AddrFrom4(k.local), s.links[k.link].Name
		if !matters(link, addr) {
			continue
		}
		bits := int(k.bits)
		if k.peer != k.local {
			bits = 32
		}
		n.Addresses[addr] = append(n.Addresses[addr], Address{
			LinkIndex: k.link, Link: link, Prefix: netip.PrefixFrom(addr, bits), HostScope: scope == unix.RT_SCOPE_HOST,
		})
	}
	for _, at := range n.Addresses {
		slices.SortFunc(at, func(a, b Address) int {
			if c := a.LinkIndex - b.LinkIndex; c != 0 {
				return c
			}
			return a.Prefix.Bits() - b.Prefix.Bits()
		})
	}
	for r := range s.routes {
		if addr := netip.AddrFrom4(r.to); matters("", addr) {
			n.Local[addr] = true
		}
	}
	return n
}

// eachAttribute calls visit for each attribute in b: rtnetlink(7).
func eachAttribute(b []byte, visit func(kind uint16, value []byte)) error {
	for len(b) >= unix.SizeofRtAttr {
		length := int(binary.NativeEndian.Uint16(b))
		if length < unix.SizeofRtAttr || length > len(b) {
			return fmt.Errorf("the kernel's answer has an attribute of %d bytes in %d", length, len(b))
		}
		const flags = unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER
		visit(binary.NativeEndian.Uint16(b[2:])&^flags, b[unix.SizeofRtAttr:length])
		b = b[min(len(b), (length+unix.RTA_ALIGNTO-1)&^(unix.RTA_ALIGNTO-1)):]
	}
	return nil
}

func attribute(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	for len(b)%unix.RTA_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}

func attribute32(b []byte, kind uint16, value uint32) []byte {
	return attribute(b, kind, binary.NativeEndian.AppendUint32(nil, value))
}
