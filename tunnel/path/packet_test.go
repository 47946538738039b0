package path

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"rsagent/packet"
)

func TestNoPacketAndNoAnswerOfTheKernelIsTooOddToRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 0, 120).Draw(t, "bytes")
		packet.Parse(b)
		tooCongested(b)
		parseLink(b)
		parseRule(b)
		if c, err := parseClassifier(b); err == nil {
			c.matches(b, nil)
		}
		matchesU32(b, b)
		Counters{}.pairs(b)
		Counters{}.columns("", b)
		Counters{}.softnet(b)
		Counters{}.sockstat(b)
		parseEnd(string(b))
		new(watcher).seeARP(b, 1)
	})
}

func TestAMarkOfCongestionCountsWhereTheInnerPacketCannotBeMarked(t *testing.T) {
	client, service := netip.MustParseAddrPort("198.51.100.1:40000"), netip.AddrPortFrom(testVIP, 80)
	for _, test := range []struct {
		outer, inner byte
		want         bool
	}{{3, 0, true}, {3, 1, false}, {3, 2, false}, {3, 3, false}, {0, 0, false}, {1, 0, false}, {2, 0, false}, {0xb8 | 3, 0xb8, true}} {
		packet := wrapped(testDirector, testNode, segment(client, service, flagSYN, 7, 0))
		packet[1], packet[21] = test.outer, test.inner
		if got := tooCongested(packet); got != test.want {
			t.Errorf("the tunnel drops %#x around %#x: %v, want %v", test.outer, test.inner, got, test.want)
		}
	}
}

func TestCountersAreReadAsTheKernelHasThem(t *testing.T) {
	c := Counters{}
	c.pairs([]byte("Ip: Forwarding DefaultTTL InReceives\nIp: 1 64 12\nTcp: RtoMax MaxConn\nTcp: 9 -1\n"))
	c.softnet([]byte("0000000a 00000001 00000002 0\n00000014 00000002 00000000 0\n"))
	c.columns("conntrack ", []byte("entries searched drop\n0000000f 00000001 00000002\n0000000f 00000001 00000003\n"))
	c.lines([]byte("XfrmInPolBlock          \t8\n"))
	c.sockstat([]byte("sockets: used 5\nTCP: inuse 3 mem 1\n"))
	want := Counters{"IpForwarding": 1, "IpDefaultTTL": 64, "IpInReceives": 12, "TcpRtoMax": 9,
		"softnet processed": 30, "softnet dropped": 3, "softnet squeezed": 2,
		"conntrack entries": 15, "conntrack searched": 2, "conntrack drop": 5, "XfrmInPolBlock": 8,
		"sockets sockets used": 5, "sockets TCP inuse": 3, "sockets TCP mem": 1}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if r := c.Rose("IpInReceives", Counters{"IpInReceives": 15}); r != 3 {
		t.Errorf("rose by %d", r)
	}
	if r := c.Rose("unknown", Counters{"unknown": 15}); r != 0 {
		t.Errorf("what was not known rose by %d", r)
	}
}

func TestAnAddressOfProcNetTCP(t *testing.T) {
	for text, want := range map[string]string{"1500090A:9C40": "10.9.0.21:40000", "0000000000000000FFFF00001500090A:0050": "10.9.0.21:80"} {
		if got, ok := parseEnd(text); !ok || got.String() != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
}
