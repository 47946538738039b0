//go:build lab

package healthy

import (
	"fmt"
	"os/exec"
	"testing"
	"time"

	"rsagent/lab/network"
)

// links are nodes with unusual interfaces.
func links() []healthy {
	const moved = `
		ip link set eth0 down; ip addr flush dev eth0
		%s
		ip addr add 10.9.0.31/24 dev %s
		ip link set eth0 up
		ip route add default via 10.9.0.10`
	return []healthy{
		{name: "a plain node"},
		{name: "two NICs in one network", prepare: func(t *testing.T, site *network.Site) {
			second(t, site, "10.9.0.41/24")
		}},
		{name: "two NICs in two networks", prepare: func(t *testing.T, site *network.Site) {
			second(t, site, "192.168.77.31/24")
		}},
		{name: "all traffic in a VLAN, eth0.100", prepare: func(t *testing.T, site *network.Site) {
			for _, h := range []*network.Host{site.Client, site.Dir1, site.Web1} {
				run(t, h, fmt.Sprintf(`
					ip link add link eth0 name eth0.100 type vlan id 100
					ip addr del %[1]s/24 dev eth0
					ip link set eth0.100 up
					ip addr add %[1]s/24 dev eth0.100`, h.Addr))
			}
			run(t, site.Web1, "ip route add default via 10.9.0.10")
			run(t, site.Client, "ip route replace 10.9.0.100/32 dev eth0.100")
		}},
		{name: "a VLAN of another network", prepare: on(`
			ip link add link eth0 name eth0.100 type vlan id 100
			ip addr add 172.20.0.31/24 dev eth0.100; ip link set eth0.100 up`)},
		{name: "a bond", prepare: on(moved, `
			ip link add bond0 type bond mode active-backup
			ip link add eth1 type dummy
			ip link set eth0 master bond0; ip link set eth1 master bond0
			ip link set bond0 up`, "bond0")},
		{name: "the NIC in a bridge", prepare: on(moved, `
			ip link add br0 type bridge forward_delay 0
			ip link set br0 address 02:00:0a:09:00:1f
			ip link set eth0 master br0; ip link set br0 up`, "br0")},
		{name: "the NIC in a bridge that filters", prepare: on(moved, `
			ip link add br0 type bridge forward_delay 0
			ip link set br0 address 02:00:0a:09:00:1f
			ip link add guest type veth peer name guest0; ip link set guest master br0; ip link set guest up
			ip link set eth0 master br0; ip link set br0 up
			ebtables-nft -A INPUT -p IPv4 --ip-proto 17 --ip-dport 67 -j DROP
			ebtables-nft -A FORWARD -s ! 02:00:0a:09:00:77 -i guest -j DROP
			ebtables-nft -A INPUT -p IPv4 -i guest --ip-proto 4 -j DROP`, "br0"),
			rules: `table bridge guests {
				chain pre { type filter hook prerouting priority -300; policy accept;
					iifname "guest" ether saddr != 02:00:0a:09:00:77 drop
					meta ibrname "other" drop; }
				chain in { type filter hook input priority 0; policy drop;
					ct state established,related accept
					ether type arp accept
					iifname "eth0" ip protocol { tcp, 4, icmp } accept
					ether type ip6 accept; }
				chain forward { type filter hook forward priority 0; policy drop; }
				chain out { type filter hook output priority 0; policy accept;
					oifname "guest" ip saddr 10.9.0.100 drop; }
			}`},
		{name: "interfaces with odd names", prepare: on(moved, `
			ip link set eth0 name wan.100-uplink0; ip link set wan.100-uplink0 up
			ip link add tunl0.old type dummy; ip link set tunl0.old up
			ip link add conf.all type dummy; ip link set conf.all up
			ip link add eth0 type dummy; ip addr add 172.20.0.31/24 dev eth0`, "wan.100-uplink0")},
		{name: "jumbo frames", prepare: func(t *testing.T, site *network.Site) {
			run(t, site.Web1, `for port in client dir1 dir2 web1 web2 br0; do
				ip -n switch link set $port mtu 9000; done`)
			for _, h := range site.Hosts() {
				run(t, h, "ip link set eth0 mtu 9000")
			}
		}},
		{name: "a NIC that speaks no ARP", prepare: func(t *testing.T, site *network.Site) {
			script := "ip link set eth0 arp off; ip route replace default via 10.9.0.10\n"
			for _, h := range []*network.Host{site.Client, site.Dir1} {
				script += fmt.Sprintf("ip neigh replace %s lladdr %s dev eth0\n", h.Addr, h.MAC)
				run(t, h, fmt.Sprintf("ip neigh replace %s lladdr %s dev eth0", site.Web1.Addr, site.Web1.MAC))
			}
			run(t, site.Web1, script)
		}},
		{name: "a VRF that is not used", prepare: on(`
			ip link add blue type vrf table 10; ip link set blue up
			ip link add inside type dummy; ip link set inside master blue
			ip addr add 10.9.0.31/24 dev inside; ip link set inside up`)},
		{name: "more addresses on the NIC", prepare: on(`
			ip addr add 10.9.0.81/24 dev eth0 label eth0:1
			ip addr add 10.9.0.82/32 dev eth0
			ip addr add 192.168.5.1 peer 192.168.5.2 dev eth0
			ip addr add 10.9.0.83/24 dev eth0 preferred_lft 0 valid_lft 600`)},
		{name: "a macvlan and an ifb", prepare: on(`
			ip link add mv0 link eth0 type macvlan mode bridge; ip addr add 10.9.0.91/24 dev mv0; ip link set mv0 up
			ip link add ifb7 type ifb; ip link set ifb7 up`)},
		{name: "offloads off", prepare: on("ethtool -K eth0 tso off gso off gro off rx off tx off")},
		{name: "traffic that is shaped", prepare: on(`
			tc qdisc add dev eth0 root handle 1: htb default 10
			tc class add dev eth0 parent 1: classid 1:10 htb rate 500mbit
			tc qdisc add dev eth0 parent 1:10 fq_codel
			tc qdisc add dev eth0 clsact
			tc filter add dev eth0 ingress protocol ip matchall action ok
			tc filter add dev eth0 egress protocol ip u32 match ip dport 25 0xffff action skbedit priority 7`)},
		{name: "a class of a shaper that is full, for others than clients", prepare: on(`
			tc qdisc add dev eth0 root handle 1: htb default 10
			tc class add dev eth0 parent 1: classid 1:10 htb rate 500mbit
			tc class add dev eth0 parent 1: classid 1:20 htb rate 8kbit ceil 8kbit
			tc filter add dev eth0 parent 1: protocol ip u32 match ip dport 873 0xffff flowid 1:20`),
			late: func(t *testing.T, site *network.Site) {
				p, err := site.Web1.Start(exec.Command("python3", "-c", `
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    s.sendto(bytes(1000), ("10.9.0.22", 873))
    time.sleep(0.01)`))
				ok(t, err)
				t.Cleanup(func() { ok(t, p.Kill()) })
				time.Sleep(2 * time.Second)
			}},
		{name: "strangers dropped by tc", prepare: on(`
			tc qdisc add dev eth0 clsact
			tc filter add dev eth0 ingress protocol ip prio 1 u32 match ip src 192.0.2.0/24 action drop
			tc filter add dev eth0 ingress protocol ip prio 2 flower ip_proto udp dst_port 1900 action drop`)},
		{name: "an XDP program that passes all", prepare: func(t *testing.T, site *network.Site) {
			ok(t, site.Web1.Do(passXDP))
		}},
	}
}

// second gives the node another NIC on the segment, with this address.
func second(t *testing.T, site *network.Site, address string) {
	t.Helper()
	run(t, site.Web1, `
		ip link add eth1 type veth peer name web1b netns switch
		ip -n switch link set web1b master br0 up
		ip addr add `+address+` dev eth1; ip link set eth1 up`)
}
