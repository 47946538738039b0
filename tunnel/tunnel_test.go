package tunnel

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

func TestObserveListsEveryLinkAndAddress(t *testing.T) {
	enterNamespace(t)
	addVeth(t, "wan", "far")
	must(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}))
	far, err := netlink.LinkByName("far")
	must(t, err)
	must(t, netlink.LinkSetARPOff(far))
	must(t, netlink.LinkSetMTU(far, 1400))
	addAddress(t, "wan", "192.0.2.7/24")
	addAddress(t, "wan", "203.0.113.10/32")
	wan, err := netlink.LinkByName("wan")
	must(t, err)
	ptp, err := netlink.ParseAddr("198.51.100.1/32")
	must(t, err)
	ptp.Peer, err = netlink.ParseIPNet("198.51.100.2/30")
	must(t, err)
	must(t, netlink.AddrAdd(wan, ptp))

	h := openHandle(t)
	must(t, setUp(h, "lo"))
	got, err := h.Observe()
	must(t, err)
	want := Node{
		Links: []Link{
			{Name: "lo", Kind: "device", Up: true, Loopback: true, MTU: 65536},
			{Name: "far", Kind: "veth", NoARP: true, MTU: 1400},
			{Name: "wan", Kind: "veth", MTU: 1500},
			{Name: "br0", Kind: "bridge", MTU: 1500},
		},
		Addresses: map[netip.Addr][]Address{},
		Local:     map[netip.Addr]bool{},
	}
	for p, at := range map[string]Address{
		"127.0.0.1/8":     {Link: "lo", HostScope: true},
		"192.0.2.7/24":    {Link: "wan"},
		"203.0.113.10/32": {Link: "wan"},
		"198.51.100.1/32": {Link: "wan"},
	} {
		at.Prefix = netip.MustParsePrefix(p)
		want.Addresses[at.Prefix.Addr()] = []Address{at}
		want.Local[at.Prefix.Addr()] = true
	}
	// A kernel with tunnel modules has their fallbacks in every namespace.
	fallbacks := cmpopts.IgnoreSliceElements(func(l Link) bool {
		return strings.HasSuffix(l.Name, "0") && l.Name != "br0"
	})
	options := cmp.Options{
		fallbacks,
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmpopts.IgnoreFields(Link{}, "Index"),
		cmpopts.IgnoreFields(Address{}, "LinkIndex"),
	}
	if diff := cmp.Diff(want, got, options); diff != "" {
		t.Errorf("node (-want +got):\n%s", diff)
	}
	for _, at := range got.Addresses {
		if l := link(t, h, at[0].Link); l.Index != at[0].LinkIndex {
			t.Errorf("address %s is on link %d, but %s is %d", at[0].Prefix, at[0].LinkIndex, l.Name, l.Index)
		}
	}
}

func TestAnIPIPLinkIsTheFallbackOnlyIfItReceivesIPv4FromAnyToAny(t *testing.T) {
	tests := []struct {
		name string
		tun  netlink.Iptun
		want Link
	}{
		{"any to any, as the module makes it", netlink.Iptun{Local: []byte{0, 0, 0, 0}, Remote: []byte{0, 0, 0, 0}}, Link{Fallback: true}},
		{"no ends given", netlink.Iptun{}, Link{Fallback: true}},
		{"IPv4 only", netlink.Iptun{Proto: unix.IPPROTO_IPIP}, Link{Fallback: true}},
		{"MPLS only", netlink.Iptun{Proto: unix.IPPROTO_MPLS}, Link{}},
		{"external", netlink.Iptun{FlowBased: true}, Link{External: true}},
		{"one director only", netlink.Iptun{Remote: []byte{192, 0, 2, 1}}, Link{Remote: netip.MustParseAddr("192.0.2.1")}},
		{"one address of the node only", netlink.Iptun{Local: []byte{192, 0, 2, 2}}, Link{Local: netip.MustParseAddr("192.0.2.2")}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.want.Kind = "ipip"
			if got := linkOf(&test.tun); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// A list that was interrupted lacks links or addresses that were there all the
// time; Observe must not return it.
func TestObserveNeverReturnsAPartWhileTheNodeChanges(t *testing.T) {
	enterNamespace(t)
	const links, vips, looksTaken = 60, 300, 100
	for i := range links / 2 {
		addVeth(t, fmt.Sprintf("a%d", i), fmt.Sprintf("b%d", i))
	}
	h := openHandle(t)
	for i := range vips {
		must(t, addVIP(h, fmt.Sprintf("a%d", i%(links/2)), netip.AddrFrom4([4]byte{203, 0, 113 + byte(i/250), byte(i % 250)})))
	}
	stop := make(chan struct{})
	churned := inSameNamespace(t)(func() { churn(t, stop) })
	defer func() { close(stop); <-churned }()

	interrupted := 0 // the kernel says so of one look in a hundred here
	for look := 0; interrupted < 3; look++ {
		if look == 10000 {
			t.Fatalf("%d of %d looks were interrupted", interrupted, look)
		}
		s := newState()
		if err := s.list(h.ask); errors.Is(err, netlink.ErrDumpInterrupted) {
			interrupted++
		}
	}
	complete := 0
	for range looksTaken {
		node, err := h.Observe()
		if errors.Is(err, netlink.ErrDumpInterrupted) || errors.Is(err, errMoving) {
			continue // it says so; that is allowed, but not always
		}
		must(t, err)
		complete++
		permanent := 0
		for _, l := range node.Links {
			if l.Kind == "veth" && l.Name[0] != 'c' {
				permanent++
			}
		}
		if permanent != links {
			t.Fatalf("%d of %d links listed", permanent, links)
		}
		permanent = 0
		for a := range node.Addresses {
			if a.As4()[0] == 203 {
				permanent++
			}
		}
		if permanent != vips {
			t.Fatalf("%d of %d addresses listed", permanent, vips)
		}
	}
	if complete < looksTaken/3 {
		t.Errorf("only %d of %d looks succeeded", complete, looksTaken)
	}
}

// churn adds and deletes links and addresses until stop closes.
func churn(t *testing.T, stop <-chan struct{}) {
	h, err := Open()
	if err != nil {
		t.Error(err)
		return
	}
	defer h.Close()
	for {
		select {
		case <-stop:
			return
		default:
		}
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "c0"}, PeerName: "c1"}
		if err := h.route.LinkAdd(veth); err != nil {
			t.Error(err)
			return
		}
		for i := range 20 {
			vip := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
			if err := addVIP(h, "c0", vip); err != nil {
				t.Error(err)
				return
			}
		}
		if err := h.route.LinkDel(veth); err != nil {
			t.Error(err)
			return
		}
	}
}

func TestHandleStaysInTheNamespaceItWasOpenedIn(t *testing.T) {
	enterNamespace(t)
	addVeth(t, "here", "far")
	h := openHandle(t)
	enterNamespace(t)
	link(t, h, "here")
	if c, err := h.Census(nil, 0).Count(); err != nil || c.Total() != 0 {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestCloseFreesTheSockets(t *testing.T) {
	runtime.GC() // closes what earlier tests left
	before := openFiles(t)
	for range 20 {
		h, err := Open()
		must(t, err)
		h.Close()
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d files were open before, %d are after", before, after)
	}
}

func TestAgainNamesOnlyWhatMayPass(t *testing.T) {
	for _, err := range []error{nl.ErrDumpInterrupted, errMoving, unix.ENOBUFS, unix.EBUSY, unix.EINTR} {
		if !again(fmt.Errorf("wrapped: %w", err)) {
			t.Errorf("%v is not tried again", err)
		}
	}
	for _, err := range []error{unix.EPERM, unix.EAGAIN, unix.EOPNOTSUPP, errors.New("other")} {
		if again(err) {
			t.Errorf("%v is tried again", err)
		}
	}
}
