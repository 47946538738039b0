package packet

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Header is what matters of an IPv4 packet. What the packet has no room for, and
// all but the addresses and the protocol of a later fragment, is zero.
type Header struct {
	Protocol byte
	From, To netip.Addr
	ID       uint16
	Ports    [2]uint16 // of TCP and UDP
	Flags    byte      // of TCP
	Seq, Ack uint32    // of TCP
	ICMP     [2]byte   // type and code of ICMP
	Body     []byte    // what follows the header, a part of what was parsed
}

// Parse is ok if the packet is IPv4 with a whole header. What comes after that may
// be cut off, as it is where an ICMP error quotes a packet: 8 bytes are certain
// then (RFC 792).
func Parse(b []byte) (h Header, ok bool) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return Header{}, false
	}
	length := int(b[0]&0xf) * 4
	if length < 20 || length > len(b) {
		return Header{}, false
	}
	h.Protocol, h.ID = b[9], binary.BigEndian.Uint16(b[4:])
	h.From, h.To = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	if binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
		return h, true
	}
	h.Body = b[length:]
	switch h.Protocol {
	case unix.IPPROTO_TCP:
		h.segment()
	case unix.IPPROTO_UDP:
		h.ports()
	case unix.IPPROTO_ICMP:
		if len(h.Body) >= 2 {
			h.ICMP = [2]byte(h.Body)
		}
	}
	return h, true
}

func (h *Header) ports() {
	if len(h.Body) >= 4 {
		h.Ports = [2]uint16{binary.BigEndian.Uint16(h.Body), binary.BigEndian.Uint16(h.Body[2:])}
	}
}

func (h *Header) segment() {
	h.ports()
	if len(h.Body) >= 8 {
		h.Seq = binary.BigEndian.Uint32(h.Body[4:])
	}
	if len(h.Body) >= 14 {
		h.Ack, h.Flags = binary.BigEndian.Uint32(h.Body[8:]), h.Body[13]
	}
}

// Quoted is the packet that an ICMP error is about, as far as it is quoted: RFC
// 792. It is ok if this is an error that quotes a whole header.
func (h Header) Quoted() (Header, bool) {
	const unreachable, quench, redirect, exceeded, parameter = 3, 4, 5, 11, 12
	if h.Protocol != unix.IPPROTO_ICMP || len(h.Body) < 8 {
		return Header{}, false
	}
	switch h.ICMP[0] {
	case unreachable, quench, redirect, exceeded, parameter:
		return Parse(h.Body[8:])
	}
	return Header{}, false
}

// Source is the sender's address and port.
func (h Header) Source() netip.AddrPort { return netip.AddrPortFrom(h.From, h.Ports[0]) }

// Destination is the receiver's address and port.
func (h Header) Destination() netip.AddrPort { return netip.AddrPortFrom(h.To, h.Ports[1]) }
