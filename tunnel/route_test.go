package tunnel

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestRouteToFollowsTheRoutes(t *testing.T) {
	enterNamespace(t)
	h := openHandle(t)
	addVeth(t, "v0", "v1")
	bringUp(t, "v0")
	must(t, addVIP(h, "lo", vip10))
	addAddress(t, "v0", "192.0.2.2/24")
	none := netip.Addr{}
	if got, err := h.RouteTo(vip10, none); err != nil || !got.Local {
		t.Errorf("an address of the node: got %+v and %v", got, err)
	}
	if got, err := h.RouteTo(netip.MustParseAddr("192.0.2.1"), vip10); err != nil || got.Link != link(t, h, "v0").Index || got.Local {
		t.Errorf("a neighbour: got %+v and %v", got, err)
	}
	if got, err := h.RouteTo(netip.MustParseAddr("198.51.100.1"), none); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("nowhere: got %+v and %v", got, err)
	}
	if _, err := h.RouteTo(netip.MustParseAddr("2001:db8::1"), none); err == nil {
		t.Error("IPv6 has a route of IPv4")
	}
}

func TestRouteInIsWhatHappensToAPacket(t *testing.T) {
	client := netip.MustParseAddr("192.0.2.1")
	for _, test := range []struct {
		name    string
		do      func(t *testing.T, h *Handle)
		local   bool
		reasons []error
	}{
		{"a good node", func(*testing.T, *Handle) {}, true, []error{nil}},
		{"strict reverse path filtering", func(t *testing.T, _ *Handle) {
			must(t, os.WriteFile("/proc/sys/net/ipv4/conf/t0/rp_filter", []byte("1"), 0))
		}, false, []error{unix.EXDEV, unix.EINVAL}},
		{"no local route", func(t *testing.T, _ *Handle) {
			must(t, netlink.RouteDel(&netlink.Route{Table: unix.RT_TABLE_LOCAL, Dst: netlink.NewIPNet(vip10.AsSlice()), Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST}))
		}, false, []error{unix.EHOSTUNREACH}},
		{"a rule that throws it away", func(t *testing.T, _ *Handle) {
			must(t, netlink.RouteAdd(&netlink.Route{Table: 100, Dst: netlink.NewIPNet(vip10.AsSlice()), Type: unix.RTN_BLACKHOLE}))
			must(t, netlink.RuleDel(&netlink.Rule{Priority: 0, Table: unix.RT_TABLE_LOCAL, Family: unix.AF_INET, Mark: 0, Goto: -1, Flow: -1, SuppressIfgroup: -1, SuppressPrefixlen: -1}))
			r := netlink.NewRule()
			r.Table, r.Priority = 100, 5
			must(t, netlink.RuleAdd(r))
			r = netlink.NewRule()
			r.Table, r.Priority = unix.RT_TABLE_LOCAL, 10
			must(t, netlink.RuleAdd(r))
		}, false, []error{unix.EINVAL, unix.EHOSTUNREACH}},
	} {
		t.Run(test.name, func(t *testing.T) {
			enterNamespace(t)
			h := openHandle(t)
			addVeth(t, "v0", "v1")
			addVeth(t, "t0", "t1")
			bringUp(t, "v0")
			bringUp(t, "t0")
			addAddress(t, "v0", "192.0.2.2/24")
			must(t, addVIP(h, "t0", vip10))
			test.do(t, h)
			got, err := h.RouteIn(link(t, h, "t0"), vip10, client)
			is := func(reason error) bool { return errors.Is(err, reason) }
			if got.Local != test.local || !slices.ContainsFunc(test.reasons, is) {
				t.Errorf("got %+v and %v, want one of %v", got, err, test.reasons)
			}
		})
	}
}
