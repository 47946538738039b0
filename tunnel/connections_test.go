package tunnel

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A node with two VIPs and an address of its own, and clients at an address
// that is no VIP, all in one namespace.
const (
	vip1   = "203.0.113.10"
	vip2   = "203.0.113.11"
	rip    = "192.0.2.7"
	client = "198.51.100.1"
)

type site struct {
	t *testing.T
	h *Handle
}

func newSite(t *testing.T) site {
	t.Helper()
	enterNamespace(t)
	h := openHandle(t)
	must(t, setUp(h, "lo"))
	for _, a := range []string{vip1, vip2, rip, client} {
		must(t, addVIP(h, "lo", netip.MustParseAddr(a)))
	}
	return site{t, h}
}

// listen opens a web server's socket: "tcp4" for IPv4 only, "tcp" for a
// dual-stack one, whose IPv4 connections the kernel lists as IPv6. set, if
// any, changes the socket before it listens.
func (s site) listen(network, address string, set func(fd int) error) net.Listener {
	s.t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		if set == nil {
			return nil
		}
		var err error
		if failed := raw.Control(func(fd uintptr) { err = set(int(fd)) }); failed != nil {
			return failed
		}
		return err
	}}
	l, err := config.Listen(context.Background(), network, address)
	must(s.t, err)
	s.t.Cleanup(func() { l.Close() })
	return l
}

func portOf(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

// dial connects from an address to a VIP or another address of the node.
func (s site) dial(from, to string, port int) *net.TCPConn {
	s.t.Helper()
	local := &net.TCPAddr{IP: net.ParseIP(from)}
	c, err := net.DialTCP("tcp4", local, &net.TCPAddr{IP: net.ParseIP(to), Port: port})
	must(s.t, err)
	s.t.Cleanup(func() { c.Close() })
	return c
}

func (s site) accept(l net.Listener) *net.TCPConn {
	s.t.Helper()
	c, err := l.Accept()
	must(s.t, err)
	s.t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// count counts the connections to services, each an address or an address
// and a port.
func (s site) count(services ...string) Connections {
	s.t.Helper()
	var list []netip.AddrPort
	for _, service := range services {
		if !strings.Contains(service, ":") {
			service += ":0"
		}
		list = append(list, netip.MustParseAddrPort(service))
	}
	c, err := s.h.Census(list, 0).Count()
	must(s.t, err)
	return c
}

// wantCount waits for the count, for the other end has to get word first.
func (s site) wantCount(want Connections, vips ...string) {
	s.t.Helper()
	var got Connections
	for range 200 {
		if got = s.count(vips...); got == want {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond)
	if got = s.count(vips...); got != want {
		s.t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestConnectionsCountsWhatADrainWaitsFor(t *testing.T) {
	answer := make([]byte, 8<<20) // more than the buffers of both ends hold
	tests := []struct {
		name string
		do   func(s site, l net.Listener, port int)
		want Connections
	}{
		{"no connection", func(site, net.Listener, int) {}, Connections{}},
		{"one that the server has accepted", func(s site, l net.Listener, port int) {
			s.dial(client, vip1, port)
			s.accept(l)
		}, Connections{Established: 1}},
		{"one that the server has yet to accept", func(s site, l net.Listener, port int) {
			s.dial(client, vip1, port)
		}, Connections{Established: 1}},
		{"two, to two VIPs", func(s site, l net.Listener, port int) {
			s.dial(client, vip1, port)
			s.dial(client, vip2, port)
		}, Connections{Established: 2}},
		{"one to the node's own address", func(s site, l net.Listener, port int) {
			s.dial(client, rip, port)
		}, Connections{}},
		{"the node asking itself, from one VIP to the same or another", func(s site, l net.Listener, port int) {
			s.dial(vip1, vip1, port)
			s.dial(vip2, vip1, port)
		}, Connections{}},
		{"a client that has said all and waits", func(s site, l net.Listener, port int) {
			c := s.dial(client, vip1, port)
			s.accept(l)
			must(s.t, c.CloseWrite())
		}, Connections{CloseWait: 1}},
		{"an answer under way after the server closed", func(s site, l net.Listener, port int) {
			s.dial(client, vip1, port)
			s.sendAndClose(s.accept(l), answer)
		}, Connections{Closing: 1}},
		{"an answer under way after both closed", func(s site, l net.Listener, port int) {
			c := s.dial(client, vip1, port)
			server := s.accept(l)
			must(s.t, c.CloseWrite())
			s.wantCount(Connections{CloseWait: 1}, vip1)
			s.sendAndClose(server, answer)
		}, Connections{Closing: 1}},
		{"an answer that has arrived", func(s site, l net.Listener, port int) { // FIN_WAIT2
			s.dial(client, vip1, port)
			s.sendAndClose(s.accept(l), answer[:100])
		}, Connections{}},
		{"one that has ended", func(s site, l net.Listener, port int) { // TIME_WAIT
			c := s.dial(client, vip1, port)
			must(s.t, s.accept(l).Close())
			must(s.t, c.Close())
		}, Connections{}},
	}
	for _, listener := range []struct{ name, network, address string }{
		{"IPv4 listener", "tcp4", "0.0.0.0:0"},
		{"dual-stack listener", "tcp", "[::]:0"},
	} {
		for _, test := range tests {
			t.Run(listener.name+"/"+test.name, func(t *testing.T) {
				s := newSite(t)
				l := s.listen(listener.network, listener.address, nil)
				test.do(s, l, portOf(l))
				s.wantCount(test.want, vip1, vip2)
			})
		}
		t.Run(listener.name+"/a handshake that is not done", func(t *testing.T) {
			s := newSite(t)
			l := s.listen(listener.network, listener.address, func(fd int) error {
				// The connection stays in SYN_RECV until its first byte.
				return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 60)
			})
			s.dial(client, vip1, portOf(l))
			s.wantCount(Connections{SynReceived: 1}, vip1)
		})
	}
}

// sendAndClose hands the answer to the kernel as far as it takes it, and
// closes.
func (s site) sendAndClose(c *net.TCPConn, answer []byte) {
	s.t.Helper()
	must(s.t, c.SetWriteDeadline(time.Now().Add(200*time.Millisecond)))
	_, _ = c.Write(answer) // the client does not read, so this may end early
	must(s.t, c.Close())
}

// Over a link the FIN can be all that is missing; locally it never is for long.
func TestConnectionsCountsOnePortAlone(t *testing.T) {
	for _, network := range []string{"tcp4", "tcp"} {
		t.Run(network, func(t *testing.T) {
			s := newSite(t)
			web, mail := s.listen(network, ":0", nil), s.listen(network, ":0", nil)
			s.dial(client, rip, portOf(web))
			s.dial(client, rip, portOf(mail))
			s.dial(client, rip, portOf(mail))
			s.wantCount(Connections{Established: 2}, rip+":"+strconv.Itoa(portOf(mail)))
			s.wantCount(Connections{Established: 3}, rip)
		})
	}
}

func TestAClosedConnectionCountsOnlyWhileDataIsUnderWay(t *testing.T) {
	for _, state := range []uint8{tcpFinWait1, tcpClosing, tcpLastAck} {
		for unacknowledged, want := range map[uint32]int{0: 0, 1: 0, 2: 1, 1 << 31: 1} {
			var c Connections
			c.add(socket{state: state, unacknowledged: unacknowledged}, false)
			if c.Total() != want {
				t.Errorf("state %d with %d bytes not acknowledged: got %+v, want total %d", state, unacknowledged, c, want)
			}
		}
	}
}

func TestNewIsWhatWasNotThereBefore(t *testing.T) {
	s := newSite(t)
	l := s.listen("tcp", "[::]:0", nil)
	census := s.h.Census([]netip.AddrPort{netip.MustParseAddrPort(vip1 + ":0")}, 0)
	wantNew := func(when string, want int) {
		t.Helper()
		c, err := census.Count()
		must(t, err)
		if c.New != want {
			t.Errorf("%s: %d are new, want %d", when, c.New, want)
		}
	}
	s.dial(client, vip1, portOf(l))
	s.accept(l)
	wantNew("the first count", 0)
	wantNew("the same again", 0)
	s.dial(client, vip1, portOf(l))
	server := s.accept(l)
	wantNew("one more", 1)
	must(t, server.Close())
	wantNew("it is being closed", 0)
	gone := s.dial(client, vip1, portOf(l))
	must(t, s.accept(l).Close())
	must(t, gone.Close())
	wantNew("one that came and went", 1)
	s.dial(client, rip, portOf(l))
	s.dial(vip1, vip1, portOf(l))
	wantNew("one of another address, and one of the node's own", 0)
}

func TestTotalAddsUpEveryCount(t *testing.T) {
	if got := (Connections{SynReceived: 1, Established: 20, CloseWait: 300, Closing: 4000}).Total(); got != 4321 {
		t.Errorf("got %d, want 4321", got)
	}
}

func TestConnectionsCountsThousands(t *testing.T) {
	const n = 2000
	s := newSite(t)
	allowFiles(t, n+500)
	ports := []int{
		portOf(s.listen("tcp4", "0.0.0.0:0", nil)),
		portOf(s.listen("tcp", "[::]:0", nil)),
	}
	for i := range n {
		to := []string{vip1, vip2, rip, vip1}[i%4]
		s.dial(client, to, ports[i/4%2])
	}
	s.wantCount(Connections{Established: n * 3 / 4}, vip1, vip2)
	s.wantCount(Connections{Established: n / 4}, vip2)

	census := s.h.Census([]netip.AddrPort{netip.MustParseAddrPort(vip1 + ":0")}, 0)
	for range 2 { // its memory grows at first
		if _, err := census.Count(); err != nil {
			t.Fatal(err)
		}
	}
	perRun := testing.AllocsPerRun(5, func() {
		if _, err := census.Count(); err != nil {
			t.Error(err)
		}
	})
	if perRun > n/10 { // some for each message, none for each socket
		t.Errorf("%v allocations for %d connections", perRun, n)
	}
}

// allowFiles raises the number of files that the test process may open.
func allowFiles(t *testing.T, n uint64) {
	t.Helper()
	var limit unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	if limit.Cur < n {
		limit.Cur, limit.Max = n, max(limit.Max, n)
		must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	}
	// The accept queues must hold all of them too.
	must(t, os.WriteFile("/proc/sys/net/core/somaxconn", []byte(strconv.FormatUint(n, 10)), 0))
}
