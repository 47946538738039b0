package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"rsagent/agent/health"
	"rsagent/tunnel"
	"rsagent/tunnel/path"
)

func TestWhatTheKernelDropsForItsSource(t *testing.T) {
	director, backup, client, vip := netip.MustParseAddr("10.9.0.21"), netip.MustParseAddr("10.9.0.22"), netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("10.9.0.100")
	self := netip.MustParseAddr("10.9.0.31")
	c := declared(t, "vips = [\"10.9.0.100\"]\ndirectors = [\"10.9.0.21\", \"10.9.0.22\"]\n")
	martian, filtered := fmt.Errorf("cannot: %w", unix.EINVAL), fmt.Errorf("cannot: %w", unix.EXDEV)
	dropped := func(a netip.Addr, count int, err error) Source {
		return Source{Addr: a, Link: 2, Count: count, Err: err}
	}
	for _, x := range []struct {
		name   string
		id     string
		do     func(n *Node)
		want   health.Status
		remedy string
	}{
		{"nothing came", pathSourceID, func(*Node) {}, health.OK, ""},
		{"directors are taken in", pathSourceID, func(n *Node) {
			n.Examined.Sources = []Source{dropped(director, 20, nil), dropped(backup, 20, nil)}
		}, health.OK, ""},
		{"the wire may not be watched", pathSourceID, func(n *Node) { n.Examined.Path.WireErr = errors.New("no") }, health.Unknown, ""},
		{"a director has an address of lo", pathSourceID, func(n *Node) {
			n.Examined.Sources = []Source{dropped(director, 20, martian)}
		}, health.Failed, "ip addr del 10.9.0.21/32 dev lo"},
		{"a neighbour that sends nothing has it", pathSourceID, func(n *Node) {
			n.Examined.Sources = []Source{{Addr: director, Link: 2, MAC: "02:00:0a:09:00:15", Err: martian}}
		}, health.Failed, "ip addr del 10.9.0.21/32 dev lo"},
		{"and is taken in all the same", pathSourceID, func(n *Node) {
			n.Examined.Sources = []Source{{Addr: director, Link: 2, MAC: "02:00:0a:09:00:15"}}
		}, health.OK, ""},
		{"it is this node's only address", pathSourceID, func(n *Node) {
			n.Examined.Sources, n.Examined.Path.Node = []Source{dropped(director, 20, martian)}, director
		}, health.Failed, "nothing on this node can mend this: give it, or the other host, another address"},
		{"reverse path filtering drops one of two", pathSourceID, func(n *Node) {
			n.Examined.Sources = []Source{dropped(director, 20, nil), dropped(backup, 20, filtered)}
			n.Examined.Path.Wire.Unwrapped = 20
		}, health.Failed, "sysctl -w net.ipv4.conf.eth0.rp_filter=2"},
		{"a few packets say nothing", pathSourceID, func(n *Node) { n.Examined.Sources = []Source{dropped(backup, 2, filtered)} }, health.OK, ""},
		{"a mark changes the kernel's mind", pathSourceID, func(n *Node) {
			n.Examined.Sources, n.Examined.Path.Wire.Unwrapped = []Source{dropped(director, 20, filtered)}, 20
		}, health.OK, ""},
		{"it came in by a VLAN too", pathSourceID, func(n *Node) {
			n.Examined.Sources = []Source{dropped(director, 20, filtered), {Addr: director, Link: 3, Count: 20}}
		}, health.OK, ""},
		{"a route cannot be asked for", pathSourceID, func(n *Node) { n.Examined.Sources = []Source{dropped(director, 20, errors.New("no"))} }, health.Unknown, ""},

		{"no client has this node's address", pathMartiansID, func(*Node) {}, health.OK, ""},
		{"a client has an address of lo", pathMartiansID, func(n *Node) {
			n.Examined.Path.Wire.Own = map[netip.Addr]int{client: 2}
			n.Examined.Martians = []Source{dropped(client, 2, martian)}
		}, health.Failed, "ip addr del 198.51.100.7/32 dev lo"},
		{"a single packet says nothing", pathMartiansID, func(n *Node) {
			n.Examined.Path.Wire.Own = map[netip.Addr]int{client: 1}
			n.Examined.Martians = []Source{dropped(client, 1, martian)}
		}, health.OK, ""},
		{"local addresses are accepted", pathMartiansID, func(n *Node) {
			n.Examined.Path.Wire.Own = map[netip.Addr]int{client: 9}
			n.Examined.Martians = []Source{dropped(client, 9, nil)}
		}, health.OK, ""},
		{"a client has the node's own address", pathMartiansID, func(n *Node) {
			n.Examined.Path.Wire.Own = map[netip.Addr]int{self: 9}
			n.Examined.Martians = []Source{dropped(self, 9, martian)}
		}, health.Failed, "nothing on this node can mend this: who asks, behind the director, has this node's address"},
	} {
		t.Run(x.name, func(t *testing.T) {
			at := func(a netip.Addr, link string) []tunnel.Address {
				return []tunnel.Address{{Link: link, Prefix: netip.PrefixFrom(a, 32)}}
			}
			n := Node{Facing: []int{2}, Examined: &Examination{Path: path.Facts{
				Node: self, Links: []path.Link{{Index: 2, Name: "eth0", Type: 1, Up: true}, {Index: 3, Name: "eth0.7", Type: 1, Up: true}},
			}}}
			n.Net.Addresses = map[netip.Addr][]tunnel.Address{director: at(director, "lo"), client: at(client, "lo"), self: at(self, "eth0"), vip: at(vip, "tunl0")}
			x.do(&n)
			for _, condition := range diagnosis(c) {
				if condition.ID != x.id {
					continue
				}
				v := condition.Evaluate(n)
				if v.Status != x.want || v.Remedy != x.remedy {
					t.Errorf("got %+v\nwant %s, remedy %q", v, x.want, x.remedy)
				}
			}
		})
	}
}
