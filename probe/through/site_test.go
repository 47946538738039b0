package through

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"rsagent/packet"
)

var (
	testDirector = netip.MustParseAddr("10.9.0.21")
	testNode     = netip.MustParseAddr("10.9.0.31")
	testVIP      = netip.MustParseAddrPort("10.9.0.100:80")
)

// host is a network namespace. It is gone when the test is.
type host struct {
	t         *testing.T
	namespace *os.File
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{t: t}
	onThread(func() {
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			h.namespace, err = os.Open("/proc/thread-self/ns/net")
		}
		if err != nil {
			t.Errorf("cannot make a network namespace (the tests need root): %v", err)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	t.Cleanup(func() { h.namespace.Close() })
	// A namespace begins with the settings of the first one.
	h.shell("for k in all default; do echo 0 > /proc/sys/net/ipv4/conf/$k/rp_filter; done", "ip link set lo up")
	return h
}

// onThread calls f on a thread that ends with it.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		f()
	}()
	<-done
}

// do calls f in the namespace. Sockets that f opens stay there.
func (h *host) do(f func()) {
	onThread(func() {
		if err := unix.Setns(int(h.namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			h.t.Errorf("cannot enter a network namespace: %v", err)
			return
		}
		f()
	})
}

func (h *host) shell(lines ...string) {
	h.t.Helper()
	script := strings.Join(append([]string{"set -e"}, lines...), "\n")
	h.do(func() {
		if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
			h.t.Errorf("cannot run %s: %v: %s", script, err, strings.TrimSpace(string(out)))
		}
	})
	if h.t.Failed() {
		h.t.FailNow()
	}
}

// newPair is a director and a node on one cable. This kernel may have no IPIP, so
// the node's is a program: what it unwraps comes in by the link in1, which has the
// VIP. All the rest is the kernel's.
func newPair(t *testing.T) (director, node *host) {
	director, node = newHost(t), newHost(t)
	director.shell(
		fmt.Sprintf("ip link add eth0 type veth peer name eth0 netns /proc/%d/fd/%d", os.Getpid(), node.namespace.Fd()),
		"ip link set eth0 up", "ip addr add 10.9.0.21/24 dev eth0")
	node.shell("ip link set eth0 up", "ip addr add 10.9.0.31/24 dev eth0",
		"ip link add in0 type veth peer name in1", "ip link set in0 up", "ip link set in1 up", "ip addr add 10.9.0.100/32 dev in1",
		"echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore")
	return director, node
}

// active gives the director the VIP, as the active one has it.
func active(director *host) { director.shell("ip addr add 10.9.0.100/32 dev eth0") }

// receive hands each packet in IPIP that comes to the host to take, until the test
// ends.
func (h *host) receive(take func(inner []byte)) {
	var incoming *os.File
	h.do(func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_IPIP)
		if err != nil {
			h.t.Error(err)
			return
		}
		incoming = os.NewFile(uintptr(fd), "ipip")
	})
	if incoming == nil {
		h.t.FailNow()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1500)
		for {
			n, err := incoming.Read(b)
			if err != nil {
				return // closed
			}
			if header := int(b[0]&0xf) * 4; header < n {
				take(append([]byte(nil), b[header:n]...))
			}
		}
	}()
	h.t.Cleanup(func() { incoming.Close(); <-done })
}

// unwrap makes the host take packets in IPIP as a tunnel device would.
func (h *host) unwrap() {
	var fd int
	to := &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_IP), Halen: 6}
	h.do(func() {
		in0, err0 := net.InterfaceByName("in0")
		in1, err1 := net.InterfaceByName("in1")
		var err error
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err0 != nil || err1 != nil || err != nil {
			h.t.Error(err0, err1, err)
			return
		}
		to.Ifindex = in0.Index
		copy(to.Addr[:], in1.HardwareAddr)
	})
	h.t.Cleanup(func() { unix.Close(fd) })
	h.receive(func(inner []byte) { _ = unix.Sendto(fd, inner, 0, to) }) // in1 may be down: that is a test
}

// answer makes the host answer each SYN in IPIP with whole packets; others are
// counted.
func (h *host) answer(how func(syn packet.Header) [][]byte) (others func() int) {
	var fd, count int
	h.do(func() {
		var err error
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err != nil {
			h.t.Error(err)
		}
	})
	lock := make(chan struct{}, 1)
	h.t.Cleanup(func() { unix.Close(fd) })
	h.receive(func(inner []byte) {
		lock <- struct{}{}
		defer func() { <-lock }()
		syn, ok := packet.Parse(inner)
		if !ok || syn.Flags != packet.SYN {
			count++
			return
		}
		for _, p := range how(syn) {
			if err := unix.Sendto(fd, p, 0, &unix.SockaddrInet4{Addr: syn.From.As4()}); err != nil {
				h.t.Error(err)
			}
		}
	})
	return func() int {
		lock <- struct{}{}
		defer func() { <-lock }()
		return count
	}
}

// listen serves on the host until the test ends.
func (h *host) listen(address string) {
	var l net.Listener
	h.do(func() {
		var err error
		if l, err = net.Listen("tcp4", address); err != nil {
			h.t.Error(err)
		}
	})
	if l == nil {
		h.t.FailNow()
	}
	h.t.Cleanup(func() { l.Close() })
}

// halfOpen counts the connections of the host that wait for a client: state 03 in
// /proc/net/tcp.
func (h *host) halfOpen() (n int) {
	h.do(func() {
		b, err := os.ReadFile("/proc/thread-self/net/tcp")
		if err != nil {
			h.t.Error(err)
		}
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) > 3 && f[3] == "03" {
				n++
			}
		}
	})
	return n
}

// ask asks from the host, in its namespace.
func (h *host) ask(q Question) (results []Result, err error) {
	h.t.Helper()
	h.do(func() { results, err = Ask(h.t.Context(), q) })
	return results, err
}

// ask1 asks the one node of a pair.
func (h *host) ask1(q Question) Result {
	h.t.Helper()
	if !q.VIP.IsValid() {
		q.VIP = testVIP
	}
	if len(q.Reals) == 0 {
		q.Reals = []netip.Addr{testNode}
	}
	results, err := h.ask(q)
	if err != nil || len(results) != 1 {
		h.t.Fatalf("got %+v, %v", results, err)
	}
	return results[0]
}
