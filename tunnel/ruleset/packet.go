package ruleset

import (
	"encoding/binary"
	"net/netip"
)

// Link is a network link as the packet filter sees it.
type Link struct {
	Index int
	Name  string
	Group uint32
	// Type is the hardware type, an ARPHRD_ constant of
	// include/uapi/linux/if_arp.h; 0 if not known.
	Type uint16
}

// SomePort is a port of a bridge of which it is not known which one it is.
var SomePort = Link{Index: -1}

// State is what conntrack makes of a packet.
type State uint8

const (
	New         State = iota // the first of a connection
	Established              // of one that is known, in the direction of an answer if it leaves
	Related
	Invalid
	Untracked
)

// Packet describes an IPv4 packet. One that comes in has In, and is for this
// node itself; one that this node made has Out, and Dst is another host's.
type Packet struct {
	In, Out Link
	// Port is the port by which the packet comes in or goes out where In or Out is
	// a bridge: the filters of bridges see it there.
	Port     Link
	Src, Dst netip.Addr
	Protocol uint8 // of IP: 4 is IPIP, 6 TCP, 17 UDP
	// Ports of TCP and UDP; 0 if not known.
	SrcPort, DstPort uint16
	Flags            uint8 // of TCP: 2 is SYN, 18 SYN and ACK; 0 if not known
	State            State
	// Back is the link by which this node's routes reach Src. Without it no fib
	// expression is answered that asks for the way back.
	Back Link
}

// leaves tells a packet that this node made.
func (p Packet) leaves() bool { return p.Out != Link{} }

// headers is the start of a packet: a network header of 20 bytes without
// options, and the transport header's first 20.
type headers struct {
	value, known [headerBytes]byte
}

const (
	networkHeader = 20
	headerBytes   = networkHeader + 20

	protocolTCP, protocolUDP = 6, 17
)

func (h *headers) set(at int, value ...byte) {
	copy(h.value[at:], value)
	for i := range value {
		h.known[at+i] = 0xff
	}
}

// load is length bytes from an offset. What the packet has there may not be known.
func (h *headers) load(at, length int) unsureValue {
	b := unknown(length)
	if at < 0 || at >= headerBytes {
		return b
	}
	copy(b.value, h.value[at:])
	copy(b.known, h.known[at:])
	return b
}

func (p Packet) headers() headers {
	var h headers
	h.set(0, 0x45)
	// No fragment: the flags are not known, the offset is 0 (RFC 791).
	h.known[6], h.known[7] = 0x1f, 0xff
	h.set(9, p.Protocol)
	if p.Src.Is4() {
		h.set(12, p.Src.AsSlice()...)
	}
	if p.Dst.Is4() {
		h.set(16, p.Dst.AsSlice()...)
	}
	if p.Protocol != protocolTCP && p.Protocol != protocolUDP {
		return h
	}
	if p.SrcPort != 0 {
		h.set(networkHeader, binary.BigEndian.AppendUint16(nil, p.SrcPort)...)
	}
	if p.DstPort != 0 {
		h.set(networkHeader+2, binary.BigEndian.AppendUint16(nil, p.DstPort)...)
	}
	if p.Protocol == protocolTCP && p.Flags != 0 {
		h.set(networkHeader+13, p.Flags)
	}
	return h
}
