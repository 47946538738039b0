// Package packet writes and reads the few IPv4 packets that say whether a tunnel
// works: TCP segments without data, wrapped in IPIP or not. It sends nothing.
package packet

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Flags of TCP, RFC 9293, section 3.1.
const (
	SYN = 0x02
	RST = 0x04
	ACK = 0x10
)

// Segment is a TCP segment without data.
type Segment struct {
	From, To netip.AddrPort // IPv4
	Flags    byte
	Seq, Ack uint32
	Hops     byte // time to live; 0 stands for 64
}

// Packet is the segment as a whole IPv4 packet. One with SYN announces a maximum
// segment size of 1460.
func (s Segment) Packet() []byte {
	b := make([]byte, 20, 24)
	binary.BigEndian.PutUint16(b[0:], s.From.Port())
	binary.BigEndian.PutUint16(b[2:], s.To.Port())
	binary.BigEndian.PutUint32(b[4:], s.Seq)
	binary.BigEndian.PutUint32(b[8:], s.Ack)
	b[13] = s.Flags
	binary.BigEndian.PutUint16(b[14:], 64240)
	if s.Flags&SYN != 0 {
		b = append(b, 2, 4, 0x05, 0xb4)
	}
	b[12] = byte(len(b)/4) << 4
	sum := add(add(0, s.From.Addr().AsSlice()), s.To.Addr().AsSlice())
	sum = add(sum, []byte{0, unix.IPPROTO_TCP, 0, byte(len(b))})
	binary.BigEndian.PutUint16(b[16:], fold(add(sum, b)))
	return datagram(outline{unix.IPPROTO_TCP, s.From.Addr(), s.To.Addr(), 0, s.Hops}, b)
}

// IPIP wraps a whole packet, RFC 2003. An id of 0 lets the kernel choose the
// outer packet's identification when it is sent by a socket with IP_HDRINCL, see
// raw(7).
func IPIP(from, to netip.Addr, id uint16, inner []byte) []byte {
	return datagram(outline{unix.IPPROTO_IPIP, from, to, id, 0}, inner)
}

type outline struct {
	protocol byte
	from, to netip.Addr
	id       uint16
	hops     byte
}

// datagram is a whole IPv4 packet that must not be fragmented: RFC 791, section
// 3.1.
func datagram(h outline, body []byte) []byte {
	if h.hops == 0 {
		h.hops = 64
	}
	b := make([]byte, 20, 20+len(body))
	b[0], b[6], b[8], b[9] = 0x45, 0x40, h.hops, h.protocol
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(body)))
	binary.BigEndian.PutUint16(b[4:], h.id)
	copy(b[12:], h.from.AsSlice())
	copy(b[16:], h.to.AsSlice())
	binary.BigEndian.PutUint16(b[10:], fold(add(0, b)))
	return append(b, body...)
}

// add and fold are the sum of RFC 1071.
func add(sum uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum
}

func fold(sum uint32) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
