package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/probe"
	"rsagent/sysctl"
	"rsagent/tunnel"
)

var vip = netip.MustParseAddr("203.0.113.10")

func declared(t testing.TB, text string) config.Config {
	t.Helper()
	c, err := config.Parse("rsagent.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func oneVIP(t *testing.T) config.Config {
	return declared(t, `vips = ["203.0.113.10"]
directors = ["10.0.0.1"]
[sysctl]
"net.ipv4.tcp_fin_timeout" = "15"
"net.ipv4.tcp_tw_recycle" = "1"
[[pool]]
name = "web"
vip = "203.0.113.10"
port = 80
`)
}

// goodNode is a node on which every condition of oneVIP holds, but for the
// setting that no kernel has any more.
func goodNode() Node {
	n := Node{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Net: tunnel.Node{Links: []tunnel.Link{
			{Index: 1, Name: "lo", Kind: "device", Up: true, Loopback: true},
			{Index: 2, Name: "eth0", Kind: "device", Up: true, MTU: 1500},
			{Index: 3, Name: "tunl0", Kind: "ipip", Up: true, NoARP: true, Fallback: true},
			{Index: 4, Name: "eth0.100", Kind: "vlan", Up: true, MTU: 1500},
		}},
		Sysctl:   sysctl.Values{"net/ipv4/tcp_tw_recycle": {Err: fs.ErrNotExist}},
		Pools:    map[string]probe.Result{"web": {State: probe.Up}},
		Facing:   []int{2},
		Firewall: state(wholeFirewall(1440)),
		Examined: &Examination{Services: goodServices()},
	}
	n.address("eth0", "10.0.0.5/24")
	n.address("tunl0", "203.0.113.10/32")
	n.set("net/ipv4/tcp_fin_timeout=15", "net/ipv4/conf/all/arp_ignore=1",
		"net/ipv4/conf/all/arp_announce=2", "net/ipv4/conf/all/rp_filter=0",
		"net/ipv4/conf/default/arp_ignore=0", "net/ipv4/conf/default/arp_announce=0",
		"net/ipv4/conf/eth0/arp_ignore=0", "net/ipv4/conf/eth0/arp_announce=0",
		"net/ipv4/conf/eth0.100/arp_ignore=0", "net/ipv4/conf/eth0.100/arp_announce=0",
		"net/ipv4/conf/tunl0/rp_filter=0", "net/ipv4/tcp_synack_retries=5")
	for _, iface := range []string{"all", "default", "lo", "eth0", "tunl0", "eth0.100"} {
		n.conf(iface, "accept_redirects=0", "send_redirects=0", "forwarding=0")
	}
	return n
}

// wholeFirewall is the packet filter that oneVIP wants, for an MSS.
func wholeFirewall(mss int) tunnel.Firewall {
	return tunnel.Firewall{
		Guard: true, Directors: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")},
		VIPs: []netip.Addr{vip}, Device: "tunl0", MSS: mss,
	}
}

func state(f tunnel.Firewall) tunnel.FirewallState {
	s, err := f.State()
	if err != nil {
		panic(err)
	}
	return s
}

func (n *Node) address(link, prefix string) {
	if n.Net.Addresses == nil {
		n.Net.Addresses = make(map[netip.Addr][]tunnel.Address)
	}
	p := netip.MustParsePrefix(prefix)
	n.Net.Addresses[p.Addr()] = append(n.Net.Addresses[p.Addr()], tunnel.Address{Link: link, Prefix: p})
	if n.Net.Local == nil {
		n.Net.Local = make(map[netip.Addr]bool)
	}
	n.Net.Local[p.Addr()] = true
}

func (n *Node) set(settings ...string) {
	for _, s := range settings {
		key, value, _ := strings.Cut(s, "=")
		n.Sysctl[sysctl.Key(key)] = sysctl.Value{Text: value}
	}
}

// conf sets what stands below conf/IFACE.
func (n *Node) conf(iface string, settings ...string) {
	for _, s := range settings {
		n.set("net/ipv4/conf/" + iface + "/" + s)
	}
}

func (n *Node) dropLink(name string) {
	for i, l := range n.Net.Links {
		if l.Name == name {
			n.Net.Links = append(n.Net.Links[:i:i], n.Net.Links[i+1:]...)
			return
		}
	}
}

// notOK renders the findings that are not ok, and the steps that a round
// would take, one a line.
func notOK(conditions []Condition, n Node) string {
	var b strings.Builder
	for i, f := range evaluate(conditions, n) {
		if f.Status == health.OK || f.ID == "sysctl/set/net.ipv4.tcp_tw_recycle" {
			continue
		}
		if f.Status == health.Skipped {
			fmt.Fprintf(&b, "skipped %s\n", f.ID)
			continue
		}
		fmt.Fprintf(&b, "%s %s: %s\n", f.Status, f.ID, f.Got)
		if c := conditions[i]; c.Repair != nil && f.Status == health.Failed {
			for _, s := range c.Repair(n) {
				fmt.Fprintf(&b, "  %s: %s -> %s\n", s.What, s.Old, s.New)
			}
		}
	}
	return b.String()
}

func TestConditionsJudgeANode(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(*Node)
		want  string
	}{
		{"a good node has nothing to report", func(*Node) {}, ""},
		{"an open ARP setting is closed before the VIP comes", func(n *Node) {
			n.set("net/ipv4/conf/all/arp_ignore=0")
			delete(n.Net.Addresses, vip)
		}, `failed sysctl/arp_ignore/all: net.ipv4.conf.all.arp_ignore = 0, net.ipv4.conf.default.arp_ignore = 0
  net.ipv4.conf.all.arp_ignore: 0 -> 1
skipped sysctl/arp_ignore/interfaces
skipped tunnel/device
skipped sysctl/rp_filter/tunl0
skipped tunnel/vip/203.0.113.10
skipped tunnel/prefix
skipped tunnel/local
skipped tunnel/up
skipped tunnel/in
skipped tunnel/out
skipped tunnel/foreign
skipped pool/web
`},
		{"an ARP setting of the tunnel device protects nobody", func(n *Node) {
			n.set("net/ipv4/conf/all/arp_ignore=0")
			n.conf("tunl0", "arp_ignore=1", "arp_announce=2")
		}, `failed sysctl/arp_ignore/all: net.ipv4.conf.all.arp_ignore = 0, net.ipv4.conf.default.arp_ignore = 0
  net.ipv4.conf.all.arp_ignore: 0 -> 1
skipped sysctl/arp_ignore/interfaces
skipped tunnel/device
skipped sysctl/rp_filter/tunl0
skipped tunnel/vip/203.0.113.10
skipped tunnel/prefix
skipped tunnel/local
skipped tunnel/up
skipped tunnel/in
skipped tunnel/out
skipped tunnel/foreign
skipped pool/web
`},
		{"a new interface, whatever its name, needs nothing but conf/all", func(n *Node) {
			for i, name := range []string{"bond0", "eth0.200", "lan\u2215all", "a.b.c"} {
				n.Net.Links = append(n.Net.Links, tunnel.Link{Index: 10 + i, Name: name, Kind: "vlan", Up: true, MTU: 1500})
				n.conf(name, "arp_ignore=0", "arp_announce=0", "accept_redirects=0", "send_redirects=0", "forwarding=0")
			}
		}, ""},
		{"a new interface that came with values of its own", func(n *Node) {
			n.Net.Links = append(n.Net.Links, tunnel.Link{Index: 10, Name: "lan\u2215.1", Kind: "bond", Up: true, MTU: 1500})
			n.conf("lan\u2215.1", "arp_ignore=4", "arp_announce=3", "accept_redirects=1", "send_redirects=1", "forwarding=0")
		}, `failed sysctl/arp_ignore/interfaces: net.ipv4.conf.lan∕/1.arp_ignore = 4
  net.ipv4.conf.lan∕/1.arp_ignore: 4 -> 1
failed sysctl/arp_announce/interfaces: net.ipv4.conf.lan∕/1.arp_announce = 3
  net.ipv4.conf.lan∕/1.arp_announce: 3 -> 2
skipped tunnel/device
skipped sysctl/rp_filter/tunl0
skipped tunnel/vip/203.0.113.10
skipped tunnel/prefix
skipped tunnel/local
skipped tunnel/up
skipped tunnel/in
skipped tunnel/out
skipped tunnel/foreign
failed sysctl/accept_redirects/interfaces: net.ipv4.conf.lan∕/1.accept_redirects = 1
  net.ipv4.conf.lan∕/1.accept_redirects: 1 -> 0
failed sysctl/send_redirects/interfaces: net.ipv4.conf.lan∕/1.send_redirects = 1
  net.ipv4.conf.lan∕/1.send_redirects: 1 -> 0
skipped pool/web
`},
		{"an interface whose own value opens it", func(n *Node) { n.set("net/ipv4/conf/eth0.100/arp_ignore=3") },
			`failed sysctl/arp_ignore/interfaces: net.ipv4.conf.eth0/100.arp_ignore = 3
  net.ipv4.conf.eth0/100.arp_ignore: 3 -> 1
skipped tunnel/device
skipped sysctl/rp_filter/tunl0
skipped tunnel/vip/203.0.113.10
skipped tunnel/prefix
skipped tunnel/local
skipped tunnel/up
skipped tunnel/in
skipped tunnel/out
skipped tunnel/foreign
skipped pool/web
`},
		{"an arp_announce that is too small speaks", func(n *Node) { n.set("net/ipv4/conf/all/arp_announce=1") },
			`failed sysctl/arp_announce/all: net.ipv4.conf.all.arp_announce = 1, net.ipv4.conf.default.arp_announce = 0
  net.ipv4.conf.all.arp_announce: 1 -> 2
skipped sysctl/arp_announce/interfaces
skipped tunnel/device
skipped sysctl/rp_filter/tunl0
skipped tunnel/vip/203.0.113.10
skipped tunnel/prefix
skipped tunnel/local
skipped tunnel/up
skipped tunnel/in
skipped tunnel/out
skipped tunnel/foreign
skipped pool/web
`},
		{"an arp_announce that is too large speaks", func(n *Node) { n.set("net/ipv4/conf/all/arp_announce=3") },
			`failed sysctl/arp_announce/all: net.ipv4.conf.all.arp_announce = 3, net.ipv4.conf.default.arp_announce = 0
  net.ipv4.conf.all.arp_announce: 3 -> 2
skipped sysctl/arp_announce/interfaces
skipped tunnel/device
skipped sysctl/rp_filter/tunl0
skipped tunnel/vip/203.0.113.10
skipped tunnel/prefix
skipped tunnel/local
skipped tunnel/up
skipped tunnel/in
skipped tunnel/out
skipped tunnel/foreign
skipped pool/web
`},
		{"a default that would open the next interface", func(n *Node) { n.set("net/ipv4/conf/default/arp_ignore=4") },
			`failed sysctl/arp_ignore/all: net.ipv4.conf.all.arp_ignore = 1, net.ipv4.conf.default.arp_ignore = 4
  net.ipv4.conf.default.arp_ignore: 4 -> 1
skipped sysctl/arp_ignore/interfaces
skipped tunnel/device
skipped sysctl/rp_filter/tunl0
skipped tunnel/vip/203.0.113.10
skipped tunnel/prefix
skipped tunnel/local
skipped tunnel/up
skipped tunnel/in
skipped tunnel/out
skipped tunnel/foreign
skipped pool/web
`},
		{"an interface that went while it was looked at", func(n *Node) {
			for _, key := range []sysctl.Key{"net/ipv4/conf/eth0.100/arp_ignore", "net/ipv4/conf/eth0.100/arp_announce"} {
				n.Sysctl[key] = sysctl.Value{Err: fs.ErrNotExist}
			}
		}, ""},
		{"strict filtering on the device", func(n *Node) { n.conf("tunl0", "rp_filter=1") },
			`failed sysctl/rp_filter/tunl0: net.ipv4.conf.tunl0.rp_filter = 1, net.ipv4.conf.all.rp_filter = 0
  net.ipv4.conf.tunl0.rp_filter: 1 -> 2
skipped tunnel/in
skipped tunnel/out
`},
		{"strict filtering everywhere, as a distribution or udev has it", func(n *Node) {
			for _, iface := range []string{"all", "default", "tunl0", "eth0"} {
				n.conf(iface, "rp_filter=1")
			}
		}, `failed sysctl/rp_filter/tunl0: net.ipv4.conf.tunl0.rp_filter = 1, net.ipv4.conf.all.rp_filter = 1
  net.ipv4.conf.tunl0.rp_filter: 1 -> 2
skipped tunnel/in
skipped tunnel/out
`},
		{"strict filtering by conf.all is mended on the device", func(n *Node) { n.set("net/ipv4/conf/all/rp_filter=1") },
			`failed sysctl/rp_filter/tunl0: net.ipv4.conf.tunl0.rp_filter = 0, net.ipv4.conf.all.rp_filter = 1
  net.ipv4.conf.tunl0.rp_filter: 0 -> 2
skipped tunnel/in
skipped tunnel/out
`},
		{"strict conf.all with a loose device is good", func(n *Node) {
			n.set("net/ipv4/conf/all/rp_filter=1", "net/ipv4/conf/tunl0/rp_filter=2")
		}, ""},
		{"a packet filter that somebody flushed", func(n *Node) { n.Firewall = tunnel.FirewallState{} },
			`failed tunnel/firewall: the table is not there
  table ip rsagent: the table is not there -> only the directors in, only VIPs through the tunnel, MSS at most 1440
`},
		{"an interface towards the directors with a smaller MTU", func(n *Node) {
			n.Net.Links[1].MTU = 1400
			n.Firewall = state(wholeFirewall(1340))
		}, ""},
		{"the interface of others does not count", func(n *Node) { n.Net.Links[3].MTU = 1280 }, ""},
		{"without a route to the directors every interface counts", func(n *Node) {
			n.Facing = nil
			n.Net.Links[3].MTU = 1280
			n.Firewall = state(wholeFirewall(1220))
		}, ""},
		{"a packet filter that cannot be looked at is unknown", func(n *Node) { n.FirewallErr = errors.New("operation not permitted") },
			"unknown tunnel/firewall: operation not permitted\n"},
		{"a kernel without nf_tables has no guard", func(n *Node) {
			n.Firewall, n.FirewallErr = tunnel.FirewallState{}, tunnel.ErrNoNFTables
		},
			`failed tunnel/firewall: the kernel has no nf_tables, or lacks a part of it (module missing, or may not be loaded)
  table ip rsagent: the table is not there -> only the directors in, only VIPs through the tunnel, MSS at most 1440
`},
		{"no device", func(n *Node) {
			n.dropLink("tunl0")
			delete(n.Net.Addresses, vip)
		}, `failed tunnel/device: no device tunl0
  device tunl0: absent -> ipip, any to any
skipped sysctl/rp_filter/tunl0
skipped tunnel/vip/203.0.113.10
skipped tunnel/prefix
skipped tunnel/local
skipped tunnel/up
skipped tunnel/in
skipped tunnel/out
skipped tunnel/foreign
skipped pool/web
`},
		{"a kernel without IPIP", func(n *Node) {
			n.dropLink("tunl0")
			n.IPIP = tunnel.Obstacle{Cause: "it is not there", Certain: true}
		}, `failed kernel/ipip: no IPIP in this kernel
skipped tunnel/kind
skipped tunnel/device
skipped sysctl/rp_filter/tunl0
skipped tunnel/vip/203.0.113.10
skipped tunnel/prefix
skipped tunnel/local
skipped tunnel/up
skipped tunnel/in
skipped tunnel/out
skipped tunnel/foreign
skipped pool/web
`},
		{"a device of another kind", func(n *Node) { n.Net.Links[2].Kind, n.Net.Links[2].Fallback = "gre", false },
			`failed tunnel/kind: tunl0 of kind "gre"
skipped tunnel/device
skipped sysctl/rp_filter/tunl0
skipped tunnel/vip/203.0.113.10
skipped tunnel/prefix
skipped tunnel/local
skipped tunnel/up
skipped tunnel/in
skipped tunnel/out
skipped tunnel/foreign
skipped pool/web
`},
		{"the fallback device under another name", func(n *Node) {
			n.Net.Links[2].Name = "cilium_tunl"
			n.conf("cilium_tunl", "accept_redirects=0", "send_redirects=0", "forwarding=0")
		},
			`failed tunnel/kind: no tunl0, but cilium_tunl, which receives every IPIP packet
skipped tunnel/device
skipped sysctl/rp_filter/tunl0
skipped tunnel/vip/203.0.113.10
skipped tunnel/prefix
skipped tunnel/local
skipped tunnel/up
skipped tunnel/in
skipped tunnel/out
skipped tunnel/foreign
skipped pool/web
`},
		{"a VIP with a network around it", func(n *Node) { n.address("tunl0", "203.0.113.10/24") },
			`failed tunnel/prefix: 203.0.113.10/24 on tunl0
  address 203.0.113.10/24 on tunl0: present -> absent
`},
		{"a VIP with a network around it, and no /32 yet", func(n *Node) {
			delete(n.Net.Addresses, vip)
			n.address("tunl0", "203.0.113.10/24")
		},
			`failed tunnel/vip/203.0.113.10: 203.0.113.10/24 on tunl0
  address 203.0.113.10/32 on tunl0: absent -> present
skipped pool/web
`},
		{"a VIP that nobody delivers", func(n *Node) { delete(n.Net.Local, vip) },
			`failed tunnel/local: no local route to 203.0.113.10
  local route of 203.0.113.10: absent -> present
skipped tunnel/in
skipped tunnel/out
`},
		{"a rule that throws away what comes in", func(n *Node) {
			n.Ways = []Way{{VIP: vip, Client: anywhere, InErr: fmt.Errorf("cannot find it: %w", unix.EHOSTUNREACH)}}
		},
			`failed tunnel/in: the kernel drops what comes from 198.41.0.4 for 203.0.113.10: no route to host
skipped tunnel/out
`},
		{"a route that sends on what comes in", func(n *Node) {
			n.Ways = []Way{{VIP: vip, Client: anywhere, In: tunnel.Route{Link: 2}}}
		},
			`failed tunnel/in: the kernel sends what comes from 198.41.0.4 for 203.0.113.10 on to another host
skipped tunnel/out
`},
		{"one client of two that can be served", func(n *Node) {
			n.Ways = []Way{
				{VIP: vip, Client: anywhere, InErr: unix.EXDEV},
				{VIP: vip, Client: vip.Next(), In: tunnel.Route{Local: true}, Out: tunnel.Route{Link: 2}},
			}
		}, ""},
		{"answers that go back into the tunnel", func(n *Node) {
			n.Ways = []Way{{VIP: vip, Client: anywhere, In: tunnel.Route{Local: true}, Out: tunnel.Route{Link: 3}}}
		}, "failed tunnel/out: the kernel sends from 203.0.113.10 to 198.41.0.4 by tunl0\n"},
		{"a kernel that does not say where to is no kernel that refuses", func(n *Node) {
			n.Ways = []Way{{VIP: vip, Client: anywhere, InErr: errors.New("no answer")}}
		}, "unknown tunnel/in: no answer\nskipped tunnel/out\n"},
		{"a VIP that is not there", func(n *Node) { delete(n.Net.Addresses, vip) },
			`failed tunnel/vip/203.0.113.10: 203.0.113.10 is not on tunl0
  address 203.0.113.10/32 on tunl0: absent -> present
skipped pool/web
`},
		{"a VIP on an interface that speaks ARP", func(n *Node) { n.address("eth0", "203.0.113.10/24") },
			`failed arp/vip/203.0.113.10: 203.0.113.10/24 on eth0
skipped tunnel/vip/203.0.113.10
skipped pool/web
`},
		{"a VIP on lo too does no harm", func(n *Node) { n.address("lo", "203.0.113.10/32") }, ""},
		{"a device that is down", func(n *Node) { n.Net.Links[2].Up = false },
			`failed tunnel/up: tunl0 is down
  device tunl0: down -> up
skipped tunnel/in
skipped tunnel/out
`},
		{"a tunnel that cannot be guarded is not opened", func(n *Node) {
			n.Net.Links[2].Up = false
			n.Firewall, n.FirewallErr = tunnel.FirewallState{}, errors.New("operation not permitted")
		}, "unknown tunnel/firewall: operation not permitted\nfailed tunnel/up: tunl0 is down\nskipped tunnel/in\nskipped tunnel/out\n"},
		{"a foreign address is reported only", func(n *Node) { n.address("tunl0", "192.0.2.1/32") },
			"failed tunnel/foreign: 192.0.2.1/32\n"},
		{"a setting that drifted", func(n *Node) { n.set("net/ipv4/tcp_fin_timeout=60") },
			`failed sysctl/set/net.ipv4.tcp_fin_timeout: 60
  net.ipv4.tcp_fin_timeout: 60 -> 15
`},
		{"a service that fails", func(n *Node) { n.Pools["web"] = probe.Result{State: probe.Down, Detail: "connection refused"} },
			"failed pool/web: connection refused\n"},
		{"a service that was not asked yet", func(n *Node) { n.Pools = nil }, "unknown pool/web: not probed yet\n"},
		{"a look that failed is unknown and repairs nothing", func(n *Node) {
			n.NetErr = errors.New("cannot list the links")
			n.Firewall = state(wholeFirewall(1340)) // as it fits an MTU that is not known now
			n.Net, n.Net.Addresses = tunnel.Node{}, nil
		}, `unknown kernel/ipip: cannot list the links
skipped tunnel/kind
unknown arp/vip/203.0.113.10: cannot list the links
unknown sysctl/arp_ignore/interfaces: cannot list the links
unknown sysctl/arp_announce/interfaces: cannot list the links
unknown tunnel/firewall: cannot list the links
skipped tunnel/device
skipped sysctl/rp_filter/tunl0
skipped tunnel/vip/203.0.113.10
skipped tunnel/prefix
skipped tunnel/local
skipped tunnel/up
skipped tunnel/in
skipped tunnel/out
skipped tunnel/foreign
unknown sysctl/accept_redirects/interfaces: cannot list the links
unknown sysctl/send_redirects/interfaces: cannot list the links
skipped pool/web
`},
		{"a setting that cannot be read is unknown", func(n *Node) {
			n.Sysctl["net/ipv4/conf/tunl0/rp_filter"] = sysctl.Value{Err: errors.New("cannot read it")}
		}, "unknown sysctl/rp_filter/tunl0: cannot tell the effective rp_filter of tunl0: cannot read it\nskipped tunnel/in\nskipped tunnel/out\n"},
		{"a draining node", func(n *Node) { n.Draining = map[string]DrainState{wholeNode: {Why: "SIGTERM"}} }, "failed drain: draining\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := goodNode()
			test.spoil(&n)
			conditions := append(Conditions(oneVIP(t)), notDraining(wholeNode))
			if diff := cmp.Diff(test.want, notOK(conditions, n)); diff != "" {
				t.Errorf("findings and steps (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConfiguredReversePathFilterYieldsToConfAll(t *testing.T) {
	c := declared(t, `vips = ["203.0.113.10"]
directors = ["10.0.0.1"]
[sysctl]
"net.ipv4.conf.tunl0.rp_filter" = "0"
`)
	for _, test := range []struct{ name, all, own, want string }{
		{"0 is in force while conf.all is 0", "0", "0", ""},
		{"0 is put back while conf.all is 0", "0", "2", "failed sysctl/set/net.ipv4.conf.tunl0.rp_filter: 2\n  net.ipv4.conf.tunl0.rp_filter: 2 -> 0\n"},
		{"2 is in force while conf.all is strict", "1", "2", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := goodNode()
			n.set("net/ipv4/conf/all/rp_filter="+test.all, "net/ipv4/conf/tunl0/rp_filter="+test.own)
			if diff := cmp.Diff(test.want, notOK(Conditions(c), n)); diff != "" {
				t.Errorf("findings and steps (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMissingSettingsSayWhy(t *testing.T) {
	for _, test := range []struct{ name, key, want string }{
		{"a setting that went", "net/ipv4/tcp_tw_recycle", "Linux 4.12"},
		{"an interface that is not there", "net/ipv4/conf/eth1/rp_filter", "no interface eth1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := whyMissing(sysctl.Key(test.key)); !strings.Contains(got, test.want) {
				t.Errorf("want a reason with %q, got %q", test.want, got)
			}
		})
	}
}

// Promise 1: whatever the settings are, a round adds a VIP only to a node on
// which the kernel's effective values keep every interface silent.
func TestNoVIPIsAddedWhileARPIsOpen(t *testing.T) {
	conditions := Conditions(oneVIP(t))
	rapid.Check(t, func(t *rapid.T) {
		n := goodNode()
		delete(n.Net.Addresses, vip)
		ignore, announce := map[string]int{}, map[string]int{}
		for _, iface := range []string{"all", "eth0", "eth0.100"} {
			ignore[iface] = rapid.IntRange(0, 9).Draw(t, iface+" arp_ignore")
			announce[iface] = rapid.IntRange(0, 4).Draw(t, iface+" arp_announce")
			n.set(fmt.Sprintf("net/ipv4/conf/%s/arp_ignore=%d", iface, ignore[iface]),
				fmt.Sprintf("net/ipv4/conf/%s/arp_announce=%d", iface, announce[iface]))
		}
		silent := true
		for _, iface := range []string{"eth0", "eth0.100"} {
			i := max(ignore["all"], ignore[iface])
			silent = silent && (i == 1 || i == 2 || i == 8) && max(announce["all"], announce[iface]) == 2
		}
		for _, f := range evaluate(conditions, n) {
			if f.ID == vipID(vip) && f.Status == health.Failed && !silent {
				t.Fatalf("the VIP would be added with arp_ignore %v and arp_announce %v", ignore, announce)
			}
		}
	})
}

func TestNeedsNameEarlierConditions(t *testing.T) {
	_, found := Found(goodNode())
	for name, conditions := range map[string][]Condition{
		"declared": append(Conditions(oneVIP(t)), notDraining(wholeNode)), "found": found,
		"examined": Examined(oneVIP(t)),
	} {
		seen := make(map[string]bool)
		for _, c := range conditions {
			if seen[c.ID] {
				t.Errorf("%s: two conditions are called %s", name, c.ID)
			}
			for _, need := range c.Needs {
				if !seen[need] {
					t.Errorf("%s: %s needs %s, which does not stand before it", name, c.ID, need)
				}
			}
			seen[c.ID] = true
		}
	}
}

func TestEachConditionSaysWhatAClientSeesOfIt(t *testing.T) {
	_, found := Found(goodNode())
	for _, c := range append(append(Examined(oneVIP(t)), found...), notDraining(wholeNode)) {
		if !strings.HasSuffix(c.Effect, ".") || strings.HasSuffix(c.Title, ".") {
			t.Errorf("%s: title %q, effect %q, want the effect to be a sentence and the title without a full stop", c.ID, c.Title, c.Effect)
		}
	}
}

func TestANodeWithoutConfigurationIsJudgedByWhatStandsOnIt(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(*Node)
		want  string
	}{
		{"a node set up by hand is good", func(*Node) {}, ""},
		{"protection on the interfaces alone is enough", func(n *Node) {
			n.set("net/ipv4/conf/all/arp_ignore=0", "net/ipv4/conf/eth0/arp_ignore=1", "net/ipv4/conf/eth0.100/arp_ignore=2")
		}, ""},
		{"a stock node's redirects are no news", func(n *Node) {
			for _, iface := range []string{"all", "default", "lo", "eth0", "tunl0", "eth0.100"} {
				n.conf(iface, "accept_redirects=1", "send_redirects=1")
			}
		}, ""},
		{"a VIP on lo", func(n *Node) {
			delete(n.Net.Addresses, vip)
			n.address("lo", "203.0.113.10/32")
			n.address("lo", "127.0.0.1/8")
		}, ""},
		{"a bare machine has no VIP, and its ARP is its own business", func(n *Node) {
			delete(n.Net.Addresses, vip)
			n.set("net/ipv4/conf/all/arp_ignore=0")
		}, `failed tunnel/vip: no VIP found
skipped sysctl/arp_ignore/interfaces
skipped sysctl/arp_announce/interfaces
skipped sysctl/boot
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := goodNode()
			test.spoil(&n)
			_, conditions := Found(n)
			if diff := cmp.Diff(test.want, notOK(conditions, n)); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}
