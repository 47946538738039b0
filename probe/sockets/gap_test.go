package sockets

import (
	"net"
	"net/netip"
	"os/exec"
	"testing"
	"time"
)

// A packet filter loses what is large, again and again; what is small comes.
func TestAConnectionThatWaitsForWhatWasLostHasAGap(t *testing.T) {
	enterNamespace(t)
	const lose = "add table ip t\nadd chain ip t in { type filter hook input priority 0; }\nadd rule ip t in tcp dport 80 ip length > 400 drop"
	if out, err := exec.Command("nft", lose).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	vip := netip.MustParseAddr("203.0.113.10")
	l := listen(t, "tcp4", "203.0.113.10:80", nil)
	other := listen(t, "tcp4", "127.0.0.1:80", nil)
	client := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}
	small, large := make([]byte, 50), make([]byte, 600)
	for _, c := range []struct {
		to     *net.TCPListener
		writes [][]byte
	}{
		{l, nil}, {l, [][]byte{small}}, {l, [][]byte{large}}, {l, [][]byte{small, large, small}}, {l, [][]byte{large, small}},
		{other, [][]byte{large, small}},
	} {
		conn, err := client.Dial("tcp4", c.to.Addr().String())
		must(t, err)
		defer conn.Close()
		accepted, err := c.to.Accept()
		must(t, err)
		defer accepted.Close()
		if len(c.writes) > 0 && len(c.writes[0]) == len(small) {
			_, err = conn.Write(c.writes[0])
			must(t, err)
			_, err = accepted.Read(make([]byte, 100))
			must(t, err)
			c.writes = c.writes[1:]
		}
		for _, b := range c.writes {
			_, err = conn.Write(b)
			must(t, err)
		}
	}
	time.Sleep(150 * time.Millisecond)
	for _, x := range []struct {
		old  time.Duration
		want Gaps
	}{{100 * time.Millisecond, Gaps{Open: 5, Waiting: 2}}, {time.Minute, Gaps{Open: 5}}} {
		got, err := GapsOf([]netip.Addr{vip}, x.old)
		must(t, err)
		if got != x.want {
			t.Errorf("older than %s: got %+v, want %+v", x.old, got, x.want)
		}
	}
}
