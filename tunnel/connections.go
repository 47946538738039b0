package tunnel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
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
	// accepted, or being answered. A kept-alive connection without a request
	// looks the same, and its client may send the next one at any moment.
	Established int
	// CloseWait: CLOSE_WAIT. The client has said all it had to say, and may be
	// waiting for the answer still.
	CloseWait int
	// Closing: FIN_WAIT1, CLOSING or LAST_ACK with data under way. The server
	// has written the answer and closed, and the client has not acknowledged
	// all of it. The rest is in the kernel's hands and is lost if the node goes
	// down or the VIP goes away. One where only the FIN is not acknowledged has
	// nothing to lose, and does not count.
	Closing int
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
	tcpCloseWait   = 8
	tcpLastAck     = 9
	tcpClosing     = 11
)

const countedStates = 1<<tcpEstablished | 1<<tcpSynRecv | 1<<tcpFinWait1 |
	1<<tcpCloseWait | 1<<tcpLastAck | 1<<tcpClosing

// Connections counts the connections whose local end is one of services, an
// address and a port; port 0 stands for every port. Those whose other end has
// one of these addresses too do not count: that is the node asking itself, as a
// probe does. It sees the sockets of its network namespace, not
// those of containers that have another.
//
// An answer of the kernel that is cut short or does not parse is an error,
// never a smaller count. The kernel's list is no snapshot: connections that
// open and close while it is taken may be in it or not.
func (h *Handle) Connections(services []netip.AddrPort) (Connections, error) {
	wanted := make(map[netip.AddrPort]bool, len(services))
	own := make(map[netip.Addr]bool, len(services))
	for _, s := range services {
		addr := s.Addr().Unmap()
		wanted[netip.AddrPortFrom(addr, s.Port())], own[addr] = true, true
	}
	var err error
	for range looks {
		// A listener for both families has its IPv4 connections, with mapped
		// addresses, in the list of IPv6 only.
		var counted Connections
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			err = h.diag.dump(family, countedStates, func(s socket) {
				everyPort := netip.AddrPortFrom(s.local.Addr(), 0)
				if (wanted[s.local] || wanted[everyPort]) && !own[s.remote] {
					counted.add(s)
				}
			})
			if err != nil {
				break
			}
		}
		if err == nil {
			return counted, nil
		}
		if !again(err) {
			break
		}
	}
	return Connections{}, fmt.Errorf("cannot count the connections of clients: %w", err)
}

func (c *Connections) add(s socket) {
	const fin = 1 // takes up one sequence number
	switch s.state {
	case tcpSynRecv:
		c.SynReceived++
	case tcpEstablished:
		c.Established++
	case tcpCloseWait:
		c.CloseWait++
	case tcpFinWait1, tcpClosing, tcpLastAck:
		if s.unacknowledged > fin {
			c.Closing++
		}
	}
}

// socket is what struct inet_diag_msg (include/uapi/linux/inet_diag.h) says of
// one TCP socket.
type socket struct {
	state          uint8
	local          netip.AddrPort
	remote         netip.Addr
	unacknowledged uint32 // bytes written and not acknowledged, a FIN is one
}

// diagSocket asks the kernel about sockets: sock_diag(7).
type diagSocket struct {
	fd     int
	seq    uint32
	buffer []byte
}

// A dump comes in messages of at most 32 KiB (netlink_dump,
// net/netlink/af_netlink.c); one that does not fit is an error.
const diagBuffer = 64 << 10

func openDiag() (*diagSocket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("cannot open a netlink socket to count connections: %v", err)
	}
	timeout := unix.NsecToTimeval(answerTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot set the timeout of a netlink socket: %v", err)
	}
	return &diagSocket{fd: fd, buffer: make([]byte, diagBuffer)}, nil
}

func (d *diagSocket) close() {
	unix.Close(d.fd)
}

// dump calls visit for each TCP socket of the family in one of the states, a
// mask.
func (d *diagSocket) dump(family uint8, states uint32, visit func(socket)) error {
	d.seq++
	kernel := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	if err := unix.Sendto(d.fd, diagRequest(family, states, d.seq), 0, kernel); err != nil {
		return err
	}
	err := d.answer(family, visit)
	if err != nil {
		d.discard()
	}
	return err
}

// diagRequest is a struct inet_diag_req_v2 behind its netlink header.
func diagRequest(family uint8, states, seq uint32) []byte {
	const length = unix.SizeofNlMsghdr + 56
	b := make([]byte, 0, length)
	b = binary.NativeEndian.AppendUint32(b, length)
	b = binary.NativeEndian.AppendUint16(b, unix.SOCK_DIAG_BY_FAMILY)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0)      // our port: the kernel knows
	b = append(b, family, unix.IPPROTO_TCP, 0, 0)   // no extensions
	b = binary.NativeEndian.AppendUint32(b, states) // and any ports and addresses
	return b[:length]
}

// answer reads the messages of one dump to its end.
func (d *diagSocket) answer(family uint8, visit func(socket)) error {
	interrupted := false
	for {
		b, err := d.receive()
		if err != nil {
			return err
		}
		for len(b) > 0 {
			m, rest, err := nextMessage(b)
			if err != nil {
				return err
			}
			b = rest
			if m.seq != d.seq {
				continue // of a dump that was given up
			}
			interrupted = interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
			switch m.kind {
			case unix.NLMSG_DONE:
				if interrupted {
					return netlink.ErrDumpInterrupted
				}
				return m.errno()
			case unix.NLMSG_ERROR:
				return m.refusal()
			case unix.SOCK_DIAG_BY_FAMILY:
				s, err := parseSocket(family, m.body)
				if err != nil {
					return err
				}
				visit(s)
			}
		}
	}
}

// receive returns the next datagram; it is valid until the next call.
func (d *diagSocket) receive() ([]byte, error) {
	for {
		n, _, flags, _, err := unix.Recvmsg(d.fd, d.buffer, nil, 0)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return nil, fmt.Errorf("no answer from the kernel within %s", answerTimeout)
		case err != nil:
			return nil, err
		case flags&unix.MSG_TRUNC != 0:
			return nil, fmt.Errorf("the kernel's answer does not fit into %d bytes", len(d.buffer))
		case n == 0:
			return nil, errors.New("the kernel's answer is empty")
		}
		return d.buffer[:n], nil
	}
}

// discard reads what is left of a dump, for the next one to be accepted.
func (d *diagSocket) discard() {
	for {
		_, _, err := unix.Recvfrom(d.fd, d.buffer, unix.MSG_DONTWAIT)
		if err != nil && err != unix.EINTR && err != unix.ENOBUFS {
			return
		}
	}
}
