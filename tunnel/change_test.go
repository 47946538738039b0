package tunnel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestAVIPIsAddedAlongsideWhatIsThereAndCanBeAddedAgain(t *testing.T) {
	enterNamespace(t)
	addVeth(t, "v0", "v1")
	addAddress(t, "v0", "203.0.113.10/24") // as somebody did by hand
	h := openHandle(t)
	for range 2 {
		must(t, addVIP(h, "v0", netip.MustParseAddr("203.0.113.10")))
		must(t, addVIP(h, "v0", netip.MustParseAddr("203.0.113.11")))
	}
	want := []string{"203.0.113.10/24", "203.0.113.10/32", "203.0.113.11/32"}
	if diff := cmp.Diff(want, addresses(t, h, "v0")); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
}

// A node asks by ARP for a neighbour on an interface that has no address, in
// the name of any address of the node that may be known on a link.
func TestAVIPIsNeverTheOneWhoAsksByARP(t *testing.T) {
	for _, test := range []struct {
		name string
		add  func(t *testing.T, h *Handle)
		want bool
	}{
		{"a VIP", func(t *testing.T, h *Handle) { must(t, addVIP(h, "v0", netip.MustParseAddr("203.0.113.10"))) }, false},
		{"an address that somebody added by hand", func(t *testing.T, _ *Handle) { addAddress(t, "v0", "203.0.113.10/32") }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			enterNamespace(t)
			addVeth(t, "v0", "v1")
			addVeth(t, "bare", "peer")
			h := openHandle(t)
			test.add(t, h)
			must(t, os.WriteFile("/proc/sys/net/ipv4/conf/all/arp_announce", []byte("2"), 0))
			for _, name := range []string{"v0", "bare", "peer"} {
				must(t, setUp(h, name))
			}
			asked := askers(t, "peer")
			bare, err := netlink.LinkByName("bare")
			must(t, err)
			must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: bare.Attrs().Index, Dst: netlink.NewIPNet(net.IPv4(192, 0, 2, 5))}))
			send := func() error { // what the kernel cannot send yet, it asks for
				c, err := net.Dial("udp4", "192.0.2.5:9")
				if err != nil {
					return err
				}
				defer c.Close()
				_, err = c.Write([]byte("x"))
				return err
			}
			_ = send() // fails where the kernel has no source at all
			if got := asked(); got != test.want {
				t.Errorf("asked in the name of the address: %v, want %v", got, test.want)
			}
		})
	}
}

// askers listens on a link for ARP requests, and returns what tells whether
// one came in the name of 203.0.113.10 until now.
func askers(t *testing.T, link string) func() bool {
	t.Helper()
	l, err := netlink.LinkByName(link)
	must(t, err)
	const arp = 0x0608 // ETH_P_ARP in network byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, arp)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	must(t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: arp, Ifindex: l.Attrs().Index}))
	must(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 300000}))
	return func() bool {
		frame := make([]byte, 64)
		for {
			n, _, err := unix.Recvfrom(fd, frame, 0)
			if err != nil {
				return false
			}
			if n >= 28 && netip.AddrFrom4([4]byte(frame[14:18])) == netip.MustParseAddr("203.0.113.10") {
				return true
			}
		}
	}
}

func TestRemoveAddressRemovesThatOneAndCanBeRepeated(t *testing.T) {
	enterNamespace(t)
	addVeth(t, "v0", "v1")
	for _, p := range []string{"203.0.113.10/24", "203.0.113.10/32", "203.0.113.11/32"} {
		addAddress(t, "v0", p)
	}
	h := openHandle(t)
	for range 2 {
		must(t, removeAddress(h, "v0", netip.MustParsePrefix("203.0.113.10/24")))
	}
	want := []string{"203.0.113.10/32", "203.0.113.11/32"}
	if diff := cmp.Diff(want, addresses(t, h, "v0")); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	must(t, removeAddress(h, "gone", netip.MustParsePrefix("203.0.113.10/32")))
}

func TestSetUpAndSetDownCanBeRepeated(t *testing.T) {
	enterNamespace(t)
	addVeth(t, "v0", "v1")
	h := openHandle(t)
	for range 2 {
		must(t, setUp(h, "v0"))
		if !link(t, h, "v0").Up {
			t.Error("v0 is not up")
		}
	}
	for range 2 {
		must(t, setDown(h, "v0"))
		if link(t, h, "v0").Up {
			t.Error("v0 is not down")
		}
	}
}

func TestALocalRouteIsMadeAsTheKernelMakesIt(t *testing.T) {
	enterNamespace(t)
	addVeth(t, "v0", "v1")
	h := openHandle(t)
	vip := netip.MustParseAddr("203.0.113.10")
	must(t, addVIP(h, "v0", vip))
	routes := func() string {
		list, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_LOCAL}, netlink.RT_FILTER_TABLE)
		must(t, err)
		return fmt.Sprint(list)
	}
	before := routes()
	local := netlink.Route{Table: unix.RT_TABLE_LOCAL, Dst: netlink.NewIPNet(net.IP(vip.AsSlice())), Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST}
	must(t, netlink.RouteDel(&local))
	if n, err := h.Observe(); err != nil || n.Local[vip] {
		t.Fatalf("a route that was deleted is still listed, %v", err)
	}
	for range 2 {
		must(t, h.AddLocalRoute(addressOn(h, "v0", netip.PrefixFrom(vip, 32))[0]))
	}
	if diff := cmp.Diff(before, routes()); diff != "" {
		t.Errorf("table local (-the kernel's own +ours):\n%s", diff)
	}
	if n, err := h.Observe(); err != nil || !n.Local[vip] {
		t.Errorf("the route is not listed: %v", err)
	}
}

// One message has room for some; an error among them is told of its own.
func TestThousandsOfAddressesAreChangedAtOnce(t *testing.T) {
	enterNamespace(t)
	addVeth(t, "v0", "v1")
	h := openHandle(t)
	const n = 3*changesAtOnce + 7
	var list []Address
	for i := range n {
		list = append(list, addressOn(h, "v0", netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32))...)
	}
	list[200].LinkIndex, list[200].Link = 9999, "gone"
	for _, err := range slices.Delete(h.AddAddresses(list), 200, 201) {
		must(t, err)
	}
	wantError(t, h.AddAddresses(list)[200], "cannot add 10.0.0.200/32 to gone: no such device")
	if got := len(addresses(t, h, "v0")); got != n-1 {
		t.Errorf("%d of %d addresses were added", got, n-1)
	}
	for _, err := range h.RemoveAddresses(list) {
		must(t, err)
	}
	if got := addresses(t, h, "v0"); len(got) != 0 {
		t.Errorf("%d addresses are left", len(got))
	}
}

func TestCreateDeviceLeavesADeviceOfAnotherKindAlone(t *testing.T) {
	enterNamespace(t)
	h := openHandle(t)
	freeName(t, "tunl0")
	addVeth(t, "tunl0", "v1")
	t.Cleanup(func() { deleteLink(t, "tunl0") })
	wantError(t, h.CreateDevice("tunl0"), "cannot create tunl0: there is a device of that name, but of kind veth, not ipip (rename or delete it)")
	if l := link(t, h, "tunl0"); l.Kind != "veth" {
		t.Errorf("got %+v", l)
	}
}

// deleteLink makes sure that a device is gone when the test is: a namespace
// goes some time later.
func deleteLink(t *testing.T, name string) {
	t.Helper()
	l, err := netlink.LinkByName(name)
	must(t, err)
	must(t, netlink.LinkDel(l))
}

// freeName renames what the kernel may have put into a new namespace.
func freeName(t *testing.T, name string) {
	t.Helper()
	if l, err := netlink.LinkByName(name); err == nil {
		must(t, netlink.LinkSetName(l, "moved"))
	}
}

func TestCreateDeviceMakesItOrSaysThatTheKernelHasNoIPIP(t *testing.T) {
	enterNamespace(t)
	// The kernel's own answer: one that is bound to an address needs no name
	// of its own, and no fallback can be in its way.
	asked := netlink.LinkAdd(&netlink.Iptun{LinkAttrs: netlink.LinkAttrs{Name: "asked"}, Local: []byte{192, 0, 2, 1}})
	enterNamespace(t)
	h := openHandle(t)
	err := h.CreateDevice("tunl0")
	if asked == nil {
		must(t, err)
		must(t, h.CreateDevice("tunl0"))
		if l := link(t, h, "tunl0"); !l.Fallback {
			t.Errorf("got %+v, want any to any", l)
		}
		return
	}
	if !errors.Is(asked, unix.EOPNOTSUPP) {
		t.Fatalf("the kernel says %v", asked)
	}
	if !errors.Is(err, ErrNoIPIP) || !strings.HasPrefix(err.Error(), "cannot create tunl0: the kernel has no ipip") {
		t.Errorf("got %v, want ErrNoIPIP", err)
	}
	t.Log(err)
}

func TestChangesThatCannotBe(t *testing.T) {
	enterNamespace(t)
	addVeth(t, "v0", "v1")
	h := openHandle(t)
	vip := netip.MustParseAddr("203.0.113.10")
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"a VIP for a device that is not there", addVIP(h, "tunl9", vip), "cannot add 203.0.113.10/32 to tunl9: no such device"},
		{"an IPv6 VIP", addVIP(h, "v0", netip.MustParseAddr("2001:db8::1")), "cannot add 2001:db8::1/128 to v0: not an IPv4 address"},
		{"no VIP at all", addVIP(h, "v0", netip.Addr{}), "cannot add invalid Prefix to v0: not an IPv4 address"},
		{"no address to remove", removeAddress(h, "v0", netip.Prefix{}), "cannot remove invalid Prefix from v0: not an IPv4 address"},
		{"a device that is not there, up", setUp(h, "tunl9"), "cannot set tunl9 up: no such device"},
		{"a device that is not there, down", setDown(h, "tunl9"), "cannot set tunl9 down: no such device"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { wantError(t, test.err, test.want) })
	}
}

func TestWithoutThePrivilegeChangesFailAndLooksDoNot(t *testing.T) {
	enterNamespace(t)
	addVeth(t, "v0", "v1")
	must(t, netlink.AddrAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "v0"}}, mustAddr(t, "192.0.2.1/24")))
	dropPrivilege(t)
	h := openHandle(t)
	vip := netip.MustParseAddr("203.0.113.10")
	const because = ": operation not permitted (rsagent needs CAP_NET_ADMIN)"
	wantError(t, addVIP(h, "v0", vip), "cannot add 203.0.113.10/32 to v0"+because)
	wantError(t, removeAddress(h, "v0", netip.MustParsePrefix("192.0.2.1/24")), "cannot remove 192.0.2.1/24 from v0"+because)
	wantError(t, setUp(h, "v0"), "cannot set v0 up"+because)
	wantError(t, setDown(h, "v0"), "cannot set v0 down"+because)
	if _, err := netlink.LinkByName("tunl0"); err != nil {
		wantError(t, h.CreateDevice("tunl0"), "cannot create tunl0"+because)
	}
	if err := addVIP(h, "v0", vip); !errors.Is(err, os.ErrPermission) {
		t.Errorf("%v is not os.ErrPermission", err)
	}
	if diff := cmp.Diff([]string{"192.0.2.1/24"}, addresses(t, h, "v0")); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	if _, err := h.Census([]netip.AddrPort{netip.AddrPortFrom(vip, 0)}, 0).Count(); err != nil {
		t.Error(err)
	}
}

func mustAddr(t *testing.T, s string) *netlink.Addr {
	t.Helper()
	a, err := netlink.ParseAddr(s)
	must(t, err)
	return a
}

// dropPrivilege takes CAP_NET_ADMIN from the thread of the test, which ends
// with it.
func dropPrivilege(t *testing.T) {
	t.Helper()
	header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	must(t, unix.Capget(header, &data[0]))
	data[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	must(t, unix.Capset(header, &data[0]))
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}
