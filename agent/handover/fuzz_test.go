package handover

import (
	"net"
	"net/netip"
	"strconv"
	"testing"
)

// A socket is taken for the one of an address only if it has that port.
func FuzzAt(f *testing.F) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { l.Close() })
	have := l.Addr().(*net.TCPAddr)
	for _, host := range []string{"127.0.0.1", "", "::", "::1", "0.0.0.0", "::ffff:127.0.0.1", "fe80::1%lo"} {
		f.Add(host, strconv.Itoa(have.Port))
	}
	f.Add("127.0.0.1", "http")
	f.Add("127.0.0.1", "99999999999")
	f.Fuzz(func(t *testing.T, host, port string) {
		if _, err := netip.ParseAddr(host); err != nil && host != "" {
			return // a name, which somebody would be asked for
		}
		if !isAt(l.(*net.TCPListener), net.JoinHostPort(host, port)) {
			return
		}
		if a, err := netip.ParseAddr(host); err != nil || a.Unmap() != netip.MustParseAddr("127.0.0.1") {
			t.Fatalf("%v is taken for %q", have, host)
		}
		if n, err := net.LookupPort("tcp", port); err != nil || n != have.Port {
			t.Fatalf("%v is taken for port %q", have, port)
		}
	})
}
