package path

import (
	"net/netip"

	"rsagent/packet"
)

const (
	flagSYN = packet.SYN
	flagRST = packet.RST
	flagACK = packet.ACK
)

// segment is a TCP segment without data, as a client or a server would send it
// first.
func segment(from, to netip.AddrPort, flags byte, seq, ack uint32) []byte {
	return packet.Segment{From: from, To: to, Flags: flags, Seq: seq, Ack: ack}.Packet()
}

// wrapped is a packet in IPIP.
func wrapped(from, to netip.Addr, inner []byte) []byte { return packet.IPIP(from, to, 0, inner) }

// tooCongested tells of a packet in IPIP that the tunnel drops, since a router has
// marked it as congested around one that cannot be (RFC 6040, section 4.2;
// INET_ECN_decapsulate in include/net/inet_ecn.h).
func tooCongested(b []byte) bool {
	const ecn, congested = 3, 3
	if len(b) < 20 {
		return false
	}
	outer := int(b[0]&0xf) * 4
	return len(b) > outer+1 && b[1]&ecn == congested && b[outer]>>4 == 4 && b[outer+1]&ecn == 0
}

func source(h packet.Header) netip.AddrPort      { return netip.AddrPortFrom(h.From, h.Ports[0]) }
func destination(h packet.Header) netip.AddrPort { return netip.AddrPortFrom(h.To, h.Ports[1]) }
