//go:build lab

package systest

import (
	"os/exec"
	"strings"
	"testing"

	"rsagent/lab/network"
)

// wayFault is something between the wire and the web server.
type wayFault struct {
	name string
	do   string // a script on the node
	undo string // of what the remedy leaves
	want string // the first required finding that fails
	// mends says that the remedy, run as it is printed, mends it.
	mends bool
}

func wayFaults() []wayFault {
	const clsact = "tc qdisc add dev eth0 clsact; "
	return []wayFault{
		{name: "tc drops IPIP on eth0", do: clsact + "tc filter add dev eth0 ingress pref 7 protocol ip u32 match ip protocol 4 0xff action drop",
			undo: "tc qdisc del dev eth0 clsact", want: "path/tc", mends: true},
		{name: "tc drops by flower", do: clsact + "tc filter add dev eth0 ingress pref 7 protocol ip flower ip_proto 4 src_ip 10.9.0.0/24 action drop",
			undo: "tc qdisc del dev eth0 clsact", want: "path/tc", mends: true},
		{name: "tc takes IPIP to a device that is down", do: `ip link add ifb7 type ifb; tc qdisc add dev eth0 ingress
			tc filter add dev eth0 parent ffff: pref 3 protocol ip u32 match u32 0 0 action mirred egress redirect dev ifb7`,
			undo: "tc qdisc del dev eth0 ingress; ip link del ifb7", want: "path/tc", mends: true},
		{name: "tc drops the answers", do: clsact + "tc filter add dev eth0 egress pref 7 protocol ip flower ip_proto tcp src_port 80 action drop",
			undo: "tc qdisc del dev eth0 clsact", want: "path/tc", mends: true},
		{name: "tc drops on tunl0", do: "tc qdisc add dev tunl0 ingress; tc filter add dev tunl0 parent ffff: matchall action drop",
			undo: "tc qdisc del dev tunl0 ingress", want: "path/tc", mends: true},
		{name: "an IPsec policy blocks IPIP", do: "ip xfrm policy add dir in src 0.0.0.0/0 dst 10.9.0.31 proto 4 action block",
			undo: "true", want: "path/xfrm", mends: true},
		{name: "an IPsec policy wants encrypted packets",
			do:   "ip xfrm policy add dir in dst 10.9.0.100 proto tcp tmpl src 0.0.0.0 dst 0.0.0.0 proto esp mode transport",
			undo: "true", want: "path/xfrm", mends: true},
		{name: "an IPsec policy blocks the answers", do: "ip xfrm policy add dir out src 10.9.0.100 proto tcp action block",
			undo: "true", want: "path/xfrm", mends: true},
		{name: "another tunnel takes what directors send, and is strict",
			do:   "ip link add t1 type ipip local 10.9.0.31 remote any; ip link set t1 up; echo 1 > /proc/sys/net/ipv4/conf/t1/rp_filter",
			undo: "ip link del t1", want: "path/tunnels", mends: true},
		{name: "eth0 does not speak ARP", do: "ip link set eth0 arp off", undo: "true", want: "path/links", mends: true},
		{name: "netem drops all", do: "tc qdisc add dev eth0 root netem loss 100%", undo: "true", want: "path/loss", mends: true},
		{name: "tunl0 is in a VRF", do: "modprobe vrf; ip link add v1 type vrf table 77; ip link set v1 up; ip link set tunl0 master v1",
			undo: "ip link del v1", want: "path/vrf", mends: true},
		{name: "answers go as far as the switch", do: "echo 1 > /proc/sys/net/ipv4/ip_default_ttl", undo: "true", want: "limits/ttl", mends: true},
		{name: "a rule discards what comes out of the tunnel", do: "ip rule del pref 0; ip rule add pref 50 lookup local; ip rule add pref 10 iif tunl0 blackhole",
			undo: "ip rule add pref 0 lookup local; ip rule del pref 50", want: "tunnel/in", mends: true},
		{name: "a rule discards the answers", do: "ip rule add pref 77 from 10.9.0.100 prohibit", undo: "true", want: "tunnel/out", mends: true},
		{name: "a rule leads the answers into a table that discards them",
			do:   "ip rule add pref 77 from 10.9.0.100 lookup 77; ip route add blackhole default table 77",
			undo: "ip route flush table 77", want: "tunnel/out", mends: true},
		{name: "a netdev chain drops on tunl0", do: `nft add table netdev x
			nft add chain netdev x e '{ type filter hook ingress device tunl0 priority 0; policy drop; }'`,
			undo: "nft delete table netdev x", want: "filter/clients", mends: true},
		{name: "the VIP's answers are dropped", do: `nft add table inet x; nft add chain inet x o '{ type filter hook output priority 0; }'
			nft add rule inet x o ip saddr 10.9.0.100 drop`,
			undo: "nft delete table inet x", want: "filter/answers", mends: true},
		{name: "the VIP is on another host too", do: "ip netns exec web2 ip addr add 10.9.0.100/32 dev eth0",
			undo: "ip netns exec web2 ip addr del 10.9.0.100/32 dev eth0", want: "arp/conflict"},
		{name: "the node's address is on another host too", do: "ip netns exec web2 ip addr add 10.9.0.31/32 dev eth0",
			undo: "ip netns exec web2 ip addr del 10.9.0.31/32 dev eth0", want: "arp/duplicate"},
		{name: "the gateway is not there", do: "ip route add default via 10.9.0.254", undo: "ip route del default", want: "path/gateway"},
		{name: "the gateway's hardware address is wrong",
			do:   "ip route add default via 10.9.0.10; ip neigh replace 10.9.0.10 lladdr 02:00:00:00:00:77 nud permanent dev eth0",
			undo: "ip route del default", want: "path/gateway", mends: true},
	}
}

// healthyWays are odd and serve.
func healthyWays() []wayFault {
	return []wayFault{
		{name: "nothing", do: "true", undo: "true"},
		{name: "tc shapes what comes in", do: `ip link add ifb7 type ifb; ip link set ifb7 up; tc qdisc add dev eth0 ingress
			tc filter add dev eth0 parent ffff: protocol ip u32 match u32 0 0 action mirred egress redirect dev ifb7
			tc qdisc add dev eth0 root tbf rate 100mbit burst 64k latency 50ms`,
			undo: "tc qdisc del dev eth0 root; tc qdisc del dev eth0 ingress; ip link del ifb7"},
		{name: "tc drops something else", do: `tc qdisc add dev eth0 clsact
			tc filter add dev eth0 ingress protocol ip u32 match ip protocol 47 0xff action drop
			tc filter add dev eth0 egress protocol ip flower ip_proto udp action drop`,
			undo: "tc qdisc del dev eth0 clsact"},
		{name: "IPsec to another network", do: "ip xfrm policy add dir in src 192.168.7.0/24 dst 10.9.0.31 action block", undo: "ip xfrm policy flush"},
		{name: "a tunnel to another host", do: "ip link add t1 type ipip local 10.9.0.31 remote 192.0.2.9; ip link set t1 up", undo: "ip link del t1"},
		{name: "one director has a tunnel of its own that serves",
			do:   "ip link add t1 type ipip local 10.9.0.31 remote 10.9.0.21; ip link set t1 up; echo 0 > /proc/sys/net/ipv4/conf/t1/rp_filter",
			undo: "ip link del t1"},
		{name: "everything that leaves is masqueraded", do: `nft add table ip n; nft add chain ip n p '{ type nat hook postrouting priority 100; }'
			nft add rule ip n p oifname eth0 masquerade`, undo: "nft delete table ip n"},
		{name: "eth0 is slow", do: "tc qdisc add dev eth0 root netem delay 5ms", undo: "tc qdisc del dev eth0 root"},
	}
}

// TestCheckFindsWherePacketsStop runs without the daemon, on a node that it has
// set up.
func TestCheckFindsWherePacketsStop(t *testing.T) {
	site := newService(t)
	agent := startAgent(t, site.Web1, site.AgentConfig(network.HTTPPool))
	dies(t, agent)
	for _, h := range healthyWays() {
		run(t, site.Web1, h.do)
		if failed := failedOn(t, site.Web1, ""); len(failed) > 0 {
			t.Errorf("%s: a node that serves has failed: %+v", h.name, failed)
		}
		run(t, site.Web1, h.undo)
	}
	for _, w := range wayFaults() {
		run(t, site.Web1, w.do)
		found(t, site.Web1, w)
		run(t, site.Web1, w.undo)
	}
	if left := failedOn(t, site.Web1, ""); len(left) > 0 {
		t.Errorf("a fault was left: %+v", left)
	}
}

// found wants the fault to be named first, and its remedy to work.
func found(t *testing.T, node *network.Host, w wayFault) {
	t.Helper()
	failed := failedOn(t, node, "required")
	if len(failed) == 0 || failed[0].ID != w.want {
		t.Errorf("%s: found %+v, want %s", w.name, failed, w.want)
		return
	}
	t.Logf("%s: %+v", w.name, failed)
	if !w.mends {
		return
	}
	run(t, node, failed[0].Remedy)
	if left := failedOn(t, node, "required"); len(left) > 0 {
		t.Errorf("%s: the remedy %q leaves %+v", w.name, failed[0].Remedy, left)
	}
}

func run(t *testing.T, node *network.Host, script string) {
	t.Helper()
	if _, err := node.Run("sh", "-c", "set -e\n"+script); err != nil {
		t.Error(err)
	}
}

// failedOn lists the failed findings in their order, but for a pool's.
func failedOn(t *testing.T, node *network.Host, severity string) []finding {
	t.Helper()
	p, err := node.Start(exec.Command("rsagent", "check", "--json", "--config", node.Dir+"/rsagent.toml"))
	ok(t, err)
	_, err = p.Wait(patience)
	ok(t, err)
	var list []finding
	for _, f := range findingsOf(t, p.Log()) {
		if f.Status == "failed" && (severity == "" || f.Severity == severity) && !strings.HasPrefix(f.ID, "pool/") {
			list = append(list, f)
		}
		if f.Status == "unknown" {
			t.Errorf("%s is unknown: %s", f.ID, f.Got)
		}
	}
	return list
}
