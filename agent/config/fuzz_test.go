package config

import (
	"net"
	"strconv"
	"testing"
)

// A VIP or a director that is taken is one that a host can have, and is taken
// again as it is printed.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"203.0.113.10", "10.0.0.0/24", "172.x.x.x", "203.0.113.10:80", "203.0.113.10/32", "::1", "fe80::1%eth0",
		"::ffff:10.0.0.1", "0.0.0.0/0", "255.255.255.255", "010.0.0.1", "224.0.0.1", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ps := newProblems("f.toml", nil)
		if a, ok := ps.vip(word{text: s, key: "vips"}); ok {
			if !a.Is4() || a.IsLoopback() || a.IsMulticast() || a.IsUnspecified() || a.IsLinkLocalUnicast() {
				t.Fatalf("%q is taken for the VIP %v", s, a)
			}
			if b, ok := ps.vip(word{text: a.String(), key: "vips"}); !ok || b != a {
				t.Fatalf("%q is the VIP %v, which is read as %v", s, a, b)
			}
		}
		taken := ps.directors([]word{{text: s, key: "directors"}}, nil, true)
		for _, p := range taken {
			if !p.Addr().Is4() || p.Masked() != p || p.Bits() == 0 {
				t.Fatalf("%q is taken for the director %v", s, p)
			}
			if again := ps.directors([]word{{text: p.String(), key: "directors"}}, nil, true); len(again) != 1 || again[0] != p {
				t.Fatalf("%q is the director %v, which is read as %v", s, p, again)
			}
		}
	})
}

// An address to listen at that is taken has a port, and takes it from itself;
// which of two is asked about does not matter.
func FuzzListen(f *testing.F) {
	f.Add(":9380", "0.0.0.0:9380")
	f.Add("[::1]:80", "localhost:1")
	f.Add("[::]:65536", "a.b:0")
	f.Fuzz(func(t *testing.T, a, b string) {
		if !listenAddress(a) || !listenAddress(b) {
			return
		}
		_, port, err := net.SplitHostPort(a)
		if n, bad := strconv.Atoi(port); err != nil || bad != nil || n < 1 || n > 65535 {
			t.Fatalf("%q was taken: %v, %v", a, err, bad)
		}
		if !sameSocket(a, a) || sameSocket(a, b) != sameSocket(b, a) {
			t.Fatalf("%q and %q", a, b)
		}
	})
}
