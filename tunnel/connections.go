package tunnel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Connections counts the TCP connections of clients that would
// suffer if the web server stopped now, by what they are waiting for.
//
// Not counted are TIME_WAIT, FIN_WAIT2 and CLOSE: the client has
// acknowledged all that was sent to it, and the server has ended the
// connection. Nor are LISTEN and SYN_SENT, which no client is part of.
type Connections struct {
	// SynReceived: SYN_RECV. The client has been told that the VIP is there, or
	// is about to be; its request follows at once.
	SynReceived int
	// Established: ESTABLISHED. A request may be on its way, waiting to be
	// accepted, or being answered.
	Established int
	// Idle: ESTABLISHED, and not among those: what the client said last was
	// answered, all of it arrived, and nothing has moved since for as long as the
	// Census was told. A kept-alive connection is like this between two requests.
	// Where the last question and its answer are of the same tick of the kernel's
	// clock (HZ), as they are for a client on the same network, the Census can tell
	// only if it, or one that it recalls, has counted the connection before that
	// question; else it is Established.
	Idle int
	// CloseWait: CLOSE_WAIT. The client has said all it had to say, and may be
	// waiting for the answer still.
	CloseWait int
	// Closing: FIN_WAIT1, CLOSING or LAST_ACK with data under way. The server
	// has written the answer and closed, and the client has not acknowledged
	// all of it. The rest is in the kernel's hands and is lost if the node goes
	// down or the VIP goes away. One where only the FIN is not acknowledged has
	// nothing to lose, and does not count.
	Closing int

	// New is how many connections there are, or were until a moment ago, that the
	// Census had not seen when it counted last, in whatever state. One that came
	// and went in between is seen while the server is in TIME_WAIT.
	New int
}

// Total is the number of connections to wait for. While it is not 0, a request
// that a client has in flight can be lost.
func (c Connections) Total() int {
	return c.SynReceived + c.Established + c.CloseWait + c.Closing
}

// Of include/net/tcp_states.h.
const (
	tcpEstablished = 1
	tcpSynRecv     = 3
	tcpFinWait1    = 4
	tcpFinWait2    = 5
	tcpTimeWait    = 6
	tcpCloseWait   = 8
	tcpLastAck     = 9
	tcpClosing     = 11
)

const seenStates = 1<<tcpEstablished | 1<<tcpSynRecv | 1<<tcpFinWait1 | 1<<tcpFinWait2 |
	1<<tcpTimeWait | 1<<tcpCloseWait | 1<<tcpLastAck | 1<<tcpClosing

// Census counts the connections of clients to the same services again and
// again. It is for one goroutine.
type Census struct {
	handle *Handle
	wanted map[netip.AddrPort]bool
	own    map[netip.Addr]bool
	idle   time.Duration

	// By its cookie (SO_COOKIE in socket(7)), what is remembered of each connection
	// that was seen last, and that is being seen; nil: nothing was counted yet.
	seen, seeing map[uint64]past
	earlier      map[uint64]past // see Recall
}

// Census returns one for the connections whose local end is one of services, an
// address and a port; port 0 stands for every port. Those whose other end has
// one of these addresses too do not count: that is the node asking itself, as a
// probe does. Idle is how long a connection must be silent to count as idle; 0:
// none does. It sees the sockets of its network namespace, not those of
// containers that have another.
func (h *Handle) Census(services []netip.AddrPort, idle time.Duration) *Census {
	c := &Census{handle: h, wanted: make(map[netip.AddrPort]bool), own: make(map[netip.Addr]bool), idle: idle, seeing: make(map[uint64]past)}
	for _, s := range services {
		addr := s.Addr().Unmap()
		c.wanted[netip.AddrPortFrom(addr, s.Port())], c.own[addr] = true, true
	}
	return c
}

// Recall has the census know what another one saw last of the same connections. It
// does not change which are new.
func (c *Census) Recall(from *Census) { c.earlier = maps.Clone(from.seen) }

// Count counts.
//
// An answer of the kernel that is cut short or does not parse is an error,
// never a smaller count. The kernel's list is no snapshot: connections that
// open and close while it is taken may be in it or not.
func (c *Census) Count() (Connections, error) {
	var err error
	for range looks {
		var counted Connections
		clear(c.seeing)
		// A listener for both families has its IPv4 connections, with mapped
		// addresses, in the list of IPv6 only.
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			if err = c.handle.sockets(family, seenStates, func(s socket) { c.take(&counted, s) }); err != nil {
				break
			}
		}
		if err == nil {
			if c.seen == nil {
				counted.New, c.seen = 0, make(map[uint64]past)
			}
			c.seen, c.seeing, c.earlier = c.seeing, c.seen, nil
			return counted, nil
		}
		if !again(err) {
			break
		}
	}
	return Connections{}, fmt.Errorf("cannot count the connections of clients: %w", err)
}

// take counts one socket.
func (c *Census) take(counted *Connections, s socket) {
	everyPort := netip.AddrPortFrom(s.local.Addr(), 0)
	if !c.wanted[s.local] && !c.wanted[everyPort] || c.own[s.remote] {
		return
	}
	before, known := c.seen[s.cookie]
	if !known {
		counted.New++
		before, known = c.earlier[s.cookie]
	}
	now := before.next(s, known)
	c.seeing[s.cookie] = now
	counted.add(s, c.idle > 0 && now.answered && s.silentFor() >= c.idle)
}

func (c *Connections) add(s socket, idle bool) {
	const fin = 1 // takes up one sequence number
	switch s.state {
	case tcpSynRecv:
		c.SynReceived++
	case tcpEstablished:
		if idle {
			c.Idle++
			return
		}
		c.Established++
	case tcpCloseWait:
		c.CloseWait++
	case tcpFinWait1, tcpClosing, tcpLastAck:
		if s.unacknowledged > fin {
			c.Closing++
		}
	}
}

// sockets calls visit for each TCP socket of the family in one of the states, a
// mask: sock_diag(7).
func (h *Handle) sockets(family uint8, states uint32, visit func(socket)) error {
	err := h.diag.dump(unix.SOCK_DIAG_BY_FAMILY, unix.SOCK_DIAG_BY_FAMILY, socketRequest(family, states), visitSockets(family, visit))
	if errors.Is(err, unix.ENOENT) {
		return errors.New("the kernel has no tcp_diag (module missing, or may not be loaded)")
	}
	return err
}

func visitSockets(family uint8, visit func(socket)) func(message) error {
	return func(m message) error {
		s, err := parseSocket(family, m.body)
		if err == nil {
			visit(s)
		}
		return err
	}
}

// socketRequest is a struct inet_diag_req_v2, with the extension that says when
// data moved last.
func socketRequest(family uint8, states uint32) []byte {
	const length, info = 56, 1 << (inetDiagInfo - 1)
	b := append(make([]byte, 0, length), family, unix.IPPROTO_TCP, info, 0)
	b = binary.NativeEndian.AppendUint32(b, states) // and any ports and addresses
	return b[:length]
}
