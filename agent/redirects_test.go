package agent

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rsagent/sysctl"
)

func TestRedirectsAreJudgedByWhatTheKernelActsOn(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(*Node)
		want  string
	}{
		{"a stock node: the interfaces are looked at when conf/default has spread", func(n *Node) {
			for _, iface := range []string{"all", "default", "lo", "eth0", "tunl0", "eth0.100"} {
				n.conf(iface, "accept_redirects=1", "send_redirects=1")
			}
		}, `failed sysctl/accept_redirects/all: net.ipv4.conf.all.accept_redirects = 1, net.ipv4.conf.default.accept_redirects = 1
  net.ipv4.conf.all.accept_redirects: 1 -> 0
  net.ipv4.conf.default.accept_redirects: 1 -> 0
skipped sysctl/accept_redirects/interfaces
failed sysctl/send_redirects/all: net.ipv4.conf.all.send_redirects = 1, net.ipv4.conf.default.send_redirects = 1
  net.ipv4.conf.all.send_redirects: 1 -> 0
  net.ipv4.conf.default.send_redirects: 1 -> 0
skipped sysctl/send_redirects/interfaces
`},
		{"conf/all alone is written alone", func(n *Node) { n.conf("all", "accept_redirects=1") },
			`failed sysctl/accept_redirects/all: net.ipv4.conf.all.accept_redirects = 1
  net.ipv4.conf.all.accept_redirects: 1 -> 0
skipped sysctl/accept_redirects/interfaces
`},
		{"conf/default alone, for interfaces to come", func(n *Node) { n.conf("default", "send_redirects=1") },
			`failed sysctl/send_redirects/all: net.ipv4.conf.default.send_redirects = 1
  net.ipv4.conf.default.send_redirects: 1 -> 0
skipped sysctl/send_redirects/interfaces
`},
		{"an interface with a dot that takes them by itself", func(n *Node) { n.conf("eth0.100", "accept_redirects=1") },
			`failed sysctl/accept_redirects/interfaces: net.ipv4.conf.eth0/100.accept_redirects = 1
  net.ipv4.conf.eth0/100.accept_redirects: 1 -> 0
`},
		{"an interface that forwards takes none while conf/all is off", func(n *Node) { n.conf("eth0", "accept_redirects=1", "forwarding=1") }, ""},
		{"an interface that forwards sends them all the same", func(n *Node) { n.conf("eth0", "send_redirects=1", "forwarding=1") },
			`failed sysctl/send_redirects/interfaces: net.ipv4.conf.eth0.send_redirects = 1
  net.ipv4.conf.eth0.send_redirects: 1 -> 0
`},
		{"the tunnel device and lo are interfaces too", func(n *Node) {
			n.conf("tunl0", "accept_redirects=1")
			n.conf("lo", "send_redirects=-1")
		}, `failed sysctl/accept_redirects/interfaces: net.ipv4.conf.tunl0.accept_redirects = 1
  net.ipv4.conf.tunl0.accept_redirects: 1 -> 0
failed sysctl/send_redirects/interfaces: net.ipv4.conf.lo.send_redirects = -1
  net.ipv4.conf.lo.send_redirects: -1 -> 0
`},
		{"conf/all that cannot be read is unknown", func(n *Node) { n.fail("all", "accept_redirects", errors.New("cannot read it")) },
			"unknown sysctl/accept_redirects/all: cannot read it\nskipped sysctl/accept_redirects/interfaces\n"},
		{"an interface that cannot be read is unknown, and the others wait", func(n *Node) {
			n.conf("eth0", "send_redirects=1")
			n.fail("eth0.100", "send_redirects", errors.New("cannot read it"))
		}, "unknown sysctl/send_redirects/interfaces: cannot tell the effective send_redirects of eth0.100: cannot read it\n"},
		{"what is no number is unknown", func(n *Node) { n.conf("all", "send_redirects=on") },
			"unknown sysctl/send_redirects/all: net.ipv4.conf.all.send_redirects is \"on\", not a number\nskipped sysctl/send_redirects/interfaces\n"},
		{"an interface that went while it was looked at", func(n *Node) {
			n.fail("eth0", "send_redirects", fs.ErrNotExist)
			n.fail("eth0.100", "forwarding", fs.ErrNotExist)
		}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := goodNode()
			test.spoil(&n)
			if diff := cmp.Diff(test.want, notOK(Conditions(oneVIP(t)), n)); diff != "" {
				t.Errorf("findings and steps (-want +got):\n%s", diff)
			}
		})
	}
}

// fail makes a setting below conf/IFACE one that could not be read.
func (n *Node) fail(iface, name string, err error) {
	n.Sysctl[sysctl.ConfKey(iface, name)] = sysctl.Value{Err: err}
}

func TestRepairsYieldToTheConfiguration(t *testing.T) {
	for _, test := range []struct {
		name, settings string
		spoil          func(*Node)
		want           string
	}{
		{"ARP is closed with the configured values, where they are spaced too", `
"net.ipv4.conf.all.arp_ignore" = " 2 "
"net.ipv4.conf.eth0/100.arp_announce" = 1`, func(n *Node) {
			n.conf("all", "arp_ignore=0")
			n.conf("eth0.100", "arp_announce=3")
		}, `failed sysctl/arp_ignore/all: net.ipv4.conf.all.arp_ignore = 0, net.ipv4.conf.default.arp_ignore = 0
  net.ipv4.conf.all.arp_ignore: 0 ->  2 
skipped sysctl/arp_ignore/interfaces
failed sysctl/arp_announce/interfaces: net.ipv4.conf.eth0/100.arp_announce = 3
  net.ipv4.conf.eth0/100.arp_announce: 3 -> 1
skipped tunnel/device
skipped sysctl/rp_filter/tunl0
skipped tunnel/vip/203.0.113.10
skipped tunnel/prefix
skipped tunnel/local
skipped tunnel/up
skipped tunnel/in
skipped tunnel/out
skipped tunnel/foreign
failed sysctl/set/net.ipv4.conf.all.arp_ignore: 0
  net.ipv4.conf.all.arp_ignore: 0 ->  2 
failed sysctl/set/net.ipv4.conf.eth0/100.arp_announce: 3
  net.ipv4.conf.eth0/100.arp_announce: 3 -> 1
`},
		{"an interface that is meant to take redirects", `"net.ipv4.conf.eth0/100.accept_redirects" = 1`,
			func(n *Node) { n.conf("eth0.100", "accept_redirects=1") }, ""},
		{"what is configured is written by the setting's own condition only", `"net.ipv4.conf.all.send_redirects" = 0`,
			func(n *Node) { n.conf("all", "send_redirects=1") },
			`failed sysctl/set/net.ipv4.conf.all.send_redirects: 1
  net.ipv4.conf.all.send_redirects: 1 -> 0
skipped sysctl/send_redirects/interfaces
`},
		{"conf/all that is meant to be on leaves the interfaces alone", `"net/ipv4/conf/all/send_redirects" = 1`, func(n *Node) {
			n.conf("all", "send_redirects=1")
			n.conf("eth0", "send_redirects=1")
		}, ""},
		{"so does conf/default", `"net.ipv4.conf.default.accept_redirects" = " 0x1 "`, func(n *Node) {
			n.conf("default", "accept_redirects=0x1")
			n.conf("eth0", "accept_redirects=1")
		}, ""},
		{"a zero in other words is off", `"net.ipv4.conf.all.accept_redirects" = "00"`, func(n *Node) {
			n.conf("all", "accept_redirects=00")
			n.conf("eth0", "accept_redirects=1")
		}, `failed sysctl/accept_redirects/interfaces: net.ipv4.conf.eth0.accept_redirects = 1
  net.ipv4.conf.eth0.accept_redirects: 1 -> 0
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := declared(t, "vips = [\"203.0.113.10\"]\ndirectors = [\"10.0.0.1\"]\n[sysctl]\n"+test.settings+"\n")
			n := goodNode()
			test.spoil(&n)
			if diff := cmp.Diff(test.want, notOK(Conditions(c), n)); diff != "" {
				t.Errorf("findings and steps (-want +got):\n%s", diff)
			}
		})
	}
}
