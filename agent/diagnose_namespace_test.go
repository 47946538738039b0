package agent

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/probe/sockets"
	"rsagent/tunnel"
)

func TestWhereTheNodeIsElsewhereOnlyThatIsSaid(t *testing.T) {
	for name, conditions := range map[string][]Condition{"with a configuration": Examined(oneVIP(t)), "without": found(goodNode())} {
		n := goodNode()
		n.Net = tunnel.Node{}
		n.Examined.Elsewhere = &Elsewhere{Namespace: tunnel.Namespace{Name: "web"}, VIP: vip, Device: "tunl0"}
		for _, f := range evaluate(conditions, n) {
			switch {
			case f.ID == namespaceID:
				want := health.Finding{Status: health.Failed, Remedy: "ip netns exec web rsagent check",
					Got: "no VIP is here, and nobody listens for one; in the network namespace web tunl0 holds 203.0.113.10, and a service listens there"}
				if diff := cmp.Diff(want, health.Finding{Status: f.Status, Got: f.Got, Remedy: f.Remedy}); diff != "" {
					t.Errorf("%s: -want +got:\n%s", name, diff)
				}
			case f.ID != "weight" && f.Status != health.Skipped:
				t.Errorf("%s: %s is %s", name, f.ID, f.Status)
			}
		}
	}
}

func found(n Node) []Condition {
	_, conditions := Found(n)
	return conditions
}

func TestANodeIsKnownByATunnelThatHoldsItsVIP(t *testing.T) {
	other := netip.MustParseAddr("203.0.113.11")
	node := func(kind string, up bool, prefix string) tunnel.Node {
		n := Node{Net: tunnel.Node{Links: []tunnel.Link{{Index: 3, Name: "t", Kind: kind, Up: up}}}}
		n.address("t", prefix)
		return n.Net
	}
	for _, test := range []struct {
		name  string
		vips  []netip.Addr
		there tunnel.Node
		want  *Elsewhere
	}{
		{"a node", []netip.Addr{vip}, node("ipip", true, "203.0.113.10/32"), &Elsewhere{VIP: vip, Device: "t"}},
		{"no VIP is known", nil, node("ipip", true, "203.0.113.11/32"), &Elsewhere{VIP: other, Device: "t"}},
		{"the node of another VIP", []netip.Addr{vip}, node("ipip", true, "203.0.113.11/32"), nil},
		{"a tunnel that is down", []netip.Addr{vip}, node("ipip", false, "203.0.113.10/32"), nil},
		{"a director", []netip.Addr{vip}, node("device", true, "203.0.113.10/32"), nil},
		{"a tunnel between networks", nil, node("ipip", true, "10.1.0.1/24"), nil},
		{"nothing", nil, tunnel.Node{}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := nodeIn(config.Config{VIPs: test.vips}, test.there)
			if diff := cmp.Diff(test.want, got, cmp.Comparer(func(a, b Elsewhere) bool { return a == b })); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestAServiceInAnotherNamespaceIsToldFromContainers(t *testing.T) {
	listening := func(group string) *Services {
		return &Services{
			Listeners: []sockets.Listener{{Addr: netip.MustParseAddrPort("0.0.0.0:80"), Inode: 9}},
			Owners:    map[uint32][]sockets.Process{9: {{PID: 7, Name: "nginx", Group: sockets.Group{Path: group}}}},
		}
	}
	units := []Unit{{Name: "nginx"}}
	for group, want := range map[string]bool{"/system.slice/nginx.service": true, "/system.slice/docker-1a2b.scope": false, "/system.slice/apache2.service": false, "": false} {
		if got := listening(group).ofUnit(units); (got != nil) != want {
			t.Errorf("%q: %+v", group, got)
		}
	}
	n := goodNode()
	n.Examined.Services.Listeners, n.Examined.Services.Units = nil, units
	n.Examined.Served = listening("/system.slice/nginx.service").ofUnit(units)
	n.Examined.Served.Namespace = tunnel.Namespace{Name: "web"}
	down(&n, "connection refused")
	want := "failed service/listens/web: nothing listens on port 80 | nginx (process 7) listens on it in the network namespace web: rsagent is in another one than the service | " +
		"let the unit of rsagent run where that of the service does (systemctl edit rsagent; NetworkNamespacePath= in systemd.exec(5)); see how it is there: ip netns exec web rsagent check\n"
	if diff := cmp.Diff(want, attention(t, Examined(oneVIP(t)), n)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
