package path

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"rsagent/packet"
)

// inDatagram is a datagram of the director to the node, around something.
func inDatagram(port uint16, body []byte) []byte {
	head := make([]byte, 8)
	binary.BigEndian.PutUint16(head, 50000)
	binary.BigEndian.PutUint16(head[2:], port)
	binary.BigEndian.PutUint16(head[4:], uint16(8+len(body)))
	b := wrapped(testDirector, testNode, append(head, body...))
	b[9] = unix.IPPROTO_UDP
	return b
}

func request() []byte {
	return segment(netip.MustParseAddrPort("198.51.100.1:40000"), netip.AddrPortFrom(testVIP, 80), flagSYN, 7, 0)
}

func TestATunnelByUDPIsToldFromOtherDatagrams(t *testing.T) {
	for _, test := range []struct {
		name    string
		body    []byte
		gue, ok bool
	}{
		{"FOU, or GUE without a header", request(), false, true},
		{"GUE", append([]byte{0, 4, 0, 0}, request()...), true, true},
		{"GUE with a word of options", append([]byte{1, 4, 0, 0, 9, 9, 9, 9}, request()...), true, true},
		{"GUE whose options are missing", append([]byte{31, 4, 0, 0}, request()...), true, false},
		{"GUE around IPv6", append([]byte{0, 41, 0, 0}, request()...), true, false},
		{"a control message of GUE", append([]byte{0x20, 4, 0, 0}, request()...), true, false},
		{"GUE of another version", append([]byte{0x80, 4, 0, 0}, request()...), true, false},
		{"a question of DNS", bytes.Repeat([]byte{0x45, 0x12}, 9), false, false},
		{"nothing", nil, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, ok := packet.Parse(inDatagram(5555, test.body))
			if !ok {
				t.Fatal("the datagram is none")
			}
			inner, gue, ok := unwrapUDP(h)
			if ok != test.ok || ok && (gue != test.gue || inner.To != testVIP || inner.Ports[1] != 80) {
				t.Errorf("got %+v, %v, %v", inner, gue, ok)
			}
		})
	}
}

func TestWhatComesInUDPForAVIPIsSeenUnlessASocketHasItsPort(t *testing.T) {
	enterNamespace(t, "ip addr add 10.9.0.31/24 dev eth0")
	taken, err := net.ListenUDP("udp4", &net.UDPAddr{})
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	w, f := watching(t)
	gue := append([]byte{0, 4, 0, 0}, request()...)
	other := segment(netip.MustParseAddrPort("198.51.100.1:40000"), netip.AddrPortFrom(testNode, 80), flagSYN, 7, 0)
	later := inDatagram(5558, request())
	later[7] = 9 // a fragment
	for _, b := range [][]byte{
		inDatagram(5555, gue), inDatagram(5555, gue), inDatagram(5556, request()), inDatagram(5557, other),
		inDatagram(53, []byte("a name that is asked for")), later, inDatagram(uint16(taken.LocalAddr().(*net.UDPAddr).Port), gue),
	} {
		transmit(t, *f.Named("wire"), f.Named("eth0").MAC, b)
	}
	time.Sleep(20 * time.Millisecond)
	w.finish(&f)
	by := Sender{Addr: testDirector, Link: f.Named("eth0").Index}
	want := map[InUDP]int{{by, 5555, true}: 2, {by, 5556, false}: 1}
	if diff := cmp.Diff(want, f.Wire.InUDP, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// What is taken for a tunnel is a part of what came.
func FuzzUnwrapUDP(f *testing.F) {
	f.Add(inDatagram(5555, request()))
	f.Add(inDatagram(5555, append([]byte{1, 4, 0, 0, 9, 9, 9, 9}, request()...)))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ok := packet.Parse(b)
		if !ok || h.Protocol != unix.IPPROTO_UDP {
			return
		}
		if inner, _, ok := unwrapUDP(h); ok && (!inner.From.Is4() || len(inner.Body) > len(h.Body)) {
			t.Fatalf("%x is %+v", b, inner)
		}
	})
}
