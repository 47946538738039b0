package network

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Frame is one Ethernet frame between a host and the segment.
type Frame struct {
	Time time.Time
	Host string // whose cable it was seen on
	Sent bool   // the host sent it; else it was handed to the host

	From, To string // MAC addresses
	ARP      *ARP   // nil for other frames
	Packet   *Packet
}

// ARP is an ARP message for IPv4 over Ethernet (RFC 826).
type ARP struct {
	Reply      bool // else it is a request
	SenderMAC  string
	SenderAddr netip.Addr
	TargetAddr netip.Addr
}

// Claims tells whether the sender says that the address is its own: by a
// reply, or by a request that names itself as its sender, which every neighbour
// may learn from. Announcements (RFC 5227) are among them.
func (a *ARP) Claims(addr netip.Addr) bool { return a != nil && a.SenderAddr == addr }

// Packet is an IPv4 packet.
type Packet struct {
	Protocol         int // IPPROTO_TCP, or IPPROTO_IPIP with an Inner packet
	From, To         netip.Addr
	FromPort, ToPort uint16 // of TCP
	Flags            byte   // of TCP: FIN 1, SYN 2, RST 4, ACK 16
	MSS              int    // that TCP announces; 0: none
	Inner            *Packet
}

func (f Frame) String() string {
	direction := "to"
	if f.Sent {
		direction = "from"
	}
	what := "other"
	switch {
	case f.ARP != nil:
		what = fmt.Sprintf("ARP %+v", *f.ARP)
	case f.Packet != nil:
		what = fmt.Sprintf("IPv4 %+v", *f.Packet)
	}
	return fmt.Sprintf("%s %s %s (%s > %s): %s", f.Time.Format("05.000000"), direction, f.Host, f.From, f.To, what)
}

// parseFrame reads what it knows of a frame that may be cut off.
func parseFrame(data []byte) Frame {
	var f Frame
	if len(data) < 14 {
		return f
	}
	f.To, f.From = net.HardwareAddr(data[:6]).String(), net.HardwareAddr(data[6:12]).String()
	switch body := data[14:]; binary.BigEndian.Uint16(data[12:]) {
	case unix.ETH_P_ARP:
		f.ARP = parseARP(body)
	case unix.ETH_P_IP:
		f.Packet = parsePacket(body)
	}
	return f
}

func parseARP(data []byte) *ARP {
	if len(data) < 28 {
		return nil
	}
	return &ARP{
		Reply:      binary.BigEndian.Uint16(data[6:]) == 2,
		SenderMAC:  net.HardwareAddr(data[8:14]).String(),
		SenderAddr: netip.AddrFrom4([4]byte(data[14:18])),
		TargetAddr: netip.AddrFrom4([4]byte(data[24:28])),
	}
}

func parsePacket(data []byte) *Packet {
	if len(data) < 20 || data[0]>>4 != 4 {
		return nil
	}
	p := &Packet{
		Protocol: int(data[9]),
		From:     netip.AddrFrom4([4]byte(data[12:16])),
		To:       netip.AddrFrom4([4]byte(data[16:20])),
	}
	header := int(data[0]&0xf) * 4
	fragment := binary.BigEndian.Uint16(data[6:]) & 0x1fff
	if len(data) < header || fragment != 0 {
		return p
	}
	switch body := data[header:]; {
	case p.Protocol == unix.IPPROTO_TCP && len(body) >= 14:
		p.FromPort, p.ToPort = binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:])
		p.Flags, p.MSS = body[13], announcedMSS(body)
	case p.Protocol == unix.IPPROTO_IPIP:
		p.Inner = parsePacket(body)
	}
	return p
}

// announcedMSS is the value of the option in a TCP header (RFC 9293, section
// 3.2), or 0.
func announcedMSS(header []byte) int {
	length := int(header[12]>>4) * 4
	if length < 20 || length > len(header) {
		return 0
	}
	const end, padding, mss = 0, 1, 2
	for options := header[20:length]; len(options) > 0; {
		switch kind := options[0]; {
		case kind == end:
			return 0
		case kind == padding:
			options = options[1:]
		case len(options) < 2 || options[1] < 2 || int(options[1]) > len(options):
			return 0
		case kind == mss && options[1] == 4:
			return int(binary.BigEndian.Uint16(options[2:]))
		default:
			options = options[options[1]:]
		}
	}
	return 0
}

// arpRequest is the frame of a broadcast question for an address.
func arpRequest(mac net.HardwareAddr, from, target netip.Addr) []byte {
	frame := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	frame = append(frame, mac...)
	frame = append(frame, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1)
	frame = append(frame, mac...)
	frame = append(frame, from.AsSlice()...)
	frame = append(frame, 0, 0, 0, 0, 0, 0)
	return append(frame, target.AsSlice()...)
}
