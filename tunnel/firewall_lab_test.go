//go:build lab

package tunnel

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// These tests need a kernel that has ipip and has nf_tables as a module: the
// lab's.

func TestFirewallStopsAnAttackThroughTheTunnel(t *testing.T) {
	load(t)
	atPeer := joined(t)
	h := openHandle(t)
	must(t, h.CreateDevice("tunl0"))
	must(t, setUp(h, "tunl0"))
	for _, device := range []string{"all", "tunl0"} {
		must(t, os.WriteFile("/proc/sys/net/ipv4/conf/"+device+"/rp_filter", []byte("0"), 0))
	}
	socket := rawSocket(t, unix.IPPROTO_UDP)
	guard := Firewall{Guard: true, Device: "tunl0", VIPs: addrs(vipAddress), Directors: prefixes(peerAddress + "/32")}
	noVIP := guard
	noVIP.VIPs = addrs("203.0.113.99")
	tests := []struct {
		name                string
		firewall            Firewall
		from, to            string // outer source, inner destination
		gets                int
		notDirector, notVIP uint64
	}{
		{"no guard: a stranger reaches the VIP", Firewall{}, strangerAddress, vipAddress, 1, 0, 0},
		{"no guard: a stranger reaches another address", Firewall{}, strangerAddress, otherNodeAddress, 1, 0, 0},
		{"no guard: the director reaches the VIP", Firewall{}, peerAddress, vipAddress, 1, 0, 0},
		{"a stranger does not reach the VIP", guard, strangerAddress, vipAddress, 0, 1, 0},
		{"a stranger does not reach another address", guard, strangerAddress, otherNodeAddress, 0, 2, 0},
		{"the director reaches the VIP", guard, peerAddress, vipAddress, 1, 2, 0},
		{"the director does not reach another address", guard, peerAddress, otherNodeAddress, 0, 2, 1},
		{"an address that is no longer a VIP is not reached", noVIP, peerAddress, vipAddress, 0, 2, 2},
	}
	for _, test := range tests {
		must(t, h.ApplyFirewall(test.firewall))
		inner := ipv4(unix.IPPROTO_UDP, "198.51.100.1", test.to, udp("hello"))
		<-atPeer(func() { must(t, send(ipv4(unix.IPPROTO_IPIP, test.from, nodeAddress, inner))) })
		through := arrived(t, socket, test.gets)
		state := wantHeld(t, h, test.firewall)
		if through != test.gets {
			t.Errorf("%s: %d packets got through, not %d", test.name, through, test.gets)
		}
		outerLength, innerLength := uint64(20+len(inner)), uint64(len(inner))
		want := FirewallState{
			NotDirector: Counter{test.notDirector, test.notDirector * outerLength},
			NotVIP:      Counter{test.notVIP, test.notVIP * innerLength},
		}
		got := FirewallState{NotDirector: state.NotDirector, NotVIP: state.NotVIP}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(FirewallState{}, table{})); diff != "" {
			t.Errorf("%s: counted (-want +got):\n%s", test.name, diff)
		}
	}
}

// withoutNFTables unloads nf_tables, and what it needs if nothing else does, and
// keeps the kernel from loading it until the function that it returns is called.
func withoutNFTables(t *testing.T, loaded ...string) (mayLoad func()) {
	t.Helper()
	const program = "/proc/sys/kernel/modprobe"
	before, err := os.ReadFile(program)
	must(t, err)
	mayLoad = func() { must(t, os.WriteFile(program, before, 0)) }
	t.Cleanup(mayLoad)
	// Namespaces of earlier tests hold on to it for a while.
	eventually(t, "nf_tables is unloaded", func() bool {
		modules, err := os.ReadFile("/proc/modules")
		must(t, err)
		for line := range strings.Lines(string(modules)) {
			if name, _, _ := strings.Cut(line, " "); strings.HasPrefix(name, "nft_") {
				_ = exec.Command("modprobe", "-r", name).Run()
			}
		}
		_ = exec.Command("modprobe", "-r", "nf_tables").Run()
		_, err = os.Stat("/sys/module/nf_tables")
		return errors.Is(err, os.ErrNotExist)
	})
	for _, module := range loaded {
		must(t, exec.Command("modprobe", module).Run())
	}
	must(t, os.WriteFile(program, []byte("/bin/false\n"), 0))
	return mayLoad
}

// Without nfnetlink there is no socket to ask through.
func TestFirewallIsReachedOnceTheKernelCanLoadIt(t *testing.T) {
	mayLoad := withoutNFTables(t)
	_ = exec.Command("modprobe", "-r", "nfnetlink").Run()
	enterNamespace(t)
	h := openHandle(t)
	const missing = "cannot open a netlink socket to the packet filter: the kernel has no nf_tables, or lacks a part of it (module missing, or may not be loaded)"
	_, err := h.ObserveFirewall()
	wantError(t, err, missing)
	if !errors.Is(err, ErrNoNFTables) {
		t.Errorf("observing fails with %v", err)
	}
	wantError(t, h.ApplyFirewall(wholeFirewall()), missing)
	must(t, h.RemoveFirewall())
	mayLoad()
	must(t, h.ApplyFirewall(wholeFirewall()))
	wantHeld(t, h, wholeFirewall())
}

func TestFirewallWithoutNFTablesSaysSo(t *testing.T) {
	mayLoad := withoutNFTables(t, "nfnetlink")
	enterNamespace(t)
	h := openHandle(t)
	_, err := h.ObserveFirewall()
	if !errors.Is(err, ErrNoNFTables) {
		t.Errorf("observing fails with %v", err)
	}
	wantError(t, h.ApplyFirewall(wholeFirewall()),
		"cannot set the packet filter: the kernel has no nf_tables, or lacks a part of it (module missing, or may not be loaded)")
	must(t, h.RemoveFirewall())
	_, calls := followingFirewall(t)

	// It comes, and what was opened before goes on.
	mayLoad()
	wantQuiet(t, calls)
	must(t, h.ApplyFirewall(wholeFirewall()))
	wantHeld(t, h, wholeFirewall())
	wantCall(t, calls, "for the first change")
}
