package through

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"rsagent/packet"
)

// wire is how packets leave this host as they are, and how those that come to it
// are seen. On a director that holds the VIP, the kernel drops an answer from the
// VIP, as it comes from an address of its own; a packet socket, packet(7), sees it
// before that.
type wire struct {
	raw      int
	incoming *os.File
}

// openWire opens both sockets. They belong to the network namespace of the
// calling thread.
func openWire(vip netip.AddrPort) (*wire, error) {
	raw, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return nil, withoutRight("send IPIP", err)
	}
	// Of no protocol until the filter is there, so that nothing else comes in.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		unix.Close(raw)
		return nil, withoutRight("see the answers", err)
	}
	program := answersOnly(vip.Addr())
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20),
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_IP)}),
	)
	if err != nil {
		unix.Close(raw)
		unix.Close(fd)
		return nil, fmt.Errorf("cannot see the answers: %v", err)
	}
	return &wire{raw: raw, incoming: os.NewFile(uintptr(fd), "packets")}, nil
}

func withoutRight(what string, err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("cannot %s: it takes root, or CAP_NET_RAW: setcap cap_net_raw=ep on this program", what)
	}
	return fmt.Errorf("cannot %s: %v", what, err)
}

func bigEndian(v uint16) uint16 { return binary.NativeEndian.Uint16([]byte{byte(v >> 8), byte(v)}) }

// wholeAnswer is how much of a packet is looked at, in bytes: an ICMP error with
// options that quotes an outer and an inner header with options.
const wholeAnswer = 256

// answersOnly lets through what may be an answer: ICMP errors, and TCP that
// grants or refuses a connection, unless it is for the VIP. A director under a
// flood of SYNs must not lose the answer among them.
func answersOnly(vip netip.Addr) []unix.SockFilter {
	const ld, jump = unix.BPF_LD | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_K
	equal := func(k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: jump | unix.BPF_JEQ, K: k, Jt: yes, Jf: no}
	}
	v := vip.As4()
	const granted, refused = packet.SYN | packet.ACK, packet.RST | packet.ACK
	return []unix.SockFilter{
		{Code: ld | unix.BPF_H, K: 6},                                                             // 0: the fragment's offset
		{Code: jump | unix.BPF_JSET, K: 0x1fff, Jt: 14},                                           // 1
		{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0},                                    // 2: the header's length
		{Code: ld | unix.BPF_B, K: 9},                                                             // 3: the protocol
		equal(unix.IPPROTO_TCP, 4, 0),                                                             // 4
		equal(unix.IPPROTO_ICMP, 0, 10),                                                           // 5
		{Code: unix.BPF_LD | unix.BPF_IND | unix.BPF_B, K: 0},                                     // 6: the type
		equal(icmpUnreachable, 7, 0),                                                              // 7
		equal(icmpExceeded, 6, 7),                                                                 // 8
		{Code: ld | unix.BPF_W, K: 16},                                                            // 9: the receiver
		equal(binary.BigEndian.Uint32(v[:]), 5, 0),                                                // 10
		{Code: unix.BPF_LD | unix.BPF_IND | unix.BPF_B, K: 13},                                    // 11: the flags
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: packet.SYN | packet.RST | packet.ACK}, // 12
		equal(granted, 1, 0),                                                                      // 13
		equal(refused, 0, 1),                                                                      // 14
		{Code: unix.BPF_RET | unix.BPF_K, K: wholeAnswer},                                         // 15
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},                                                   // 16
	}
}

func (w *wire) close() {
	unix.Close(w.raw)
	w.incoming.Close()
}
