package path

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestLookingTakesAsLongAsItWatches(t *testing.T) {
	enterNamespace(t, "ip addr add 10.9.0.31/24 dev eth0")
	all, err := links()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	f := Look(questionOn(all))
	took := time.Since(began)
	t.Logf("took %s", took)
	if f.LinksErr != nil || f.WireErr != nil || f.ClassifiersErr != nil || f.ProgramsErr != nil || f.PoliciesErr != nil || f.QueuesErr != nil || f.ClaimsErr != nil {
		t.Errorf("could not look: %+v", f)
	}
	if f.Node != netip.MustParseAddr("10.9.0.31") || f.ForeignErr == nil && !f.Foreign {
		t.Errorf("the node is %s, in a namespace of its own: %v, %v", f.Node, f.Foreign, f.ForeignErr)
	}
	if f.TrialErr == nil {
		t.Error("a node without a tunnel was tried")
	}
	if took > time.Second {
		t.Errorf("took %s", took)
	}
}

func TestWhoAnswersForAnAddress(t *testing.T) {
	enterNamespace(t, "ip addr add 10.9.0.31/24 dev eth0", "ip link set wire address 02:00:00:00:00:09", "ip addr add 10.9.0.100/32 dev wire")
	all, err := links()
	if err != nil {
		t.Fatal(err)
	}
	f := Look(questionOn(all))
	want := Claim{Link: "eth0", MAC: "02:00:00:00:00:09"}
	if got := f.Claims[testVIP]; len(got) != 1 || got[0] != want {
		t.Errorf("%s is claimed by %v, want %v", testVIP, got, want)
	}
}

func TestALinkThatIsDown(t *testing.T) {
	enterNamespace(t, "ip link set wire down", "ip link set eth0 arp off")
	all, err := links()
	if err != nil {
		t.Fatal(err)
	}
	l := linkOf(all, func(l Link) bool { return l.Name == "eth0" })
	if !l.Up || l.Carrier || !l.NoARP || l.Kind != "veth" || l.Type != 1 {
		t.Errorf("eth0 is %+v", *l)
	}
}

func TestWhatCameInTimeIsSeenByWhoReadsItLate(t *testing.T) {
	const sent = 40
	enterNamespace(t, "ip addr add 10.9.0.31/24 dev eth0")
	w, f := watching(t)
	from, to := *f.Named("wire"), *f.Named("eth0")
	client := netip.MustParseAddrPort("198.51.100.1:40000")
	for range sent {
		transmit(t, from, to.MAC, wrapped(testDirector, testNode, segment(client, w.question.Services[0], flagSYN, 7, 0)))
	}
	time.Sleep(5 * shortWatch) // as if the rest of the node took so long
	w.readUntil(w.began.Add(shortWatch), func() bool { return false })
	if got := w.wire.From[Sender{Addr: testDirector, Link: to.Index}]; got != sent {
		t.Errorf("%d packets of the director were seen, want %d", got, sent)
	}
}

// The device is one end of a pair, whose other end sends what comes out of it.
func TestWhatIsSeenOfRequestsAndAnswersByUDP(t *testing.T) {
	client, other := netip.MustParseAddrPort("198.51.100.1:40000"), netip.MustParseAddrPort("198.51.100.2:40000")
	dns := netip.AddrPortFrom(testVIP, 53)
	own := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(testNode, port) }
	for _, x := range []struct {
		name   string
		answer [2]netip.AddrPort
		want   int
	}{
		{"an answer from the VIP", [2]netip.AddrPort{dns, client}, 0},
		{"an answer from the node's own address", [2]netip.AddrPort{own(53), client}, 1},
		{"something else that the node sends", [2]netip.AddrPort{own(5353), client}, 0},
		{"an answer to somebody else", [2]netip.AddrPort{own(53), other}, 0},
	} {
		t.Run(x.name, func(t *testing.T) {
			enterNamespace(t, "ip addr add 10.9.0.31/24 dev eth0", "ip link add tunl0 type veth peer name inside", "ip link set tunl0 up", "ip link set inside up")
			w, f := watching(t)
			for _, sent := range []struct {
				by       string
				from, to netip.AddrPort
			}{{"inside", client, dns}, {"eth0", x.answer[0], x.answer[1]}} {
				transmit(t, *f.Named(sent.by), everybody, datagram(sent.from, sent.to))
			}
			w.readUntil(time.Now().Add(50*time.Millisecond), func() bool { return false })
			if got := w.wire.Misnamed[dns]; got != x.want || w.wire.Unwrapped != 1 {
				t.Errorf("%d answers are misnamed, want %d; %d packets came out, want 1", got, x.want, w.wire.Unwrapped)
			}
		})
	}
}

func datagram(from, to netip.AddrPort) []byte {
	b := segment(from, to, 0, 0, 0)
	b[9] = unix.IPPROTO_UDP
	return b
}

// shortWatch is how long a test watches.
const shortWatch = 10 * time.Millisecond

// watching is one who watches the links of the test's namespace from now on, and
// what is known of them.
func watching(t *testing.T) (*watcher, Facts) {
	t.Helper()
	all, err := links()
	if err != nil {
		t.Fatal(err)
	}
	f, q := Facts{Links: all, Node: testNode}, questionOn(all)
	q.Watch = shortWatch
	w, err := startWatching(q, f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	return w, f
}

// everybody is the address that all at the other end of a link hear.
var everybody = [6]byte{255, 255, 255, 255, 255, 255}

// transmit sends a packet by a link, to who has that address at its other end.
func transmit(t *testing.T, by Link, at [6]byte, packet []byte) {
	t.Helper()
	raw, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(raw)
	to := &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_IP), Ifindex: by.Index, Halen: 6}
	copy(to.Addr[:], at[:])
	if err := unix.Sendto(raw, packet, 0, to); err != nil {
		t.Fatal(err)
	}
}

func TestAnAnswerThatABridgeDropsHasNotLeft(t *testing.T) {
	const drop = "nft add table bridge t '{ chain out { type filter hook output priority 0; ip saddr 10.9.0.100 drop; }; }'"
	for _, x := range []struct {
		name, filter string
		want         int
	}{{"no filter", "true", 1}, {"a filter of the bridge", drop, 0}} {
		t.Run(x.name, func(t *testing.T) {
			enterNamespace(t, "ip link add br0 type bridge; ip link set eth0 master br0; ip link set br0 up; ip addr add 10.9.0.31/24 dev br0", x.filter)
			w, f := watching(t)
			transmit(t, *f.Named("br0"), everybody, segment(netip.AddrPortFrom(testVIP, 80), netip.MustParseAddrPort("198.51.100.1:40000"), flagSYN|flagACK, 1, 2))
			w.readUntil(time.Now().Add(50*time.Millisecond), func() bool { return false })
			if w.wire.Answered != x.want {
				t.Errorf("%d answers have left, want %d", w.wire.Answered, x.want)
			}
		})
	}
}
