package through

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"rsagent/packet"
)

// The kernel's own socket filter says what gets through, on a socket that takes
// whole packets as well.
func TestOnlyAnswersComeThroughTheFilter(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	program := answersOnly(testVIP.Addr())
	if err := unix.SetsockoptSockFprog(pair[1], unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}); err != nil {
		t.Fatal(err)
	}
	here := netip.AddrPortFrom(testDirector, 40000)
	segment := func(from, to netip.AddrPort, flags byte) []byte {
		return packet.Segment{From: from, To: to, Flags: flags}.Packet()
	}
	icmp := func(kind byte) []byte {
		b := packet.IPIP(testNode, testDirector, 0, append([]byte{kind, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 28)...))
		b[9] = unix.IPPROTO_ICMP
		return b
	}
	granted := segment(testVIP, here, packet.SYN|packet.ACK)
	options := append([]byte{0x46}, granted[1:20]...) // a header of 24 bytes
	options = append(append(options, 1, 1, 1, 1), granted[20:]...)
	fragment := segment(testVIP, here, packet.SYN|packet.ACK)
	fragment[7] = 1
	udp := segment(testVIP, here, packet.SYN|packet.ACK)
	udp[9] = unix.IPPROTO_UDP
	for _, test := range []struct {
		name   string
		packet []byte
		want   bool
	}{
		{"a SYN-ACK", granted, true},
		{"one behind options", options, true},
		{"a reset", segment(testVIP, here, packet.RST|packet.ACK), true},
		{"one from elsewhere, as the answer may have been changed", segment(netip.AddrPortFrom(testNode, 80), here, packet.SYN|packet.ACK), true},
		{"an unreachable", icmp(3), true},
		{"a time exceeded", icmp(11), true},
		{"a SYN", segment(testVIP, here, packet.SYN), false},
		{"an ACK", segment(testVIP, here, packet.ACK), false},
		{"data and FIN", segment(testVIP, here, packet.ACK|8|1), false},
		{"a reset of a client's", segment(here, testVIP, packet.RST|packet.ACK), false},
		{"a later fragment", fragment, false},
		{"an echo", icmp(8), false},
		{"UDP", udp, false},
		{"IPIP", packet.IPIP(testNode, testDirector, 0, granted), false},
		{"half a header", granted[:10], false},
		{"no TCP header", granted[:30], false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := unix.Write(pair[0], test.packet); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 512)
			n, err := unix.Read(pair[1], b)
			if got := err == nil && n == len(test.packet); got != test.want {
				t.Errorf("let through: %v, want %v (%v)", got, test.want, err)
			}
		})
	}
}
