//go:build lab

package tunnel

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
)

// These tests need a kernel that has ipip, as a module that can be loaded and
// unloaded: the lab's. They load and unload it in all network namespaces.

// unload takes ipip out of the kernel, with every device of it. It refuses
// where such a device is in use: this may be somebody's host.
func unload(t *testing.T) {
	t.Helper()
	var host Node
	<-inNamespaceOf(t, "/proc/1/ns/net")(func() {
		h, err := Open()
		if err != nil {
			t.Error(err)
			return
		}
		defer h.Close()
		if host, err = h.Observe(); err != nil {
			t.Error(err)
		}
	})
	for _, l := range host.Links {
		if l.Kind == "ipip" && l.Up {
			t.Fatalf("%s of this host is up: the test would take it away", l.Name)
		}
	}
	if out, err := exec.Command("modprobe", "-r", "ipip").CombinedOutput(); err != nil {
		t.Fatalf("cannot unload ipip: %v\n%s", err, out)
	}
	if loaded() {
		t.Fatal("ipip is still loaded")
	}
	// What it needs stays when loading it failed; others may use it.
	for _, needed := range []string{"tunnel4", "ip_tunnel"} {
		_ = exec.Command("modprobe", "-r", needed).Run()
	}
}

func loaded() bool {
	_, err := os.Stat("/sys/module/ipip")
	return err == nil
}

func load(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("modprobe", "ipip").CombinedOutput(); err != nil {
		t.Fatalf("cannot load ipip: %v\n%s", err, out)
	}
	if !loaded() { // modprobe takes EEXIST of the module for success
		t.Fatal("ipip is not loaded: a device of another kind may be called tunl0")
	}
}

func wantFallback(t *testing.T, h *Handle, name string) {
	t.Helper()
	l := link(t, h, name)
	if l.Kind != "ipip" || !l.Fallback || l.Up || !l.NoARP {
		t.Errorf("got %+v, want an ipip device, any to any, down, without ARP", l)
	}
}

func TestCreateDeviceLoadsTheModuleAndCanBeRepeated(t *testing.T) {
	enterNamespace(t)
	unload(t)
	h := openHandle(t)
	must(t, h.CreateDevice("tunl0"))
	wantFallback(t, h, "tunl0")
	must(t, h.CreateDevice("tunl0"))
	must(t, setUp(h, "tunl0"))
	must(t, addVIP(h, "tunl0", netip.MustParseAddr("203.0.113.10")))
	must(t, h.CreateDevice("tunl0")) // changes nothing
	if l := link(t, h, "tunl0"); !l.Up || !l.Fallback {
		t.Errorf("got %+v, want it up still", l)
	}
	if diff := cmp.Diff([]string{"203.0.113.10/32"}, addresses(t, h, "tunl0")); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
}

func TestCreateDeviceAdoptsTheFallbackOfANewNamespace(t *testing.T) {
	load(t)
	enterNamespace(t)
	h := openHandle(t)
	wantFallback(t, h, "tunl0")
	must(t, h.CreateDevice("tunl0"))
	wantFallback(t, h, "tunl0")
}

// sysctl net.core.fb_tunnels_only_for_init_net = 1
func TestCreateDeviceMakesOneInANamespaceWithoutFallback(t *testing.T) {
	load(t)
	setting, err := os.OpenFile("/proc/sys/net/core/fb_tunnels_only_for_init_net", os.O_RDWR, 0)
	must(t, err)
	defer setting.Close()
	old := make([]byte, 1)
	_, err = setting.ReadAt(old, 0)
	must(t, err)
	_, err = setting.WriteAt([]byte("1"), 0)
	must(t, err)
	defer func() {
		_, err := setting.WriteAt(old, 0) // the name is not to be found from a new namespace
		must(t, err)
	}()
	enterNamespace(t)
	h := openHandle(t)
	for range 2 {
		must(t, h.CreateDevice("vip0"))
		wantFallback(t, h, "vip0")
	}
}

func TestCreateDeviceUnderAnotherNameNamesTheFallback(t *testing.T) {
	const want = "cannot create vip0: tunl0 is the ipip device that receives from any to any, and there can be one only (use that name, or rename it)"
	t.Run("that is there", func(t *testing.T) {
		load(t)
		enterNamespace(t)
		wantError(t, openHandle(t).CreateDevice("vip0"), want)
	})
	t.Run("that loading the module brings", func(t *testing.T) {
		enterNamespace(t)
		unload(t)
		wantError(t, openHandle(t).CreateDevice("vip0"), want)
	})
}

func TestARenamedFallbackIsFoundByWhatItIs(t *testing.T) {
	load(t)
	enterNamespace(t)
	h := openHandle(t)
	l, err := h.find("tunl0")
	must(t, err)
	must(t, netlink.LinkSetName(l, "cilium_tunl"))
	wantFallback(t, h, "cilium_tunl")
	must(t, h.CreateDevice("cilium_tunl"))
	wantError(t, h.CreateDevice("tunl0"), "cannot create tunl0: cilium_tunl is the ipip device that receives from any to any, and there can be one only (use that name, or rename it)")
}

func TestAnIPIPDeviceThatIsNotAnyToAnyStandsInTheWay(t *testing.T) {
	tests := []struct {
		name string
		tun  netlink.Iptun
		want string
	}{
		{"from one director", netlink.Iptun{Remote: []byte{192, 0, 2, 1}}, "it is remote 192.0.2.1 local any"},
		{"at one address", netlink.Iptun{Local: []byte{192, 0, 2, 2}}, "it is remote any local 192.0.2.2"},
		{"external", netlink.Iptun{FlowBased: true}, "it is external"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			load(t)
			enterNamespace(t)
			test.tun.LinkAttrs = netlink.LinkAttrs{Name: "vip0"}
			must(t, netlink.LinkAdd(&test.tun))
			h := openHandle(t)
			wantError(t, h.CreateDevice("vip0"), "cannot create vip0: the ipip device of that name does not take IPv4 from any to any (delete it): "+test.want)
			wantFallback(t, h, "tunl0")
		})
	}
}

// A device called tunl0, of another kind, keeps the module from loading, for
// the module makes its own first, in every namespace.
func TestADeviceCalledTunl0KeepsTheModuleOut(t *testing.T) {
	enterNamespace(t)
	unload(t)
	must(t, netlink.LinkAdd(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "tunl0"}}))
	t.Cleanup(func() { deleteLink(t, "tunl0") })
	out, err := exec.Command("modprobe", "ipip").CombinedOutput() // says that all is well
	if loaded() {
		t.Errorf("the module is loaded; modprobe: %v %s", err, out)
	}
	h := openHandle(t)
	wantError(t, h.CreateDevice("tunl0"), "cannot create tunl0: there is a device of that name, but of kind dummy, not ipip (rename or delete it)")
	wantError(t, h.CreateDevice("vip0"), "cannot create vip0: the kernel has no ipip: a device of kind dummy is called tunl0, so the module cannot make its own (rename or delete it)")

	<-inNamespaceOf(t, "/proc/1/ns/net")(func() {
		elsewhere, err := Open()
		if err != nil {
			t.Error(err)
			return
		}
		defer elsewhere.Close()
		wantError(t, elsewhere.CreateDevice("tunl0"), "cannot create tunl0: "+noIPIP(Obstacle{}).Error())
	})
}

// The whole way from a line of hardening to the words that name it.
func TestCreateDeviceNamesTheLineThatForbidsTheModule(t *testing.T) {
	unload(t)
	if o := MissingIPIP("/"); o.Cause != "" {
		t.Fatalf("the lab cannot load ipip: %+v", o)
	}
	lines := []struct{ line, want string }{
		{"install ipip /bin/false", "modprobe runs a command instead of loading it: install ipip /bin/false in /run/modprobe.d/test.conf (sed -i -E 's/^ *(install|blacklist) +ipip/# &/' /run/modprobe.d/test.conf)"},
		{"install tunnel4 /bin/true", "modprobe runs a command instead of loading it: install tunnel4 /bin/true in /run/modprobe.d/test.conf (sed -i -E 's/^ *(install|blacklist) +tunnel4/# &/' /run/modprobe.d/test.conf)"},
		{"blacklist ipip", "the kernel may not load it by itself: blacklist ipip in /run/modprobe.d/test.conf (modprobe ipip && echo ipip > /etc/modules-load.d/ipip.conf)"},
	}
	for _, test := range lines {
		t.Run(test.line, func(t *testing.T) {
			unload(t)
			enterNamespace(t)
			const file = "/run/modprobe.d/test.conf"
			must(t, os.MkdirAll(filepath.Dir(file), 0o755))
			must(t, os.WriteFile(file, []byte(test.line+"\n"), 0o644))
			defer os.Remove(file)
			wantError(t, openHandle(t).CreateDevice("tunl0"), "cannot create tunl0: the kernel has no ipip: "+test.want)
		})
	}
}
