package tunnel

import (
	"net/netip"
	"time"
)

// socket is what struct inet_diag_msg (include/uapi/linux/inet_diag.h) and struct
// tcp_info (include/uapi/linux/tcp.h) say of one TCP socket.
type socket struct {
	state          uint8
	local          netip.AddrPort
	remote         netip.Addr
	cookie         uint64
	unread         uint32 // bytes received and not read
	unacknowledged uint32 // bytes written and not acknowledged, a FIN is one

	// How long ago data was sent and received last; since the handshake, if none was.
	// Negative: the kernel does not say.
	sent, received time.Duration

	// Since Linux 4.6; counted is false where the kernel does not say.
	counted bool
	said    uint64        // bytes that the client has sent
	heard   uint32        // segments with data that came
	told    uint32        // segments with data that were sent
	bare    uint32        // segments without data that were sent: mere acknowledgements
	nearest time.Duration // the shortest time of late in which what was sent was acknowledged
}

// silentFor is how long nothing has moved; 0 if something is yet to be read or
// acknowledged.
func (s socket) silentFor() time.Duration {
	if s.unread > 0 || s.unacknowledged > 0 || s.sent < 0 {
		return 0
	}
	return min(s.sent, s.received)
}

const (
	// acknowledgedWithin is the time within which the kernel acknowledges whatever
	// it receives: tcp_send_delayed_ack in net/ipv4/tcp_output.c waits for half a
	// second at most. A keep-alive, which is a mere acknowledgement too, is never
	// sent within it (TCP_KEEPIDLE in tcp(7) is a second at least).
	acknowledgedWithin = 750 * time.Millisecond
	// longestTick is of the kernel's clock (CONFIG_HZ), in which it tells when data
	// moved.
	longestTick = 10 * time.Millisecond
)

// answered tells whether data was sent after the last was received, as far as one
// look at the socket can tell. If both are of the same tick, they are so if the client
// is too far away to have received an answer and asked again within it. Its next
// question would be the acknowledgement that makes nearest as short.
//
// That the client has acknowledged something after its question tells nothing: it also
// does when it sends the question again, since it heard nothing of it.
func (s socket) answered() bool {
	switch {
	case s.sent < 0:
		return false
	case s.sent != s.received:
		return s.sent < s.received
	}
	return s.counted && s.nearest > longestTick
}

// past is what is remembered of a socket from one look to the next.
type past struct {
	last     look
	before   look // the last one before the client said what it said last
	followed bool // there was such a look
	answered bool // what the client said last
}

// look is what one look at a socket shows.
type look struct {
	said              uint64
	heard, told, bare uint32
	settled           bool // the client had asked, was answered, and had the answer
}

// next is what is to be remembered after another look at the socket; the first, if
// it is not known. An answer stays one until the client says more.
func (p past) next(s socket, known bool) past {
	n := past{last: look{s.said, s.heard, s.told, s.bare, false}, answered: s.answered()}
	switch {
	case !s.counted:
		return n
	case s.said == 0: // there is nothing to answer
		n.answered = true
		return n
	case !known:
	case s.said == p.last.said:
		n.before, n.followed = p.before, p.followed
		n.answered = n.answered || p.answered || n.followed && s.answeredSince(n.before)
	default:
		n.before, n.followed = p.last, true
		n.answered = n.answered || s.answeredSince(n.before)
	}
	n.last.settled = n.answered && s.unread == 0 && s.unacknowledged == 0
	return n
}

// answeredSince tells whether data was sent after all that the client has said since a
// look, as far as that can be told: either the client said one thing only when it had
// all that it had asked for, and something was sent to it since. Or no mere
// acknowledgement was sent: what the client says is acknowledged soon, and by a segment
// of its own unless there are data to send meanwhile.
func (s socket) answeredSince(l look) bool {
	if s.sent > s.received {
		return false
	}
	one := l.settled && s.heard-l.heard == 1 && s.told != l.told
	return one || s.bare == l.bare && s.received >= acknowledgedWithin
}
