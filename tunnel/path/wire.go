package path

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"rsagent/packet"
)

// Claim is somebody who answers ARP for an address.
type Claim struct {
	Link string
	MAC  string
}

// Wire is what was seen while it was watched, but for what Look sent itself.
type Wire struct {
	From      map[Sender]int     // packets in IPIP that came in by a link
	Congested map[Sender]int     // of these, those that the tunnel drops for their ECN
	Unwrapped int                // packets that came out of the device for a VIP
	Asking    []Asking           // some of those that did
	Asked     int                // of these, those that ask for a connection
	Own       map[netip.Addr]int // more that do, by an address of this node itself that is no VIP
	Answered  int                // SYN-ACKs and resets from a VIP that went out by a link
	MSS       int                // the largest segment that one of them announced to a client, or to a trial from anywhere

	// Misnamed are answers by UDP that left from the node's own address and port, by
	// the service that was asked.
	Misnamed map[netip.AddrPort]int

	InUDP map[InUDP]int // packets for a VIP that came in wrapped in UDP, for a port that no socket has
}

// InUDP is a tunnel by UDP: who sends, and to which port of this node.
type InUDP struct {
	Sender
	Port uint16
	GUE  bool // a header of GUE is between the two; else it is FOU, or GUE without one
}

// Asking is a client that asks for a connection, and for which.
type Asking struct{ Client, Service netip.AddrPort }

// Sender is who sends IPIP, and the link by which it comes in.
type Sender struct {
	Addr netip.Addr
	Link int
}

// watcher is a packet socket, packet(7), and what it has seen.
type watcher struct {
	fd, raw  int // raw: -1 if nothing can be sent through the tunnel
	rawErr   error
	question Question
	facts    Facts
	began    time.Time
	device   int
	bridges  map[int]bool // what goes out by one is seen at its port, if it gets there
	trials   []Trial
	claims   map[netip.Addr][]Claim
	asked    map[netip.AddrPort]netip.AddrPort // by UDP: which service, by the client
	wire     Wire
}

// startWatching opens the sockets, sends the questions by ARP and the trial
// packets. It needs CAP_NET_RAW.
func startWatching(q Question, f Facts) (*watcher, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot watch the wire without CAP_NET_RAW: %w", err)
	}
	w := &watcher{fd: fd, raw: -1, question: q, facts: f, claims: map[netip.Addr][]Claim{}, asked: map[netip.AddrPort]netip.AddrPort{}, bridges: map[int]bool{}, wire: Wire{From: map[Sender]int{}, Congested: map[Sender]int{}, Own: map[netip.Addr]int{}, Misnamed: map[netip.AddrPort]int{}, InUDP: map[InUDP]int{}}}
	if l := f.Named(q.Device); l != nil {
		w.device = l.Index
	}
	for _, l := range f.Links {
		w.bridges[l.Index] = l.Kind == "bridge"
	}
	program := interesting(w.device, f.Node)
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20),
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL)}),
	)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot watch the wire: %w", err)
	}
	w.began = time.Now()
	w.ask()
	w.try()
	return w, nil
}

func bigEndian(v uint16) uint16 { return v<<8 | v>>8 }

// interesting lets through ARP, IPIP, ICMP, what comes from the device, TCP that
// asks for, grants or refuses a connection, what node sends by UDP, and UDP that may
// have IPv4 in it: 96 bytes of each.
func interesting(device int, node netip.Addr) []unix.SockFilter {
	const whole, none = 96, 0
	const extra = -0x1000 // SKF_AD_OFF, linux/filter.h: the protocol; 8 further on, the link
	load := func(code uint16, k int) unix.SockFilter { return unix.SockFilter{Code: code, K: uint32(k)} }
	equal := func(k uint32, yes, no int) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jt: uint8(yes), Jf: uint8(no)}
	}
	var own uint32
	if node.Is4() {
		own = binary.BigEndian.Uint32(node.AsSlice())
	}
	word, half, octet := uint16(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS), uint16(unix.BPF_LD|unix.BPF_H|unix.BPF_ABS), uint16(unix.BPF_LD|unix.BPF_B|unix.BPF_ABS)
	return []unix.SockFilter{
		load(half, extra),               // 0
		equal(unix.ETH_P_ARP, 24, 0),    // 1
		equal(unix.ETH_P_IP, 0, 24),     // 2
		load(word, extra+8),             // 3
		equal(uint32(device), 21, 0),    // 4
		load(octet, 9),                  // 5
		equal(unix.IPPROTO_IPIP, 19, 0), // 6
		equal(unix.IPPROTO_ICMP, 18, 0), // 7
		equal(unix.IPPROTO_UDP, 5, 0),   // 8
		equal(unix.IPPROTO_TCP, 0, 17),  // 9
		load(half, 6),                   // 10
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 0x1fff, Jt: 15}, // 11
		{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0},               // 12
		{Code: unix.BPF_JMP | unix.BPF_JA, K: 10},                            // 13
		load(word, 12),    // 14
		equal(own, 10, 0), // 15
		load(half, 6),     // 16
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 0x1fff, Jt: 9},   // 17
		{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0},                // 18
		load(unix.BPF_LD|unix.BPF_B|unix.BPF_IND, 8),                          // 19
		equal(plainIPv4, 5, 0),                                                // 20
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: gueOther, Jt: 5}, // 21
		load(unix.BPF_LD|unix.BPF_B|unix.BPF_IND, 9),                          // 22
		equal(unix.IPPROTO_IPIP, 2, 3),                                        // 23
		load(unix.BPF_LD|unix.BPF_B|unix.BPF_IND, 13),                         // 24
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: flagSYN | flagRST, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: whole}, // 26
		{Code: unix.BPF_RET | unix.BPF_K, K: none},  // 27
	}
}

// ask sends the probe of RFC 5227 for each address on each link that faces the
// directors: nobody learns anything from it, since it names no sender.
func (w *watcher) ask() {
	const most = 64
	on := slices.Clone(w.question.Facing)
	if g := w.facts.Gateway.Link; g != 0 && !slices.Contains(on, g) {
		on = append(on, g)
	}
	for _, index := range on {
		l := w.facts.Link(index)
		if l == nil || l.Type != unix.ARPHRD_ETHER || !l.Up || !l.Carrier || l.NoARP {
			continue
		}
		var list []netip.Addr
		for _, a := range slices.Concat([]netip.Addr{w.facts.Node, w.facts.Gateway.Addr}, w.question.Directors, w.question.VIPs) {
			if a.Is4() && len(list) < most && !slices.Contains(list, a) {
				list = append(list, a)
			}
		}
		for _, a := range list {
			to := &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ARP), Ifindex: index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}
			_ = unix.Sendto(w.fd, arpProbe(l.MAC, a), 0, to) // silence is what follows
		}
	}
}

// arpProbe is a request without a sender's address: RFC 826 and 5227.
func arpProbe(mac [6]byte, a netip.Addr) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, 1}
	b = append(append(b, mac[:]...), 0, 0, 0, 0)
	return append(append(b, 0, 0, 0, 0, 0, 0), a.AsSlice()...)
}

// finish watches for as long as was asked for, and somewhat longer for a trial
// that nothing has answered.
func (w *watcher) finish(f *Facts) {
	end := w.began.Add(w.question.Watch)
	w.readUntil(end, func() bool { return false })
	answered := func() bool {
		return !slices.ContainsFunc(w.trials, func(t Trial) bool { return !t.Answered() })
	}
	// An answer may have to wait for ARP, and a machine may be busy.
	w.readUntil(end.Add(patience), answered)
	if !answered() && w.halfOpen() {
		w.readUntil(end.Add(3*patience), answered)
	}
	if w.wire.unanswered() {
		w.readUntil(end.Add(asksAgain), func() bool { return !w.wire.unanswered() || w.wire.enough() })
	}
	w.conclude()
	w.forgetTaken()
	f.Wire, f.Claims, f.Trials, f.TrialErr = w.wire, w.claims, w.trials, w.rawErr
}

// asksAgain is how long a client that got no answer is waited for: it asks again
// after 1 s (RFC 6298, section 2).
const asksAgain = 1200 * time.Millisecond

// few is how many packets say that it is no chance that nothing came of them.
const few = 5

// unanswered tells that directors or clients send, and nothing comes of it.
func (w Wire) unanswered() bool {
	return len(w.From)+len(w.InUDP) > 0 && w.Unwrapped == 0 || w.Asked > 0 && w.Answered == 0 || len(w.Own) > 0
}

// enough tells that more would say nothing new.
func (w Wire) enough() bool { return w.Silent() || w.deaf() || w.AsksItself() }

// AsksItself tells that somebody keeps asking by an address of this node.
func (w Wire) AsksItself() bool {
	const again = 2
	for _, count := range w.Own {
		if count >= again {
			return true
		}
	}
	return false
}

// Silent tells that clients ask, and nobody answers.
func (w Wire) Silent() bool { return w.Asked >= few && w.Answered == 0 }

// deaf tells that directors, or who else is in From, send, and nothing comes out
// of the device.
func (w Wire) deaf() bool {
	sent := 0
	for _, count := range w.From {
		sent += count
	}
	for _, count := range w.InUDP {
		sent += count
	}
	return sent >= few && w.Unwrapped == 0
}

// patience is how long a trial that was not answered in time is waited for.
const patience = 300 * time.Millisecond

// mostAsked is how many clients are remembered that ask by UDP.
const mostAsked = 4096

// mostLate is how many packets are read after the end of a watch.
const mostLate = 10000

// readUntil reads what comes until then, or until there is enough. What waits is
// read also after the end: who looks at the rest of a busy node comes late.
func (w *watcher) readUntil(end time.Time, enough func() bool) {
	buffer := make([]byte, 256)
	for late := 0; late < mostLate && !enough(); {
		n, from, err := unix.Recvfrom(w.fd, buffer, 0)
		if link, ok := from.(*unix.SockaddrLinklayer); err == nil && ok {
			w.see(buffer[:n], link)
			if !time.Now().Before(end) {
				late++
			}
			continue
		}
		left := time.Until(end)
		if left <= 0 || err != nil && err != unix.EAGAIN && err != unix.EINTR && err != unix.ENETDOWN {
			return
		}
		timeout := unix.NsecToTimespec(left.Nanoseconds())
		_, _ = unix.Ppoll([]unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}, &timeout, nil)
	}
}

func (w *watcher) see(b []byte, at *unix.SockaddrLinklayer) {
	out := at.Pkttype == unix.PACKET_OUTGOING
	if at.Protocol == bigEndian(unix.ETH_P_ARP) {
		if !out {
			w.seeARP(b, at.Ifindex)
		}
		return
	}
	h, ok := packet.Parse(b)
	if !ok || out && w.bridges[at.Ifindex] || w.seeTrial(h, at.Ifindex, out) {
		return
	}
	vip := func(a netip.Addr) bool { return slices.Contains(w.question.VIPs, a) }
	switch {
	case at.Ifindex == w.device && !out && vip(h.To):
		w.wire.Unwrapped++
		if h.Protocol == unix.IPPROTO_TCP && h.Flags&(flagSYN|flagACK) == flagSYN {
			w.seeRequest(h)
		}
		if h.Protocol == unix.IPPROTO_UDP && len(w.asked) < mostAsked {
			w.asked[source(h)] = destination(h)
		}
	case h.Protocol == unix.IPPROTO_IPIP && !out && w.forUs(h, at) && at.Ifindex != w.device && at.Hatype != unix.ARPHRD_LOOPBACK:
		w.wire.From[Sender{h.From, at.Ifindex}]++
		if tooCongested(b) {
			w.wire.Congested[Sender{h.From, at.Ifindex}]++
		}
	case h.Protocol == unix.IPPROTO_UDP && out && h.From == w.facts.Node:
		if service, ok := w.asked[destination(h)]; ok && service.Port() == h.Ports[0] {
			w.wire.Misnamed[service]++
		}
	case h.Protocol == unix.IPPROTO_UDP && !out && at.Pkttype == unix.PACKET_HOST && at.Hatype != unix.ARPHRD_LOOPBACK:
		if inner, gue, ok := unwrapUDP(h); ok && vip(inner.To) {
			w.wire.InUDP[InUDP{Sender{h.From, at.Ifindex}, h.Ports[1], gue}]++
		}
	case h.Protocol == unix.IPPROTO_TCP && out && vip(h.From) && at.Ifindex != w.device && at.Hatype != unix.ARPHRD_LOOPBACK:
		w.wire.Answered++
		w.wire.MSS = max(w.wire.MSS, h.MSS())
	}
}

// forUs tells a packet that came in for this node. To the port of a bridge, whose
// hardware address may be another, it may seem to be for somebody else.
func (w *watcher) forUs(h packet.Header, at *unix.SockaddrLinklayer) bool {
	return at.Pkttype == unix.PACKET_HOST ||
		at.Pkttype == unix.PACKET_OTHERHOST && h.To == w.facts.Node && slices.Contains(w.question.beneath, at.Ifindex)
}

// seeRequest counts a request for a connection. What comes from a VIP is a director
// that asks itself: no answer could get back to it.
func (w *watcher) seeRequest(h packet.Header) {
	switch {
	case slices.Contains(w.question.VIPs, h.From):
	case w.question.Own[h.From]:
		w.wire.Own[h.From]++
	default:
		w.wire.Asked++
		w.asks(Asking{source(h), destination(h)})
	}
}

// asks notes one request of each client, of a few.
func (w *watcher) asks(a Asking) {
	const most = 8
	known := slices.ContainsFunc(w.wire.Asking, func(k Asking) bool { return k.Client.Addr() == a.Client.Addr() && k.Service == a.Service })
	if !known && len(w.wire.Asking) < most {
		w.wire.Asking = append(w.wire.Asking, a)
	}
}

// seeARP notes who says that an address is its own.
func (w *watcher) seeARP(b []byte, index int) {
	const reply = 2
	if len(b) < 28 || binary.BigEndian.Uint16(b[6:]) != reply || b[4] != 6 || b[5] != 4 {
		return
	}
	l := w.facts.Link(index)
	if l == nil {
		return
	}
	c := Claim{Link: l.Name, MAC: net.HardwareAddr(b[8:14]).String()}
	a := netip.AddrFrom4([4]byte(b[14:18]))
	if !slices.Contains(w.claims[a], c) {
		w.claims[a] = append(w.claims[a], c)
	}
}

func (w *watcher) close() {
	unix.Close(w.fd)
	if w.raw >= 0 {
		unix.Close(w.raw)
	}
}
