package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// In the storm, somebody else changes addresses and routes as fast as the
// kernel takes them.
const (
	stormChanges = 10_000
	backWithin   = 100 * time.Millisecond
)

func TestInAStormEveryVIPIsBackAtOnce(t *testing.T) {
	if !inOwnNamespace(t) {
		return
	}
	vips := []string{"10.64.0.1", "10.64.0.2", "10.64.0.3", "10.64.0.4", "10.64.0.5"}
	tunnel, other := addStandIn(t, "tunl0"), addStandIn(t, "storm0")
	if err := netlink.LinkSetUp(other); err != nil {
		t.Fatal(err)
	}
	runWithoutIPIP(t, "vips = [\""+strings.Join(vips, "\", \"")+"\"]\n[repair]\nflaps = 0\nsweep = \"1s\"\n")
	before := holding(t)

	over := make(chan error, 1)
	go func() { over <- storm(other, stormChanges) }()
	var slow []string
	deleted := 0
	for raging := true; raging; deleted++ {
		select {
		case err := <-over:
			if err != nil {
				t.Fatal(err)
			}
			raging = false
		default:
		}
		vip := vips[deleted%len(vips)]
		if took := deleteAndAwait(t, tunnel, vip); took > backWithin {
			slow = append(slow, fmt.Sprintf("%s after %v", vip, took))
		}
	}
	if len(slow) > 0 || deleted < 2*len(vips) {
		t.Errorf("%d of %d VIPs were not back within %v: %s", len(slow), deleted, backWithin, strings.Join(slow, ", "))
	}
	if after := holding(t); after != before {
		t.Errorf("after the storm there are %+v, before it were %+v", after, before)
	}
}

// inOwnNamespace says whether the process is one that has a network namespace
// to itself. If not, it runs the same test in one that has.
func inOwnNamespace(t *testing.T) bool {
	t.Helper()
	const mark = "RSAGENT_TEST_IN_NAMESPACE"
	if os.Getenv(mark) != "" {
		// It goes before other sessions, where the kernel divides time between
		// those (autogroup in sched(7)): what else the machine tests is no concern.
		if err := os.WriteFile("/proc/self/autogroup", []byte("-20"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return true
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1", "-test.timeout=1m")
	cmd.Env = append(os.Environ(), mark+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Setsid: true}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("in a network namespace (it needs root): %v\n%s", err, out)
	}
	return false
}

// addStandIn makes a device of the first kind that this kernel has.
func addStandIn(t *testing.T, name string) netlink.Link {
	t.Helper()
	attrs := netlink.LinkAttrs{Name: name}
	var errs []error
	for _, link := range []netlink.Link{
		&netlink.Dummy{LinkAttrs: attrs}, &netlink.Ifb{LinkAttrs: attrs}, &netlink.Veth{LinkAttrs: attrs, PeerName: name + "-peer"},
	} {
		err := netlink.LinkAdd(link)
		if err == nil {
			return link
		}
		errs = append(errs, err)
	}
	t.Fatalf("cannot make a device: %v", errors.Join(errs...))
	return nil
}

// runWithoutIPIP runs an agent until the test ends. It returns when the agent
// answers, and so has set the node up, with where it says whether it is ready.
func runWithoutIPIP(t *testing.T, text string) (ready string) {
	t.Helper()
	host, err := OpenHost()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(host.Close)
	a := newAgent(t, host, text, io.Discard)
	if err := withoutIPIP(a, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx, listener, nil) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	ready = "http://" + listener.Addr().String() + "/ready"
	await(t, ready, "200 ready\n")
	return ready
}

// storm adds an address and a route and takes them away again, over and over.
func storm(link netlink.Link, changes int) error {
	for i := range changes / 4 {
		a, b := byte(i>>8), byte(i)
		address := &netlink.Addr{IPNet: netlink.NewIPNet(net.IPv4(10, 128, a, b))}
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: netlink.NewIPNet(net.IPv4(172, 16, a, b))}
		err := errors.Join(netlink.AddrAdd(link, address), netlink.RouteAdd(route), netlink.RouteDel(route), netlink.AddrDel(link, address))
		if err != nil {
			return fmt.Errorf("cannot make the storm: %v", err)
		}
	}
	return nil
}

// deleteAndAwait deletes a VIP and says how long it is gone. That it is there
// is asked of the routing table, by one question and not by a list, which a
// storm interrupts.
func deleteAndAwait(t *testing.T, link netlink.Link, vip string) time.Duration {
	t.Helper()
	ip := net.ParseIP(vip)
	began := time.Now()
	if err := netlink.AddrDel(link, &netlink.Addr{IPNet: netlink.NewIPNet(ip)}); err != nil {
		t.Fatalf("cannot delete %s: %v", vip, err)
	}
	for time.Since(began) < 2*sweepAtMost {
		routes, err := netlink.RouteGet(ip)
		if err == nil && len(routes) == 1 && routes[0].Type == unix.RTN_LOCAL {
			return time.Since(began)
		}
		time.Sleep(100 * time.Microsecond)
	}
	t.Fatalf("%s is not back after %v", vip, time.Since(began))
	return 0
}

// sweepAtMost is when a VIP is back whatever was missed.
const sweepAtMost = 10 * time.Second

// held is what a leak would add to.
type held struct{ descriptors, goroutines int }

// holding is what the process holds once it has come to rest.
func holding(t *testing.T) held {
	t.Helper()
	time.Sleep(500 * time.Millisecond) // the last answers and rounds end
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return held{len(files), runtime.NumGoroutine()}
}
