package packet

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

var (
	director = netip.MustParseAddr("10.9.0.21")
	node     = netip.MustParseAddr("10.9.0.31")
	client   = netip.MustParseAddrPort("198.51.100.1:40000")
	service  = netip.MustParseAddrPort("10.9.0.100:80")
)

var sameAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func TestAWrappedSegmentIsReadAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		end := func(name string) netip.AddrPort {
			b := rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, name)
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), rapid.Uint16().Draw(t, name+" port"))
		}
		s := Segment{
			From: end("from"), To: end("to"), Flags: rapid.Byte().Draw(t, "flags"),
			Seq: rapid.Uint32().Draw(t, "seq"), Ack: rapid.Uint32().Draw(t, "ack"),
		}
		id := rapid.Uint16().Draw(t, "id")
		whole := IPIP(director, node, id, s.Packet())
		outer, ok := Parse(whole)
		want := Header{Protocol: unix.IPPROTO_IPIP, From: director, To: node, ID: id, Body: whole[20:]}
		if diff := cmp.Diff(want, outer, sameAddr); !ok || diff != "" {
			t.Fatalf("the outer header, %v (-want +got)\n%s", ok, diff)
		}
		inner, ok := Parse(outer.Body)
		want = Header{Protocol: unix.IPPROTO_TCP, From: s.From.Addr(), To: s.To.Addr(), Flags: s.Flags, Seq: s.Seq, Ack: s.Ack,
			Ports: [2]uint16{s.From.Port(), s.To.Port()}, Body: whole[40:]}
		if diff := cmp.Diff(want, inner, sameAddr); !ok || diff != "" {
			t.Fatalf("the inner header, %v (-want +got)\n%s", ok, diff)
		}
		// Over what has its own sum in it, the sum of RFC 1071 is 0.
		pseudo := add(add(0, whole[32:40]), []byte{0, unix.IPPROTO_TCP, 0, byte(len(inner.Body))})
		if outer, inner, tcp := fold(add(0, whole[:20])), fold(add(0, whole[20:40])), fold(add(pseudo, inner.Body)); outer != 0 || inner != 0 || tcp != 0 {
			t.Fatalf("the sums are %#x, %#x and %#x", outer, inner, tcp)
		}
	})
}

func TestASegmentHasTheHopsItIsGiven(t *testing.T) {
	for hops, want := range map[byte]byte{0: 64, 1: 1, 2: 2} {
		if got := (Segment{From: client, To: service, Hops: hops}).Packet()[8]; got != want {
			t.Errorf("%d hops are written as %d", hops, got)
		}
	}
}

// icmpOf is an ICMP error that quotes the start of a packet.
func icmpOf(kind, code byte, quoted []byte) []byte {
	body := append([]byte{kind, code, 0, 0, 0, 0, 0, 0}, quoted...)
	return datagram(outline{unix.IPPROTO_ICMP, node, director, 0, 0}, body)
}

func TestAnErrorQuotesThePacketItIsAbout(t *testing.T) {
	whole := IPIP(director, node, 7, Segment{From: client, To: service, Flags: SYN, Seq: 5}.Packet())
	for _, test := range []struct {
		name  string
		error []byte
		id    uint16
		inner netip.AddrPort // where the packet in the quoted one was for
		ok    bool
	}{
		{"the whole packet", icmpOf(3, 2, whole), 7, service, true},
		{"no more than 8 bytes of what was in it", icmpOf(11, 0, whole[:28]), 7, netip.AddrPort{}, true},
		{"8 bytes of the segment", icmpOf(3, 3, whole[:48]), 7, service, true},
		{"less than a header", icmpOf(3, 3, whole[:19]), 0, netip.AddrPort{}, false},
		{"an echo is no error", icmpOf(8, 0, whole), 0, netip.AddrPort{}, false},
		{"a segment is no error", whole[20:], 0, netip.AddrPort{}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, _ := Parse(test.error)
			quoted, ok := h.Quoted()
			inner, isInner := Parse(quoted.Body)
			if ok != test.ok || quoted.ID != test.id || isInner != test.inner.IsValid() {
				t.Fatalf("quotes %+v, %v, and in it %+v", quoted, ok, inner)
			}
			if isInner && inner.Destination() != test.inner {
				t.Errorf("the packet in it is for %v", inner.Destination())
			}
		})
	}
}

// No packet is too odd to read, and what is read is in the packet.
func FuzzParse(f *testing.F) {
	whole := IPIP(director, node, 7, Segment{From: client, To: service, Flags: SYN, Seq: 5}.Packet())
	f.Add(whole)
	f.Add(whole[:41])
	f.Add(whole[20:33])
	f.Add(icmpOf(3, 2, whole))
	f.Add(icmpOf(3, 3, whole[:48]))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ok := Parse(b)
		if !ok {
			return
		}
		if h.From.As4() != [4]byte(b[12:]) || len(h.Body) > len(b)-20 {
			t.Errorf("read %+v of %x", h, b)
		}
		if q, ok := h.Quoted(); ok && len(q.Body) > len(b)-48 {
			t.Errorf("it quotes %+v of %x", q, b)
		}
	})
}
