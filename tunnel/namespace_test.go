package tunnel

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The main thread of a process cannot end, so a test on it would keep its
// namespace, and with that the kernel's modules, for as long as the process
// lives. Locked here, it runs no test.
func init() { runtime.LockOSThread() }

// enterNamespace moves the test into a network namespace of its own, which
// goes when the test ends: its goroutine dies with its thread.
func enterNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("cannot make a network namespace (the tests need root): %v", err)
	}
}

// inSameNamespace returns a function that runs f in the namespace of the test,
// on a goroutine of its own, and returns a channel that closes when f ends.
func inSameNamespace(t *testing.T) func(f func()) <-chan struct{} {
	t.Helper()
	return inNamespaceOf(t, "/proc/thread-self/ns/net")
}

func inNamespaceOf(t *testing.T, path string) func(f func()) <-chan struct{} {
	t.Helper()
	ns, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return func(f func()) <-chan struct{} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // and never unlocked: the thread ends here
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				t.Error(err)
				return
			}
			f()
		}()
		return done
	}
}

func openHandle(t *testing.T) *Handle {
	t.Helper()
	h, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

// addVeth makes a pair of links; both ends are down.
func addVeth(t *testing.T, name, peer string) {
	t.Helper()
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: peer}))
}

// addAddress adds an address as an administrator would.
func addAddress(t *testing.T, device, prefix string) {
	t.Helper()
	link, err := netlink.LinkByName(device)
	must(t, err)
	p := netip.MustParsePrefix(prefix)
	must(t, netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{
		IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
	}}))
}

// addresses is the addresses of device as Observe lists them.
func addresses(t *testing.T, h *Handle, device string) []string {
	t.Helper()
	node, err := h.Observe()
	must(t, err)
	var list []string
	for _, at := range node.Addresses {
		for _, a := range at {
			if a.Link == device {
				list = append(list, a.Prefix.String())
			}
		}
	}
	slices.Sort(list)
	return list
}

// named is the link called name; one that is not there has the index 0.
func named(h *Handle, name string) Link {
	l, err := h.find(name)
	if err != nil {
		return Link{Name: name}
	}
	return linkOf(l)
}

func addressOn(h *Handle, device string, p netip.Prefix) []Address {
	return []Address{{LinkIndex: named(h, device).Index, Link: device, Prefix: p, HostScope: true}}
}

// addVIP adds a VIP as rsagent does.
func addVIP(h *Handle, device string, vip netip.Addr) error {
	return h.AddAddresses(addressOn(h, device, netip.PrefixFrom(vip, vip.BitLen())))[0]
}

func removeAddress(h *Handle, device string, p netip.Prefix) error {
	return h.RemoveAddresses(addressOn(h, device, p))[0]
}

func setUp(h *Handle, device string) error { return h.SetUp(named(h, device)) }

func setDown(h *Handle, device string) error { return h.SetDown(named(h, device)) }

// link is the link called name as Observe lists it.
func link(t *testing.T, h *Handle, name string) Link {
	t.Helper()
	node, err := h.Observe()
	must(t, err)
	for _, l := range node.Links {
		if l.Name == name {
			return l
		}
	}
	t.Fatalf("no link %s among %+v", name, node.Links)
	return Link{}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
