//go:build lab

package systest

import (
	"fmt"
	"time"

	"rsagent/lab/network"
)

// fault is one thing that somebody does to a node.
type fault struct {
	name string
	do   func(node *network.Host) error
	// undo takes back what is left of it on a node that is whole.
	undo func(node *network.Host) error
	// reports is the condition that rsagent names and does not mend. The test
	// then takes the fault back.
	reports string
	// exposes says that the node speaks ARP for the VIP until that is mended.
	exposes bool
	// stays finds what rsagent must leave alone.
	stays func(node *network.Host) error
	// wipes says that it takes along what others have put on tunl0.
	wipes bool
	// takes is how long the kernel itself may be at it afterwards.
	takes time.Duration
}

// faults are those of the field's catalogue that a node can have by itself.
func faults() []fault {
	all := append(tunnelFaults(), settingFaults()...)
	all = append(all, filterFaults()...)
	all = append(all, interfaceFaults()...)
	if network.OwnMachine() {
		all = append(all, fault{name: "rmmod ipip", do: func(*network.Host) error { return network.UnloadIPIP() }, wipes: true,
			takes: 5 * time.Second}) // it brings a tunl0 to every namespace
	}
	return all
}

func ip(lines ...string) func(*network.Host) error {
	return func(node *network.Host) error { return node.IP(lines...) }
}

func set(path, value string) func(*network.Host) error {
	return func(node *network.Host) error { return node.SetSysctl(path, value) }
}

func shell(script string) func(*network.Host) error {
	return func(node *network.Host) error {
		_, err := node.Run("sh", "-c", script)
		return err
	}
}

func tunnelFaults() []fault {
	return []fault{
		{name: "the VIP is deleted", do: ip("addr del 10.9.0.100/32 dev tunl0")},
		{name: "tunl0 is set down", do: ip("link set tunl0 down")},
		{name: "tunl0 is set down and loses the VIP", do: ip("link set tunl0 down", "addr del 10.9.0.100/32 dev tunl0")},
		{name: "tunl0 is flushed", do: ip("addr flush dev tunl0"), wipes: true},
		{name: "the VIP becomes a /24", do: ip("addr add 10.9.0.100/24 dev tunl0", "addr del 10.9.0.100/32 dev tunl0")},
		{name: "the VIP is there as a /24 too", do: ip("addr add 10.9.0.100/24 dev tunl0")},
		{name: "the local route to the VIP is deleted", do: ip("route del local 10.9.0.100 dev tunl0 table local")},
		{name: "the VIP is on eth0 too", do: ip("addr add 10.9.0.100/32 dev eth0"), undo: ip("addr del 10.9.0.100/32 dev eth0"),
			reports: "arp/vip/10.9.0.100", exposes: true},
		{name: "tunl0 is renamed", do: rename("tunl0", "x"), undo: rename("x", "tunl0"), reports: "tunnel/kind"},
		{name: "somebody's address comes to tunl0", do: ip("addr add 10.9.0.79/32 dev tunl0"), undo: ip("addr del 10.9.0.79/32 dev tunl0"),
			stays: shell("ip -4 -o addr show dev tunl0 | grep -q 10.9.0.79/32")},
	}
}

// rename gives an interface another name, which this kernel does only while it
// is down. It is tried again if rsagent is faster and has it up again.
func rename(from, to string) func(*network.Host) error {
	return shell(fmt.Sprintf(`for try in $(seq 50); do
		printf 'link set %[1]s down\nlink set %[1]s name %[2]s\nlink set %[2]s up\n' | ip -batch - && exit
	done; exit 1`, from, to))
}

func settingFaults() []fault {
	const conf = "net/ipv4/conf/"
	return []fault{
		// The larger of conf/all and the interface's own counts, and a number that
		// means nothing is as open as 0.
		{name: "arp_ignore is off", do: set(conf+"all/arp_ignore", "0"), exposes: true},
		{name: "arp_ignore means nothing on eth0", do: set(conf+"eth0/arp_ignore", "9"), exposes: true},
		{name: "arp_ignore means nothing on interfaces to come", do: set(conf+"default/arp_ignore", "4")},
		{name: "arp_announce is off", do: set(conf+"all/arp_announce", "0"), exposes: true},
		{name: "arp_announce means nothing on eth0", do: set(conf+"eth0/arp_announce", "5"), exposes: true},
		{name: "arp_announce means nothing on interfaces to come", do: set(conf+"default/arp_announce", "3")},
		{name: "rp_filter is strict on tunl0", do: set(conf+"tunl0/rp_filter", "1")},
		{name: "rp_filter is strict on all", do: set(conf+"all/rp_filter", "1"), undo: set(conf+"all/rp_filter", "0")},
		{name: "redirects are taken", do: set(conf+"all/accept_redirects", "1")},
		{name: "redirects are taken on eth0", do: set(conf+"eth0/accept_redirects", "1")},
		{name: "redirects are sent", do: set(conf+"all/send_redirects", "1")},
		{name: "no SYN-ACK is sent again", do: set("net/ipv4/tcp_synack_retries", "0")},
	}
}

// foreignTable is somebody's packet filter.
const foreignTable = `table ip foreign {
	chain input {
		type filter hook input priority 0; policy accept;
		tcp dport 9999 drop
	}
}`

func nft(text string) func(*network.Host) error {
	return func(node *network.Host) error {
		_, err := node.Run("nft", text)
		return err
	}
}

func filterFaults() []fault {
	return []fault{
		{name: "the ruleset is flushed, as firewalld does", do: nft("flush ruleset\n" + foreignTable)},
		{name: "rsagent's table is deleted", do: nft("delete table ip rsagent")},
		{name: "the guard's last rule is deleted", do: shell(`nft delete rule ip rsagent guard handle \
			$(nft -a list chain ip rsagent guard | sed -n 's/.*# handle //p' | tail -n 1)`)},
		{name: "the clamp is flushed", do: nft("flush chain ip rsagent clamp")},
		{name: "the directors are gone from their set", do: nft("flush set ip rsagent directors")},
		{name: "one director is gone from the set", do: nft("delete element ip rsagent directors { 10.9.0.21-10.9.0.22 }; add element ip rsagent directors { 10.9.0.22 }")},
		{name: "the VIP is gone from its set", do: nft("delete element ip rsagent vips { 10.9.0.100 }")},
		{name: "a stranger becomes a director", do: nft("add element ip rsagent directors { 10.9.0.10 }")},
	}
}

// interfaceFaults bring interfaces that speak ARP for everything.
func interfaceFaults() []fault {
	opened := func(name string) string {
		return fmt.Sprintf(`
			echo 9 > /proc/sys/net/ipv4/conf/%[1]s/arp_ignore
			echo 9 > /proc/sys/net/ipv4/conf/%[1]s/arp_announce
			echo 1 > /proc/sys/net/ipv4/conf/%[1]s/accept_redirects`, name)
	}
	comes := func(name, arguments string) fault {
		return fault{
			name: "an interface comes: " + name,
			do:   shell("set -e; ip link add " + arguments + "; ip link set " + name + " arp on up" + opened(name)),
			undo: ip("link del " + name),
		}
	}
	return []fault{
		comes("lab.7", "lab.7 type dummy"),
		comes("lab.8", "lab.8 type veth peer name lab.9"),
		comes("eth0.100", "link eth0 name eth0.100 type vlan id 100"),
		{name: "an interface is renamed", do: shell("set -e; ip link add lab.5 type dummy; ip link set lab.5 arp on; ip link set lab.5 name lab.6" + opened("lab.6")),
			undo: ip("link del lab.6")},
	}
}
