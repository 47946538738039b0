package tunnel

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Addresses of a node and of the host at the other end of its cable, which
// also sends from addresses that are not its own.
const (
	nodeAddress, otherNodeAddress = "192.0.2.2", "192.0.2.3"
	peerAddress                   = "192.0.2.1"
	strangerAddress               = "192.0.2.66"
	vipAddress                    = "203.0.113.10"
)

// joined moves the test into the namespace of a node, whose wan is joined to
// another namespace. What it returns runs functions at the other end.
func joined(t *testing.T) (atPeer func(f func()) <-chan struct{}) {
	t.Helper()
	enterNamespace(t)
	atPeer = inSameNamespace(t)
	peer, err := os.Open("/proc/thread-self/ns/net")
	must(t, err)
	defer peer.Close()
	enterNamespace(t)
	addVeth(t, "wan", "far")
	far, err := netlink.LinkByName("far")
	must(t, err)
	must(t, netlink.LinkSetNsFd(far, int(peer.Fd())))
	for _, p := range []string{nodeAddress + "/24", otherNodeAddress + "/24", vipAddress + "/32"} {
		addAddress(t, "wan", p)
	}
	bringUp(t, "wan")
	<-atPeer(func() {
		addAddress(t, "far", peerAddress+"/24")
		bringUp(t, "far")
		link, err := netlink.LinkByName("far")
		must(t, err)
		must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: netlink.NewIPNet(net.ParseIP(vipAddress))}))
	})
	return atPeer
}

func bringUp(t *testing.T, name string) {
	t.Helper()
	for _, n := range []string{"lo", name} {
		link, err := netlink.LinkByName(n)
		must(t, err)
		must(t, netlink.LinkSetUp(link))
	}
}

// ipv4 is a packet with a header of 20 bytes; a raw socket fills in the sum.
func ipv4(protocol byte, from, to string, body []byte) []byte {
	p := make([]byte, 20, 20+len(body))
	p[0], p[8], p[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(p[2:], uint16(20+len(body)))
	copy(p[12:], netip.MustParseAddr(from).AsSlice())
	copy(p[16:], netip.MustParseAddr(to).AsSlice())
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	binary.BigEndian.PutUint16(p[10:], ^uint16(sum>>16+sum&0xffff))
	return append(p, body...)
}

// udp is a datagram from port 9 to port 9, without a sum.
func udp(text string) []byte {
	d := []byte{0, 9, 0, 9, 0, byte(8 + len(text)), 0, 0}
	return append(d, text...)
}

// send sends whole packets from the namespace of the calling thread.
func send(packets ...[]byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for _, p := range packets {
		err = errors.Join(err, unix.Sendto(fd, p, 0, &unix.SockaddrInet4{Addr: [4]byte(p[16:20])}))
	}
	return err
}

// received reads what a raw socket for a protocol has got.
func received(t *testing.T, fd int) int {
	t.Helper()
	packets := 0
	for {
		_, _, err := unix.Recvfrom(fd, make([]byte, 2048), unix.MSG_DONTWAIT)
		if err == unix.EAGAIN {
			return packets
		}
		must(t, err)
		packets++
	}
}

// arrived waits for so many packets, and some time for one too many: a busy
// machine brings them late.
func arrived(t *testing.T, fd, want int) int {
	t.Helper()
	got := 0
	for began := time.Now(); got < want && time.Since(began) < 5*time.Second; time.Sleep(time.Millisecond) {
		got += received(t, fd)
	}
	time.Sleep(50 * time.Millisecond)
	return got + received(t, fd)
}

func rawSocket(t *testing.T, protocol int) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func TestGuardDropsIPIPFromStrangersAndCountsIt(t *testing.T) {
	atPeer := joined(t)
	h := openHandle(t)
	socket := rawSocket(t, unix.IPPROTO_IPIP)
	inner := ipv4(unix.IPPROTO_UDP, "198.51.100.1", vipAddress, udp("hello"))
	sendAll := func() {
		<-atPeer(func() {
			must(t, send(
				ipv4(unix.IPPROTO_IPIP, peerAddress, nodeAddress, inner),
				ipv4(unix.IPPROTO_IPIP, strangerAddress, nodeAddress, inner),
				ipv4(unix.IPPROTO_IPIP, strangerAddress, otherNodeAddress, inner),
				ipv4(unix.IPPROTO_IPIP, "192.0.2.67", vipAddress, inner),
			))
		})
	}
	guard := Firewall{Guard: true, Device: "tunl0", VIPs: addrs(vipAddress), Directors: prefixes(peerAddress + "/32")}
	anyone := guard
	anyone.Directors = nil
	length := uint64(20 + len(inner))
	tests := []struct {
		name   string
		want   Firewall
		gets   int
		counts Counter
	}{
		{"without a guard all get through", Firewall{}, 4, Counter{}},
		{"with one only the director does", guard, 1, Counter{3, 3 * length}},
		{"counted goes on", guard, 1, Counter{6, 6 * length}},
		{"with no director known all get through", anyone, 4, Counter{}},
		{"with a clamp only all get through", Firewall{VIPs: guard.VIPs, MSS: 1440}, 4, Counter{}},
	}
	for _, test := range tests {
		must(t, h.ApplyFirewall(test.want))
		sendAll()
		got := arrived(t, socket, test.gets)
		state := wantHeld(t, h, test.want)
		if got != test.gets {
			t.Errorf("%s: %d packets got through, not %d", test.name, got, test.gets)
		}
		if diff := cmp.Diff(test.counts, state.NotDirector); diff != "" {
			t.Errorf("%s: counted (-want +got):\n%s", test.name, diff)
		}
	}
}

// There is no tunnel on every kernel, so wan takes its part.
func TestGuardDropsWhatComesByTheTunnelForAnythingButAVIP(t *testing.T) {
	atPeer := joined(t)
	h := openHandle(t)
	socket := rawSocket(t, unix.IPPROTO_UDP)
	sendAll := func() {
		<-atPeer(func() {
			body := udp("hello")
			must(t, send(
				ipv4(unix.IPPROTO_UDP, peerAddress, vipAddress, body),
				ipv4(unix.IPPROTO_UDP, peerAddress, nodeAddress, body),
				ipv4(unix.IPPROTO_UDP, strangerAddress, otherNodeAddress, body),
			))
		})
	}
	tests := []struct {
		name   string
		want   Firewall
		gets   int
		counts Counter
	}{
		{"without a guard", Firewall{}, 3, Counter{}},
		{"with one", Firewall{Guard: true, Device: "wan", VIPs: addrs(vipAddress)}, 1, Counter{2, 2 * 33}},
		{"with one but no VIP", Firewall{Guard: true, Device: "wan"}, 0, Counter{5, 5 * 33}},
		{"with one for a device whose name is longer", Firewall{Guard: true, Device: "wan0"}, 3, Counter{5, 5 * 33}},
		{"with one for a device whose name is shorter", Firewall{Guard: true, Device: "wa"}, 3, Counter{5, 5 * 33}},
	}
	for _, test := range tests {
		must(t, h.ApplyFirewall(test.want))
		sendAll()
		got := arrived(t, socket, test.gets)
		state := wantHeld(t, h, test.want)
		if got != test.gets {
			t.Errorf("%s: %d packets got through, not %d", test.name, got, test.gets)
		}
		if diff := cmp.Diff(test.counts, state.NotVIP); diff != "" {
			t.Errorf("%s: counted (-want +got):\n%s", test.name, diff)
		}
	}
}

// The moment that counts is while a packet is on its way through the hooks. At
// one priority the kernel puts what is new first (nf_hook_entries_grow,
// net/netfilter/core.c), so what is slow comes before the guard that is there,
// and behind one that takes its place.
func TestGuardLetsNothingThroughWhileItIsReplaced(t *testing.T) {
	const senders, replacements = 4, 30
	atPeer := joined(t)
	h := openHandle(t)
	socket := rawSocket(t, unix.IPPROTO_IPIP)
	want := Firewall{Guard: true, Device: "tunl0", VIPs: addrs(vipAddress), Directors: prefixes(peerAddress + "/32")}
	must(t, h.ApplyFirewall(want))
	before := packetsTaken(t)
	packet := ipv4(unix.IPPROTO_IPIP, strangerAddress, nodeAddress, ipv4(unix.IPPROTO_UDP, peerAddress, vipAddress, udp("")))
	stop := make(chan struct{})
	var flooded []<-chan struct{}
	for range senders {
		flooded = append(flooded, atPeer(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := send(packet, packet, packet, packet); err != nil {
					t.Error(err)
					return
				}
			}
		}))
	}
	got := 0
	for i := range replacements {
		delayPackets(t)
		want.MSS = 1440 - want.MSS
		want.VIPs = addrs(vipAddress, netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}).String())
		must(t, h.ApplyFirewall(want))
		got += received(t, socket)
	}
	close(stop)
	for _, done := range flooded {
		<-done
	}
	var taken, counted uint64
	eventually(t, "all packets are dropped and counted", func() bool {
		taken, counted = packetsTaken(t)-before, wantHeld(t, h, want).NotDirector.Packets
		got += received(t, socket)
		return got > 0 || taken == counted
	})
	if got != 0 || taken < 1000 {
		t.Errorf("%d of %d packets got through, %d were counted", got, taken, counted)
	}
	must(t, h.RemoveFirewall())
	<-atPeer(func() { must(t, send(packet)) })
	eventually(t, "packets get through once the guard is gone", func() bool { return received(t, socket) > 0 })
}

// delayPackets puts a chain before the guard that takes longer than a change.
func delayPackets(t *testing.T) {
	t.Helper()
	c := &nftables.Conn{}
	mine := c.AddTable(&nftables.Table{Name: "mine", Family: nftables.TableFamilyIPv4})
	c.DelTable(mine)
	c.AddTable(mine)
	work := c.AddChain(&nftables.Chain{Table: mine, Name: "work"})
	for range 10 {
		c.AddRule(&nftables.Rule{Table: mine, Chain: work, Exprs: slices.Repeat([]expr.Any{bytesOf(expr.PayloadBaseNetworkHeader, 12, 4)}, 100)})
	}
	priority := nftables.ChainPriority(-290) // the guard's
	slow := c.AddChain(&nftables.Chain{Table: mine, Name: "slow", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: &priority})
	must(t, c.Flush()) // what comes back has to fit into the buffer of a socket
	for range 60 {
		c.AddRule(&nftables.Rule{Table: mine, Chain: slow, Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: work.Name}}})
	}
	must(t, c.Flush())
}

// packetsTaken is how many IPv4 packets have come to the hooks of the namespace
// (ip_rcv_core, net/ipv4/ip_input.c).
func packetsTaken(t *testing.T) uint64 {
	t.Helper()
	lists, err := os.ReadFile("/proc/thread-self/net/snmp")
	must(t, err)
	var names []string
	for line := range strings.Lines(string(lists)) {
		fields := strings.Fields(line)
		at := slices.Index(names, "InReceives")
		if fields[0] == "Ip:" && at > 0 {
			number, err := strconv.ParseUint(fields[at], 10, 64)
			must(t, err)
			return number
		}
		names = fields
	}
	t.Fatalf("no InReceives in %s", lists)
	return 0
}

func TestClampLowersTheMSSThatAVIPAnnounces(t *testing.T) {
	atPeer := joined(t)
	h := openHandle(t)
	tests := []struct {
		name     string
		mss      int
		server   string
		announce int // what the server's socket wants to
		want     uint16
		clamped  uint64
	}{
		{"no clamp", 0, vipAddress, 0, 1460, 0},
		{"from a VIP", 1440, vipAddress, 0, 1440, 1},
		{"not from another address", 1440, nodeAddress, 0, 1460, 1},
		{"lower", 1000, vipAddress, 0, 1000, 2},
		{"what is less already is never raised", 1440, vipAddress, 900, 900, 2},
		{"what is as much already is not counted", 1460, vipAddress, 0, 1460, 2},
	}
	for _, test := range tests {
		must(t, h.ApplyFirewall(Firewall{VIPs: addrs(vipAddress), MSS: test.mss}))
		address := listen(t, test.server, test.announce)
		var announced []uint16
		<-atPeer(func() { announced = dialAndSee(t, address) })
		if diff := cmp.Diff([]uint16{1460, test.want}, announced); diff != "" {
			t.Errorf("%s: MSS of SYN and SYN-ACK (-want +got):\n%s", test.name, diff)
		}
		state, err := h.ObserveFirewall()
		must(t, err)
		if state.Clamped.Packets != test.clamped && test.mss != 0 {
			t.Errorf("%s: %d were clamped, not %d", test.name, state.Clamped.Packets, test.clamped)
		}
	}
}

// What a VIP asks for is not clamped: directors do not carry what comes back.
func TestClampLeavesConnectionsThatTheNodeOpensAlone(t *testing.T) {
	atPeer := joined(t)
	h := openHandle(t)
	must(t, h.ApplyFirewall(Firewall{VIPs: addrs(vipAddress), MSS: 1440}))
	var address string
	<-atPeer(func() { address = listen(t, peerAddress, 0) })
	if diff := cmp.Diff([]uint16{1460, 1460}, dialAndSee(t, address)); diff != "" {
		t.Errorf("MSS of SYN and SYN-ACK (-want +got):\n%s", diff)
	}
}

// listen takes connections at an address, sends what comes back, and returns
// the address with its port.
func listen(t *testing.T, address string, mss int) string {
	t.Helper()
	var config net.ListenConfig
	config.SetMultipathTCP(false) // whose sockets have no TCP_MAXSEG
	l, err := config.Listen(t.Context(), "tcp4", net.JoinHostPort(address, "0"))
	must(t, err)
	t.Cleanup(func() { l.Close() })
	if mss != 0 {
		must(t, control(l.(*net.TCPListener), func(fd int) error {
			return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_MAXSEG, mss)
		}))
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			_, _ = io.Copy(c, c)
			c.Close()
		}
	}()
	return l.Addr().String()
}

// dialAndSee opens a connection, sees that bytes come and go, and returns the
// MSS of its SYN and its SYN-ACK as they are on the cable.
func dialAndSee(t *testing.T, address string) []uint16 {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(binary.BigEndian.Uint16([]byte{unix.ETH_P_ALL & 0xff, unix.ETH_P_ALL >> 8})))
	if err != nil {
		t.Error(err)
		return nil
	}
	defer unix.Close(fd)
	c, err := net.DialTimeout("tcp4", address, 5*time.Second)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		t.Error(err)
	}
	var seen []uint16
	for {
		b := make([]byte, 2048)
		n, _, err := unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
		if err != nil {
			return seen
		}
		if mss, ok := synMSS(b[:n]); ok {
			seen = append(seen, mss)
		}
	}
}

// synMSS is the MSS in a packet with SYN.
func synMSS(packet []byte) (uint16, bool) {
	if len(packet) < 40 || packet[0] != 0x45 || packet[9] != unix.IPPROTO_TCP || packet[33]&2 == 0 {
		return 0, false
	}
	options := packet[40 : 20+packet[32]>>4*4]
	for len(options) >= 4 {
		switch options[0] {
		case 2:
			return binary.BigEndian.Uint16(options[2:]), true
		case 1:
			options = options[1:]
		default:
			options = options[options[1]:]
		}
	}
	return 0, true
}
