// Package sockets lists the TCP sockets of this network namespace that listen,
// counts the connections that hang, and finds the processes that they belong to.
package sockets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Listener is one listening TCP socket.
type Listener struct {
	// Addr is the address and port; an address of all zeroes stands for any.
	// IPv4 in IPv6 (RFC 4291, section 2.5.5.2) is unmapped.
	Addr netip.AddrPort

	// Only6 says that an IPv6 socket does not take IPv4: IPV6_V6ONLY, ipv6(7).
	Only6 bool

	// Link is the index of the interface that the socket is bound to, 0 if none:
	// SO_BINDTODEVICE, socket(7).
	Link int

	// Queue is how many connections wait to be accepted; the kernel takes no more
	// once that is more than Limit (sk_acceptq_is_full, include/net/sock.h).
	Queue, Limit uint32

	Inode uint32 // of the socket, as in /proc/PID/fd; 0 for one of the kernel's own
}

// Full says that the kernel takes no connection for this socket.
func (l Listener) Full() bool { return l.Queue > l.Limit }

// Takes says whether the socket takes connections to an address and port, if
// these come in by an interface that it is not kept from.
func (l Listener) Takes(to netip.AddrPort) bool {
	if l.Addr.Port() != to.Port() {
		return false
	}
	here, addr := l.Addr.Addr(), to.Addr().Unmap()
	if !here.IsUnspecified() {
		return here == addr
	}
	return here.Is4() == addr.Is4() || here.Is6() && !l.Only6
}

// Hanging is one connection whose handshake is not done, or that the service
// has yet to close.
type Hanging struct {
	Local  netip.AddrPort
	Remote netip.AddrPort

	// HalfOpen: SYN_RECV, else CLOSE_WAIT. Resent is how often the SYN-ACK was
	// sent again.
	HalfOpen bool
	Resent   uint8
}

// Of include/net/tcp_states.h.
const (
	established = 1
	synReceived = 3
	closeWait   = 8
	listening   = 10
)

// answerTime is the longest that the kernel may take for a list; for the first it
// may have to load tcp_diag.
const answerTime = 10 * time.Second

// Listening lists the sockets that listen.
func Listening() ([]Listener, error) {
	var list []Listener
	err := dump(1<<listening, 0, 0, func(s socket) {
		list = append(list, Listener{
			Addr: s.local, Only6: s.only6, Link: int(s.link), Queue: s.rqueue, Limit: s.wqueue, Inode: s.inode,
		})
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list the sockets that listen: %w", err)
	}
	return list, nil
}

// Hung lists the connections that are half open or that their service has yet
// to close.
func Hung() ([]Hanging, error) {
	var list []Hanging
	err := dump(1<<synReceived|1<<closeWait, 0, 0, func(s socket) {
		h := Hanging{Local: s.local, Remote: s.remote, HalfOpen: s.state == synReceived}
		if h.HalfOpen {
			h.Resent = s.resent
		}
		list = append(list, h)
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list the connections that hang: %w", err)
	}
	return list, nil
}

// Established lists the other ends of the connections to an address and port
// whose handshake is done. The kernel looks at that port only.
func Established(to netip.AddrPort) ([]netip.AddrPort, error) {
	var list []netip.AddrPort
	err := dump(1<<established|1<<closeWait, to.Port(), 0, func(s socket) {
		if s.local == to {
			list = append(list, s.remote)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list the connections to %s: %w", to, err)
	}
	return list, nil
}

// dump calls visit for each TCP socket of both families in one of the states, a
// mask, with that port of its own, 0 for any, and with what the extensions, a mask,
// tell of it: sock_diag(7). A socket for both families stands in the list of IPv6
// only.
func dump(states uint32, port uint16, extensions uint8, visit func(socket)) error {
	conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return err
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		messages, err := conn.Execute(netlink.Message{
			Header: netlink.Header{Type: unix.SOCK_DIAG_BY_FAMILY, Flags: netlink.Request | netlink.Dump},
			Data:   request(family, states, port, extensions),
		})
		if errors.Is(err, unix.ENOENT) {
			return errors.New("the kernel has no tcp_diag (module missing, or may not be loaded)")
		}
		if err != nil {
			return err
		}
		for _, m := range messages {
			s, err := parse(family, m.Data)
			if err != nil {
				return err
			}
			visit(s)
		}
	}
	return nil
}

// request is a struct inet_diag_req_v2 (include/uapi/linux/inet_diag.h).
func request(family uint8, states uint32, port uint16, extensions uint8) []byte {
	const length = 56
	b := append(make([]byte, 0, length), family, unix.IPPROTO_TCP, extensions, 0)
	b = binary.NativeEndian.AppendUint32(b, states)
	b = binary.BigEndian.AppendUint16(b, port)
	return b[:length]
}

// socket is what struct inet_diag_msg says of a TCP socket.
type socket struct {
	state, resent        uint8
	local, remote        netip.AddrPort
	link, rqueue, wqueue uint32
	inode                uint32
	only6                bool

	info   []byte // struct tcp_info; none: not asked for
	memory []byte // SK_MEMINFO_ of linux/sock_diag.h, the same
}

func parse(family uint8, b []byte) (socket, error) {
	const (
		length                             = 72
		stateAt, resentAt, localAt, linkAt = 1, 3, 4, 40
		rqueueAt, wqueueAt, inodeAt        = 56, 60, 68
		info, memory, only6                = 2, 7, 11 // INET_DIAG_INFO, _SKMEMINFO, _SKV6ONLY
	)
	if len(b) < length {
		return socket{}, fmt.Errorf("the kernel describes a socket in %d bytes, not %d", len(b), length)
	}
	if b[0] != family {
		return socket{}, fmt.Errorf("the kernel lists a socket of family %d among those of %d", b[0], family)
	}
	s := socket{
		state: b[stateAt], resent: b[resentAt],
		local:  end(family, b[localAt:], b[8:]),
		remote: end(family, b[localAt+2:], b[24:]),
		link:   binary.NativeEndian.Uint32(b[linkAt:]),
		rqueue: binary.NativeEndian.Uint32(b[rqueueAt:]),
		wqueue: binary.NativeEndian.Uint32(b[wqueueAt:]),
		inode:  binary.NativeEndian.Uint32(b[inodeAt:]),
	}
	attributes, err := netlink.NewAttributeDecoder(b[length:])
	if err != nil {
		return socket{}, fmt.Errorf("the kernel describes a socket in a way that does not parse: %w", err)
	}
	for attributes.Next() {
		switch attributes.Type() {
		case info:
			s.info = attributes.Bytes()
		case memory:
			s.memory = attributes.Bytes()
		case only6:
			s.only6 = attributes.Uint8() != 0
		}
	}
	return s, attributes.Err()
}

func end(family uint8, port, addr []byte) netip.AddrPort {
	a := netip.AddrFrom4([4]byte(addr))
	if family == unix.AF_INET6 {
		a = netip.AddrFrom16([16]byte(addr)).Unmap()
	}
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(port))
}
