package path

import (
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The main thread of a process cannot end, so a test on it would keep its
// namespace. Locked here, it runs no test.
func init() { runtime.LockOSThread() }

// enterNamespace moves the test into a network namespace of its own, with a pair
// of links of which eth0 is one; it goes when the test ends.
func enterNamespace(t *testing.T, lines ...string) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("cannot make a network namespace (the tests need root): %v", err)
	}
	shell(t, "ip link add eth0 type veth peer name wire", "ip link set eth0 up", "ip link set wire up", "ip link set lo up")
	shell(t, lines...)
}

func shell(t *testing.T, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
			t.Fatalf("cannot run %s: %v: %s", line, err, strings.TrimSpace(string(out)))
		}
	}
}

var (
	testNode     = netip.MustParseAddr("10.9.0.31")
	testVIP      = netip.MustParseAddr("10.9.0.100")
	testDirector = netip.MustParseAddr("10.9.0.21")
)

func questionOn(links []Link) Question {
	q := Question{Device: "tunl0", VIPs: []netip.Addr{testVIP}, Directors: []netip.Addr{testDirector}, Services: []netip.AddrPort{netip.AddrPortFrom(testVIP, 80)}}
	if l := linkOf(links, func(l Link) bool { return l.Name == "eth0" }); l != nil {
		q.Facing = []int{l.Index}
	}
	return q
}
