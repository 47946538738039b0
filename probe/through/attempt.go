package through

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"rsagent/packet"
)

// Types of ICMP errors, RFC 792.
const (
	icmpUnreachable = 3
	icmpExceeded    = 11
)

// hops is the time to live of the SYN. The node may hand what it unwraps on to a
// container of its own, but a node that lacks the VIP and forwards must not bring
// the SYN to a director, which would hand it to a good node. Since Linux 4.12 IPVS
// counts as a hop (decrement_ttl, net/netfilter/ipvs/ip_vs_xmit.c).
const hops = 2

// attempt is one request for a connection, and what came of it.
type attempt struct {
	real     netip.Addr
	outer    netip.Addr     // the sender of the outer packet
	from, to netip.AddrPort // of the SYN
	seq      uint32
	id       uint16 // of the outer packet, by which an error that quotes little is known
	port     int    // a socket that keeps the port from everybody else; -1: none
	sent     time.Time

	outcome  outcome
	took     time.Duration  // until it was there
	as       netip.AddrPort // who granted or refused: the service, unless somebody has changed it
	icmp     [2]byte
	inner    bool       // the error is about what was unwrapped
	reporter netip.Addr // who sent the error
	strays   int        // answers with a wrong number
	err      error      // why nothing was sent
}

// outcome is what came of an attempt.
type outcome int

const (
	silence outcome = iota
	granted
	refused
	rejected // by an ICMP error
	unsent
)

// again is when a SYN is sent a second time; each further one takes twice as long.
const again = 200 * time.Millisecond

// try asks all real servers and waits until each has answered, or until ctx ends.
// The error is about this host.
func (w *wire) try(ctx context.Context, q Question) ([]*attempt, error) {
	attempts := make([]*attempt, len(q.Reals))
	for i, real := range q.Reals {
		a := &attempt{real: real, to: q.VIP, seq: rand.Uint32(), id: uint16(1 + rand.IntN(1<<16-1)), port: -1}
		if err := a.prepare(q.Source); err != nil {
			a.fail(err)
		}
		defer a.release()
		attempts[i] = a
	}
	c := conversation{wire: w, attempts: attempts}
	err := c.run(ctx)
	c.conclude()
	return attempts, err
}

// prepare finds the addresses and takes a port. No connection of this host has
// it, so that no packet of the attempt meets one.
func (a *attempt) prepare(source netip.Addr) error {
	outer, err := sourceTowards(a.real)
	switch {
	case err != nil:
		return fmt.Errorf("this host has no route to %s: %v", a.real, err)
	case outer == a.to.Addr():
		return fmt.Errorf("this host sends to %s from the VIP, and a real server takes nothing from itself: give the route to it another source", a.real)
	case !source.IsValid():
		source = outer
	}
	a.outer = outer
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("this host has no port left: %v", err)
	}
	a.port = fd
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: source.As4()}); err != nil {
		return fmt.Errorf("this host cannot use its address %s: %v", source, err)
	}
	a.from, err = ownEnd(fd)
	return err
}

// sourceTowards is the address from which the kernel sends to another; IPVS asks
// the same way (ip_vs_get_out_rt in net/netfilter/ipvs/ip_vs_xmit.c).
func sourceTowards(to netip.Addr) (netip.Addr, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return netip.Addr{}, err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: to.As4(), Port: 9}); err != nil {
		return netip.Addr{}, err
	}
	end, err := ownEnd(fd)
	return end.Addr(), err
}

func ownEnd(fd int) (netip.AddrPort, error) {
	name, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, err
	}
	here, ok := name.(*unix.SockaddrInet4)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("the kernel names a socket by a %T", name)
	}
	return netip.AddrPortFrom(netip.AddrFrom4(here.Addr), uint16(here.Port)), nil
}

func (a *attempt) release() {
	if a.port >= 0 {
		unix.Close(a.port)
	}
}

func (a *attempt) fail(err error) { a.outcome, a.err = unsent, err }

// conversation is the attempts that are made at once.
type conversation struct {
	*wire
	attempts []*attempt
}

// run sends each SYN, and again until it is answered.
func (c *conversation) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { c.incoming.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for wait := again; ; wait *= 2 {
		for _, a := range c.attempts {
			if a.outcome == silence {
				c.ask(a)
			}
		}
		c.incoming.SetReadDeadline(time.Now().Add(wait))
		if err := c.read(ctx); err != nil {
			return fmt.Errorf("cannot see the answers: %v", err)
		}
		if ctx.Err() != nil || c.answered() {
			return nil
		}
	}
}

func (c *conversation) answered() bool {
	for _, a := range c.attempts {
		if a.outcome == silence {
			return false
		}
	}
	return true
}

func (c *conversation) ask(a *attempt) {
	if a.sent.IsZero() {
		a.sent = time.Now()
	}
	switch err := c.send(a, packet.SYN, a.seq); {
	case errors.Is(err, unix.EPERM):
		a.fail(fmt.Errorf("the packet filter of this host drops IPIP to %s", a.real))
	case err != nil:
		a.fail(fmt.Errorf("this host cannot send to %s: %v", a.real, err))
	}
}

func (c *conversation) send(a *attempt, flags byte, seq uint32) error {
	s := packet.Segment{From: a.from, To: a.to, Flags: flags, Seq: seq, Hops: hops}
	return unix.Sendto(c.raw, packet.IPIP(a.outer, a.real, a.id, s.Packet()), 0, &unix.SockaddrInet4{Addr: a.real.As4()})
}

// read takes in what comes until all is answered, the deadline is there, or ctx
// ends.
func (c *conversation) read(ctx context.Context) error {
	conn, err := c.incoming.SyscallConn()
	if err != nil {
		return err
	}
	buffer := make([]byte, wholeAnswer)
	for !c.answered() && ctx.Err() == nil {
		var n int
		var from unix.Sockaddr
		var readErr error
		err := conn.Read(func(fd uintptr) bool {
			n, from, readErr = unix.Recvfrom(int(fd), buffer, 0)
			return readErr != unix.EAGAIN
		})
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case err != nil:
			return err
		case readErr == unix.EINTR || readErr == unix.ENETDOWN: // a link went down, and others did not
			continue
		case readErr != nil:
			return readErr
		}
		if link, ok := from.(*unix.SockaddrLinklayer); ok && link.Pkttype == unix.PACKET_HOST {
			c.see(buffer[:n], time.Now())
		}
	}
	return nil
}

// see notes what a packet says about an attempt.
func (c *conversation) see(b []byte, now time.Time) {
	h, ok := packet.Parse(b)
	if !ok {
		return
	}
	about, isError := h.Quoted()
	for _, a := range c.attempts {
		switch {
		case a.outcome != silence:
		case isError && a.rejectedBy(h, about), !isError && a.answeredBy(h):
			a.took = now.Sub(a.sent)
			return
		}
	}
}

// answeredBy notes a segment that grants or refuses the connection. Whoever did
// not see the SYN does not know its number.
func (a *attempt) answeredBy(h packet.Header) bool {
	if h.Protocol != unix.IPPROTO_TCP || h.Destination() != a.from || h.Flags&packet.ACK == 0 {
		return false
	}
	switch {
	case h.Ack != a.seq+1:
		a.strays++
		return false
	case h.Flags&packet.RST != 0:
		a.outcome = refused
	case h.Flags&packet.SYN != 0:
		a.outcome = granted
	default:
		return false
	}
	a.as = h.Source()
	return true
}

// rejectedBy notes an ICMP error about the outer packet, or about what was in it.
func (a *attempt) rejectedBy(h, about packet.Header) bool {
	outer := about.Protocol == unix.IPPROTO_IPIP && about.From == a.outer && about.To == a.real && about.ID == a.id
	inner := about.Protocol == unix.IPPROTO_TCP && about.Source() == a.from && about.Destination() == a.to && about.Seq == a.seq
	if !outer && !inner {
		return false
	}
	a.outcome, a.icmp, a.inner, a.reporter = rejected, h.ICMP, inner, h.From
	return true
}

// conclude ends what the attempts have begun: the half-open connection, which
// would take room on the real server for a minute. Where the answer did not get
// here, there may be one as well.
func (c *conversation) conclude() {
	for _, a := range c.attempts {
		if a.outcome == granted || a.outcome == silence {
			_ = c.send(a, packet.RST, a.seq+1) // a lost one leaves it to the real server's own time
		}
	}
}
