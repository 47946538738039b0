package sockets

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The main thread of a process cannot end; locked here, it runs no test.
func init() { runtime.LockOSThread() }

// enterNamespace moves the test into a network namespace of its own, with an
// address besides those of lo.
func enterNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	must(t, unix.Unshare(unix.CLONE_NEWNET))
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	must(t, netlink.LinkSetUp(lo))
	must(t, netlink.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(203, 0, 113, 10), Mask: net.CIDRMask(32, 32)}}))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func listen(t *testing.T, network, address string, set func(fd int) error) *net.TCPListener {
	t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if set != nil {
			raw.Control(func(fd uintptr) { err = set(int(fd)) })
		}
		return err
	}}
	l, err := config.Listen(context.Background(), network, address)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

func TestListeningTellsWhatEachSocketTakes(t *testing.T) {
	vip, other6 := netip.MustParseAddrPort("203.0.113.10:80"), netip.MustParseAddrPort("[2001:db8::1]:80")
	toLo := func(fd int) error { return unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "lo") }
	for _, test := range []struct {
		name, network, address string
		set                    func(int) error
		want                   Listener
		takes, takes6          bool
	}{
		{"any address", "tcp4", "0.0.0.0:80", nil, Listener{Addr: netip.MustParseAddrPort("0.0.0.0:80")}, true, false},
		{"the VIP", "tcp4", "203.0.113.10:80", nil, Listener{Addr: vip}, true, false},
		{"loopback", "tcp4", "127.0.0.1:80", nil, Listener{Addr: netip.MustParseAddrPort("127.0.0.1:80")}, false, false},
		{"another port", "tcp4", "0.0.0.0:8080", nil, Listener{Addr: netip.MustParseAddrPort("0.0.0.0:8080")}, false, false},
		{"both families", "tcp", "[::]:80", nil, Listener{Addr: netip.MustParseAddrPort("[::]:80")}, true, true},
		{"IPv6 only", "tcp6", "[::]:80", nil, Listener{Addr: netip.MustParseAddrPort("[::]:80"), Only6: true}, false, true},
		{"bound to an interface", "tcp4", "0.0.0.0:80", toLo, Listener{Addr: netip.MustParseAddrPort("0.0.0.0:80"), Link: 1}, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			enterNamespace(t)
			listen(t, test.network, test.address, test.set)
			got, err := Listening()
			must(t, err)
			if len(got) != 1 {
				t.Fatalf("got %+v, want one socket", got)
			}
			if got[0].Limit == 0 || got[0].Inode == 0 {
				t.Errorf("no limit of the queue or no inode: %+v", got[0])
			}
			got[0].Limit, got[0].Inode = 0, 0
			if diff := cmp.Diff(test.want, got[0], cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if got[0].Takes(vip) != test.takes || got[0].Takes(other6) != test.takes6 {
				t.Errorf("takes the VIP: %v, IPv6: %v", got[0].Takes(vip), got[0].Takes(other6))
			}
		})
	}
}

func TestAFullAcceptQueueIsSeen(t *testing.T) {
	enterNamespace(t)
	l := listen(t, "tcp4", "203.0.113.10:80", nil)
	raw, err := l.SyscallConn()
	must(t, err)
	raw.Control(func(fd uintptr) { err = unix.Listen(int(fd), 2) })
	must(t, err)
	for _, want := range []Listener{{Queue: 0, Limit: 2}, {Queue: 1, Limit: 2}, {Queue: 2, Limit: 2}, {Queue: 3, Limit: 2}} {
		got, err := Listening()
		must(t, err)
		if got[0].Queue != want.Queue || got[0].Limit != want.Limit || got[0].Full() != (want.Queue == 3) {
			t.Errorf("got %+v, full %v, want %+v", got[0], got[0].Full(), want)
		}
		if want.Queue < 3 {
			c, err := net.Dial("tcp4", "203.0.113.10:80")
			must(t, err)
			defer c.Close()
		}
	}
}

func TestHungTellsWhatTheServiceHasYetToClose(t *testing.T) {
	enterNamespace(t)
	l := listen(t, "tcp", "[::]:80", nil)
	c, err := net.Dial("tcp4", "203.0.113.10:80")
	must(t, err)
	defer c.Close()
	server, err := l.Accept()
	must(t, err)
	defer server.Close()
	to := netip.MustParseAddrPort("203.0.113.10:80")
	from := c.LocalAddr().(*net.TCPAddr).AddrPort()
	if got, err := Established(to); err != nil || len(got) != 1 || got[0] != from {
		t.Errorf("established: got %v, %v, want %v", got, err, from)
	}
	must(t, c.(*net.TCPConn).CloseWrite())
	server.Read(make([]byte, 1)) // until the FIN is there
	want := Hanging{Local: to, Remote: from}
	if got, err := Hung(); err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

// The client's answers to the SYN-ACK are lost, as if the SYN-ACK were.
func TestHungTellsHowOftenASynAckWasSentAgain(t *testing.T) {
	enterNamespace(t)
	listen(t, "tcp4", "0.0.0.0:80", nil)
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "a"}, PeerName: "b"}))
	var out netlink.Link
	for _, name := range []string{"b", "a"} {
		link, err := netlink.LinkByName(name)
		must(t, err)
		must(t, netlink.LinkSetUp(link))
		out = link
	}
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: out.Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: &net.IPNet{IP: net.IPv4(198, 51, 100, 0), Mask: net.CIDRMask(24, 32)}}))
	must(t, os.WriteFile("/proc/sys/net/ipv4/conf/all/accept_local", []byte("1"), 0))
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.Sendto(fd, syn(), 0, &unix.SockaddrInet4{Addr: [4]byte{203, 0, 113, 10}}))
	want := Hanging{
		Local: netip.MustParseAddrPort("203.0.113.10:80"), Remote: netip.MustParseAddrPort("198.51.100.7:4000"),
		HalfOpen: true, Resent: 1,
	}
	var got []Hanging
	for range 40 {
		got, err = Hung()
		must(t, err)
		if len(got) == 1 && got[0] == want {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("got %+v, want %+v", got, want)
}

// syn is the packet of a client at 198.51.100.7 (RFC 9293, section 3.1).
func syn() []byte {
	b := []byte{
		0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 198, 51, 100, 7, 203, 0, 113, 10,
		0x0f, 0xa0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0x20, 0, 0, 0, 0, 0,
	}
	sum := uint32(6 + 20)
	for i := 12; i < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	sum = sum&0xffff + sum>>16
	sum = ^(sum&0xffff + sum>>16)
	b[36], b[37] = byte(sum>>8), byte(sum)
	return b
}

func TestOwnersFindsAProcessAndThatItIsStopped(t *testing.T) {
	enterNamespace(t)
	l := listen(t, "tcp4", "0.0.0.0:80", nil)
	file, err := l.File()
	must(t, err)
	cmd := exec.Command("sleep", "60")
	cmd.ExtraFiles = []*os.File{file}
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	must(t, cmd.Process.Signal(syscall.SIGSTOP))
	listening, err := Listening()
	must(t, err)
	inode := listening[0].Inode

	var child Process
	for range 100 {
		owners, err := Owners("/proc", map[uint32]bool{inode: true}, time.Now().Add(10*time.Second))
		must(t, err)
		if len(owners[inode]) != 2 { // the test itself has it too
			t.Fatalf("got %+v, want this process and its child", owners)
		}
		for _, p := range owners[inode] {
			if p.PID == cmd.Process.Pid {
				child = p
			}
		}
		if child.Stopped() && child.Name == "sleep" {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if !child.Stopped() || child.Name != "sleep" || child.Files < 4 || child.FileLimit < child.Files {
		t.Errorf("got %+v, want a sleep that is stopped", child)
	}
	if _, err := Owners("/proc", map[uint32]bool{inode: true}, time.Now().Add(-time.Second)); err == nil {
		t.Error("no error when there was no time")
	}
}

func TestParseStatTakesAnyName(t *testing.T) {
	for stat, want := range map[string]Process{
		"12 (nginx) S 1 12":    {Name: "nginx", State: 'S'},
		"12 (a) b (c)) T 1 12": {Name: "a) b (c)", State: 'T'},
		"12 (nginx)":           {Name: "nginx"},
		"":                     {},
		"12 )(":                {},
	} {
		name, state := parseStat(stat)
		if name != want.Name || state != want.State {
			t.Errorf("%q: got %q %q", stat, name, state)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(uint8(unix.AF_INET), make([]byte, 72))
	f.Add(uint8(unix.AF_INET6), append([]byte{unix.AF_INET6}, make([]byte, 79)...))
	f.Fuzz(func(_ *testing.T, family uint8, b []byte) {
		parse(family, b)
		parseStat(string(b))
		parseLimit(string(b))
	})
}
