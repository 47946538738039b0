//go:build lab

package healthy

import (
	"testing"

	"rsagent/lab/network"
)

// routes are nodes with unusual routes and settings.
func routes() []healthy {
	const conf = "/proc/sys/net/ipv4/conf/"
	return []healthy{
		{name: "no default route", prepare: on("ip route del default")},
		{name: "strict reverse path filtering on all, loose on the tunnel", prepare: on(`
			echo 1 > ` + conf + `all/rp_filter; echo 1 > ` + conf + `default/rp_filter; echo 1 > ` + conf + `eth0/rp_filter
			ip link show tunl0 || ip link add tunl0 type ipip
			echo 2 > ` + conf + `tunl0/rp_filter`)},
		{name: "answers from the VIP by a table of their own", prepare: on(`
			ip route add 10.9.0.0/24 dev eth0 table 100
			ip route add default via 10.9.0.10 dev eth0 table 100
			ip rule add from 10.9.0.100 lookup 100 priority 1000`)},
		{name: "no way out but for the VIP", prepare: on(`
			ip route del default
			ip route add default via 10.9.0.10 dev eth0 table 100
			ip rule add from 10.9.0.100 lookup 100 priority 1000`)},
		{name: "a table by mark, with connmark", prepare: on(`
			ip route add default via 10.9.0.10 dev eth0 table 200
			ip rule add fwmark 0x10/0xff lookup 200 priority 900
			echo 1 > ` + conf + `all/src_valid_mark
			iptables-nft -t mangle -A PREROUTING -i tunl0 -j MARK --set-mark 0x10
			iptables-nft -t mangle -A PREROUTING -i tunl0 -j CONNMARK --save-mark
			iptables-nft -t mangle -A OUTPUT -j CONNMARK --restore-mark`)},
		{name: "bogons in black holes", prepare: on(`
			for net in 192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 192.168.0.0/16 172.16.0.0/12 240.0.0.0/4; do
				ip route add blackhole $net; done
			ip route add unreachable 10.0.0.0/8; ip route add prohibit 100.64.0.0/10`)},
		{name: "two uplinks at once", prepare: func(t *testing.T, site *network.Site) {
			second(t, site, "10.9.1.31/24")
			run(t, site.Client, "ip addr add 10.9.1.10/24 dev eth0")
			run(t, site.Web1, `ip route replace default nexthop via 10.9.0.10 dev eth0 weight 1 nexthop via 10.9.1.10 dev eth1 weight 1`)
		}},
		{name: "a node that routes for others", prepare: on(`
			echo 1 > /proc/sys/net/ipv4/ip_forward
			for i in $(seq 1 250); do echo "route add 172.21.$i.0/24 via 10.9.0.10"; done | ip -batch -`),
			config: with("[sysctl]\n\"net.ipv4.conf.all.send_redirects\" = \"1\"\n")},
		{name: "martians are logged", prepare: on("echo 1 > " + conf + "all/log_martians")},
		{name: "IPv6 is off", prepare: on(`
			echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6`)},
		{name: "no SYN cookies, no time stamps, local addresses accepted", prepare: on(`
			echo 0 > /proc/sys/net/ipv4/tcp_syncookies; echo 0 > /proc/sys/net/ipv4/tcp_timestamps
			echo 1 > ` + conf + `all/accept_local; echo 1 > ` + conf + `all/route_localnet; echo 1 > ` + conf + `eth0/proxy_arp`)},
		{name: "ARP kept quiet by the stricter values", prepare: on(`
			echo 2 > ` + conf + `all/arp_ignore; echo 2 > ` + conf + `all/arp_announce; echo 1 > ` + conf + `all/arp_filter`)},
		{name: "IPsec with others", prepare: on(`
			ip xfrm policy add src 10.9.0.31/32 dst 172.22.0.0/24 dir out tmpl src 10.9.0.31 dst 10.9.0.77 proto esp mode tunnel
			ip xfrm policy add src 172.22.0.0/24 dst 10.9.0.31/32 dir in tmpl src 10.9.0.77 dst 10.9.0.31 proto esp mode tunnel
			ip xfrm policy add src 0.0.0.0/0 dst 0.0.0.0/0 proto udp dport 1701 dir in tmpl proto esp mode transport level use`)},
	}
}
