package probe

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTCP(t *testing.T) {
	noLeaks(t)
	t.Run("accepts", func(t *testing.T) {
		tryWant(t, Target{Kind: TCP, Addr: serve(t, hold)}, "")
	})
	t.Run("accepts and closes", func(t *testing.T) {
		tryWant(t, Target{Kind: TCP, Addr: serve(t, func(net.Conn) {})}, "")
	})
	t.Run("nothing listens", func(t *testing.T) {
		tryWant(t, Target{Kind: TCP, Addr: closedPort(t)}, "connection refused")
	})
	t.Run("nothing listens for HTTP", func(t *testing.T) {
		tryWant(t, Target{Kind: HTTP, Addr: closedPort(t)}, "connection refused")
	})
	t.Run("nothing listens for HTTPS", func(t *testing.T) {
		tryWant(t, Target{Kind: HTTPS, Addr: closedPort(t)}, "connection refused")
	})
	t.Run("no address given", func(t *testing.T) {
		tryWant(t, Target{Kind: TCP}, "cannot probe: no address and port to ask")
	})
}

func TestSourceIsWhatTheServerSees(t *testing.T) {
	from := make(chan string, 1)
	addr := serve(t, func(conn net.Conn) { from <- conn.RemoteAddr().(*net.TCPAddr).IP.String() })
	tryWant(t, Target{Kind: TCP, Addr: addr, Source: netip.MustParseAddr("127.0.0.9")}, "")
	if got := <-from; got != "127.0.0.9" {
		t.Errorf("asked from %s", got)
	}
}

// A VIP that is asked from itself must never be looked for outside the node.
func TestSourceThatIsMissing(t *testing.T) {
	vip := netip.MustParseAddr("203.0.113.10")
	target := Target{Kind: TCP, Addr: netip.AddrPortFrom(vip, 80), Source: vip}
	const missing = "the address 203.0.113.10 is not on this node"
	inNewNamespace(t, func(t *testing.T) {
		ip(t, "link", "set", "lo", "up")
		ip(t, "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
		ip(t, "link", "set", "eth0", "up")
		ip(t, "link", "set", "eth1", "up")
		ip(t, "addr", "add", "198.51.100.1/24", "dev", "eth0")
		ip(t, "route", "add", "default", "via", "198.51.100.2")
		tryWant(t, target, missing)
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_nonlocal_bind", []byte("1\n"), 0); err != nil {
			t.Error(err)
		}
		tryWant(t, target, missing)
		ip(t, "addr", "add", "203.0.113.10/32", "dev", "lo")
		tryWant(t, target, "connection refused")
	})
}

func TestNoRoute(t *testing.T) {
	inNewNamespace(t, func(t *testing.T) {
		tryWant(t, Target{Kind: TCP, Addr: netip.MustParseAddrPort("192.0.2.1:80")}, "network is unreachable")
	})
}

// inNewNamespace runs the test in a network namespace of its own. Its thread is
// never used again.
func inNewNamespace(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("these tests need root: %v", err)
			return
		}
		test(t)
	}()
	<-done
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Errorf("ip %v: %v: %s", args, err, out)
	}
}

// fullBacklog returns an address whose listener takes no more connections.
func fullBacklog(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(name.(*syscall.SockaddrInet4).Port))
	conn, err := net.Dial("tcp4", addr.String()) // A backlog of 0 has room for one.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return addr
}
