package network

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// SendEncapsulated sends a packet to a node as a director does, wrapped in
// IPIP; the outer source is the host's own address.
func (h *Host) SendEncapsulated(node *Host, packet []byte) error {
	err := h.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_IPIP)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, packet, 0, &unix.SockaddrInet4{Addr: node.Addr.As4()})
	})
	if err != nil {
		return fmt.Errorf("cannot send IPIP from %s to %s: %v", h.Name, node.Name, err)
	}
	return nil
}

// UDPPacket is a whole packet with a text, from whoever it says.
func UDPPacket(from, to netip.AddrPort, text string) []byte {
	datagram := make([]byte, 8, 8+len(text)) // RFC 768; a sum of 0 is none
	binary.BigEndian.PutUint16(datagram[0:], from.Port())
	binary.BigEndian.PutUint16(datagram[2:], to.Port())
	binary.BigEndian.PutUint16(datagram[4:], uint16(8+len(text)))
	return ipv4Packet(unix.IPPROTO_UDP, from.Addr(), to.Addr(), append(datagram, text...))
}

// SYNPacket is a whole packet that asks for a connection, from whoever it says.
func SYNPacket(from, to netip.AddrPort) []byte {
	const syn = 2
	segment := make([]byte, 20) // RFC 9293, section 3.1
	binary.BigEndian.PutUint16(segment[0:], from.Port())
	binary.BigEndian.PutUint16(segment[2:], to.Port())
	segment[12], segment[13] = 5<<4, syn
	binary.BigEndian.PutUint16(segment[14:], 0xffff)
	pseudo := append(from.Addr().AsSlice(), to.Addr().AsSlice()...)
	pseudo = append(pseudo, 0, unix.IPPROTO_TCP, 0, byte(len(segment)))
	binary.BigEndian.PutUint16(segment[16:], checksum(append(pseudo, segment...)))
	return ipv4Packet(unix.IPPROTO_TCP, from.Addr(), to.Addr(), segment)
}

func ipv4Packet(protocol byte, from, to netip.Addr, body []byte) []byte {
	header := make([]byte, 20, 20+len(body)) // RFC 791, section 3.1
	header[0], header[8], header[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(header[2:], uint16(20+len(body)))
	copy(header[12:], from.AsSlice())
	copy(header[16:], to.AsSlice())
	binary.BigEndian.PutUint16(header[10:], checksum(header))
	return append(header, body...)
}

// checksum is that of RFC 1071, of an even number of bytes.
func checksum(data []byte) uint16 {
	var sum uint32
	for i := 0; i < len(data); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(data[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
