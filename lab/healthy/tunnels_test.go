//go:build lab

package healthy

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"rsagent/lab/network"
)

// tunnels are nodes with unusual tunnels and VIPs.
func tunnels() []healthy {
	return []healthy{
		{name: "set up by hand before", prepare: func(t *testing.T, site *network.Site) {
			ok(t, setUpByHand(site.Web1))
		}},
		{name: "several tunnels", prepare: on(`
			ip link add ipip1 type ipip local 10.9.0.31 remote 10.9.0.99; ip addr add 172.30.1.1/30 dev ipip1; ip link set ipip1 up
			ip link add gre7 type gre local 10.9.0.31 remote 10.9.0.98 key 5; ip addr add 172.30.1.5/30 dev gre7; ip link set gre7 up
			ip link add sit7 type sit local 10.9.0.31 remote 10.9.0.97; ip link set sit7 up
			ip link add vx7 type vxlan id 7 local 10.9.0.31 dstport 4789; ip link set vx7 up
			ip link add wg0 type wireguard; ip addr add 10.66.0.1/24 dev wg0; ip link set wg0 up`)},
		{name: "the tunnel device under another name", prepare: on(`
			ip link show tunl0 || ip link add tunl0 type ipip
			ip link set tunl0 name ipip.0`),
			config: with("[tunnel]\ndevice = \"ipip.0\"\n")},
		{name: "200 VIPs", config: func(site *network.Site) string {
			return strings.Replace(site.AgentConfig(network.HTTPPool), "vips = [", "vips = ["+moreVIPs(200), 1)
		}},
		{name: "a small MTU on the tunnel device", prepare: on(`
			ip link show tunl0 || ip link add tunl0 type ipip
			ip link set tunl0 mtu 1400`)},
		{name: "the VIP on lo too, as for direct routing", prepare: on("ip addr add 10.9.0.100/32 dev lo")},
		{name: "the VIP on lo, the tunnel without an address", byHand: "rsagent puts VIPs on the tunnel device", found: true,
			prepare: on("ip addr add 10.9.0.100/32 dev lo"),
			serve: func(t *testing.T, site *network.Site) {
				// Strictness needs an address on the device, so it is off altogether.
				run(t, site.Web1, `ip addr del 10.9.0.100/32 dev tunl0
					echo 0 > /proc/sys/net/ipv4/conf/tunl0/rp_filter`)
				nginx(t, site)
			}},
		{name: "another address on the tunnel device", truly: map[string]string{
			"tunnel/foreign": "nobody has declared it"},
			prepare: on(`
				ip link show tunl0 || ip link add tunl0 type ipip
				ip addr add 127.0.0.42/32 dev tunl0`)},
		{name: "no directors declared", truly: map[string]string{
			"tunnel/directors": "any host may send encapsulated packets to a VIP"},
			config: func(*network.Site) string { return "vips = [\"10.9.0.100\"]\n" + network.HTTPPool }},
		{name: "directors as a prefix", config: func(*network.Site) string {
			return "vips = [\"10.9.0.100\"]\ndirectors = [\"10.9.0.16/28\"]\n" + network.HTTPPool
		}},
		{name: "the node is one of the directors", config: func(site *network.Site) string {
			return "vips = [\"10.9.0.100\"]\ndirectors = [\"10.9.0.31\", \"10.9.0.21\"]\n" + network.HTTPPool
		}},
		{name: "a director's address on lo, and taken in", prepare: on(`
			echo 1 > /proc/sys/net/ipv4/conf/eth0/accept_local
			ip addr add 10.9.0.21/32 dev lo`)},
		{name: "a director that asks for its own VIP", late: func(t *testing.T, site *network.Site) {
			p, err := site.Dir1.Start(exec.Command("sh", "-c", "while :; do curl -s -m 1 -o /dev/null http://10.9.0.100/ & sleep 0.05; done"))
			ok(t, err)
			t.Cleanup(func() { ok(t, p.Kill()) })
			time.Sleep(time.Second)
		}},
		{name: "no guard and no clamp", config: with("[tunnel]\nguard = false\nclamp_mss = \"off\"\n")},
		{name: "a second network of directors, one way only", prepare: oneWay,
			config: func(*network.Site) string {
				return "vips = [\"10.9.0.100\"]\ndirectors = [\"10.9.0.21\", \"10.8.0.22\"]\n" + network.HTTPPool
			}},
	}
}

// moreVIPs is a list of addresses that no director has.
func moreVIPs(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "\"198.18.%d.%d\", ", i/250, 1+i%250)
	}
	return b.String()
}

// oneWay has the packets of dir2 come in by a link of their own, by which no
// answer goes out. It, not dir1, is the director.
func oneWay(t *testing.T, site *network.Site) {
	t.Helper()
	run(t, site.Dir1, "ipvsadm -C; ip addr del 10.9.0.100/32 dev eth0")
	run(t, site.Web1, `
		ip link add eth1 type veth peer name eth1 netns dir2
		ip addr add 10.8.0.31/24 dev eth1; ip link set eth1 up`)
	run(t, site.Dir2, `
		ip addr add 10.8.0.22/24 dev eth1; ip link set eth1 up
		ip route add 10.9.0.31/32 via 10.8.0.31 dev eth1 src 10.8.0.22`)
	ok(t, site.Dir2.Direct([]*network.Host{site.Web1}, 80))
}
