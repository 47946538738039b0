//go:build lab

package healthy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"rsagent/lab/network"
)

// filters are nodes with packet filters that let in what they should.
func filters() []healthy {
	return []healthy{
		{name: "firewalld's ruleset, which admits protocol 4", rules: firewalld},
		{name: "ufw's ruleset in iptables-legacy, which admits protocol 4", prepare: ufw("iptables-legacy")},
		{name: "ufw's ruleset in iptables-nft, which admits protocol 4", prepare: ufw("iptables-nft")},
		{name: "all denied but what is established or admitted", rules: `
			table inet filter {
				set directors { type ipv4_addr; flags interval; elements = { 10.9.0.20-10.9.0.23 } }
				chain input {
					type filter hook input priority filter; policy drop;
					ct state vmap { established : accept, related : accept, invalid : drop }
					iif lo accept
					meta l4proto { icmp, ipv6-icmp } accept
					ip saddr @directors ip protocol 4 counter accept
					tcp dport . iifname { 80 . "tunl0", 443 . "tunl0" } accept
					iifname "eth0" tcp dport { 22, 80, 9380 } ct state new limit rate 1000/second burst 2000 packets accept
					limit rate 5/minute log prefix "dropped: "
				}
				chain forward { type filter hook forward priority filter; policy drop; }
				chain output { type filter hook output priority filter; policy accept; }
			}`},
		{name: "connections of the tunnel are not tracked", rules: `
			table ip raw {
				chain prerouting { type filter hook prerouting priority raw; policy accept;
					ip protocol 4 notrack
					iifname "tunl0" notrack; }
				chain output { type filter hook output priority raw; policy accept;
					ip saddr 10.9.0.100 notrack; }
			}
			table ip filter {
				chain input { type filter hook input priority 0; policy drop;
					ct state { established, related, untracked } accept
					iif lo accept
					tcp dport { 80, 9380 } accept; }
			}`},
		{name: "spoofed sources dropped by a reverse path rule of its own", rules: `
			table inet antispoof {
				chain pre { type filter hook prerouting priority -150; policy accept;
					iifname "tunl0" return
					iifname "eth0" fib saddr . iif oif missing drop
					fib daddr type { broadcast, multicast } accept; }
			}`},
		{name: "limits that nobody reaches", rules: `
			table inet limits {
				set seen { type ipv4_addr; size 65535; flags dynamic,timeout; timeout 1m; }
				set many { type ipv4_addr; size 65535; flags dynamic; }
				chain input { type filter hook input priority 10; policy accept;
					tcp flags & (fin|syn|rst|ack) == syn update @seen { ip saddr limit rate over 5000/second burst 5000 packets } drop
					tcp dport 80 ct state new add @many { ip saddr ct count over 5000 } reject with tcp reset
					tcp dport 80 ct state new ct count over 20000 drop
					tcp flags & (fin|syn) == (fin|syn) drop
					tcp option maxseg size 1-200 drop
					meta pkttype broadcast drop; }
			}`},
		{name: "bogons and strangers in large sets", rules: blocklists()},
		{name: "thousands of rules, sets and maps", rules: thousands()},
		{name: "a flow table, verdict maps and early chains", rules: `
			table inet fast {
				flowtable f { hook ingress priority 0; devices = { eth0 }; }
				map ports { type inet_service : verdict; elements = { 80 : jump web, 443 : jump web, 23 : drop } }
				chain web { meta mark set 0x7 counter return; }
				chain forward { type filter hook forward priority 0; policy drop; ip protocol tcp flow add @f; }
				chain input { type filter hook input priority 0; policy accept; tcp dport vmap @ports; }
				chain post { type filter hook postrouting priority 100; policy accept; tcp flags syn tcp option maxseg size set rt mtu; }
			}
			table netdev early {
				chain in { type filter hook ingress device "eth0" priority -500; policy accept;
					ip saddr 192.0.2.0/24 drop
					ip frag-off & 0x1fff != 0 counter
					ether type arp limit rate over 5000/second drop; }
			}`},
		{name: "docker's rules, and a container with a port", prepare: docker},
		{name: "kube-proxy's rules, with sets and marks", prepare: kubeProxy},
		{name: "a busy connection tracking table", prepare: busyTracking},
		{name: "two families of tables and a filter that logs", prepare: on(`
			iptables-legacy -A INPUT -p tcp --dport 80 -m conntrack --ctstate NEW -j NFLOG --nflog-group 3
			iptables-legacy -A INPUT -m recent --name ssh --update --seconds 60 --hitcount 20 -p tcp --dport 22 -j DROP
			iptables-nft -A INPUT -m comment --comment "accounting" -p 4
			iptables-nft -t raw -A PREROUTING -p tcp --dport 23 -j DROP
			iptables-nft -A INPUT -m string --algo bm --string "wget http" -p tcp --dport 80 -j DROP
			iptables-nft -A INPUT -m hashlimit --hashlimit-name c --hashlimit-above 9000/sec --hashlimit-mode srcip -p tcp --syn -j DROP`)},
	}
}

// firewalld has what firewalld 1.3 loads for a zone that is not trusted, with
// the directors' protocol admitted, and the tunnel in the zone trusted.
const firewalld = `
table inet firewalld {
	chain raw_PREROUTING { type filter hook prerouting priority raw + 10; policy accept;
		icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept
		meta nfproto ipv6 fib saddr . mark . iif oif missing drop
	}
	chain mangle_PREROUTING { type filter hook prerouting priority mangle + 10; policy accept; jump mangle_PREROUTING_ZONES; }
	chain mangle_PREROUTING_ZONES { iifname "eth0" goto mangle_PRE_public; goto mangle_PRE_public; }
	chain mangle_PRE_public { return; }
	chain nat_PREROUTING { type nat hook prerouting priority dstnat + 10; policy accept; }
	chain nat_POSTROUTING { type nat hook postrouting priority srcnat + 10; policy accept; }
	chain filter_INPUT { type filter hook input priority filter + 10; policy accept;
		ct state { established, related } accept
		ct status dnat accept
		iifname "lo" accept
		ct state invalid drop
		jump filter_INPUT_ZONES
		reject with icmpx admin-prohibited
	}
	chain filter_FORWARD { type filter hook forward priority filter + 10; policy accept;
		ct state { established, related } accept
		ct status dnat accept
		iifname "lo" accept
		ct state invalid drop
		ip6 daddr { ::/96, ::ffff:0.0.0.0/96, 2002:7f00::/24 } reject with icmpv6 addr-unreachable
		reject with icmpx admin-prohibited
	}
	chain filter_INPUT_ZONES {
		iifname "tunl0" goto filter_IN_trusted
		iifname "eth0" goto filter_IN_public
		goto filter_IN_public
	}
	chain filter_IN_trusted { accept; }
	chain filter_IN_public {
		jump filter_IN_public_pre
		jump filter_IN_public_deny
		jump filter_IN_public_allow
		meta l4proto { icmp, ipv6-icmp } accept
		reject with icmpx admin-prohibited
	}
	chain filter_IN_public_pre { }
	chain filter_IN_public_deny { ip saddr 192.0.2.7 drop; }
	chain filter_IN_public_allow {
		tcp dport { 22, 80, 443, 9380 } accept
		ip saddr 10.9.0.21 meta l4proto ipencap accept
		ip saddr 10.9.0.22 meta l4proto ipencap accept
		ip6 daddr fe80::/64 udp dport 546 accept
	}
}`

// ufw is the shape of what ufw loads, with the directors' protocol admitted.
func ufw(iptables string) func(t *testing.T, site *network.Site) {
	return on(`
		%[1]s -N ufw-before-input; %[1]s -N ufw-user-input; %[1]s -N ufw-after-input; %[1]s -N ufw-not-local; %[1]s -N ufw-skip-to-policy-input
		%[1]s -A INPUT -j ufw-before-input; %[1]s -A INPUT -j ufw-after-input
		%[1]s -A ufw-before-input -i lo -j ACCEPT
		%[1]s -A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
		%[1]s -A ufw-before-input -m conntrack --ctstate INVALID -j DROP
		%[1]s -A ufw-before-input -p icmp --icmp-type echo-request -j ACCEPT
		%[1]s -A ufw-before-input -p ipencap -s 10.9.0.21 -j ACCEPT
		%[1]s -A ufw-before-input -p ipencap -s 10.9.0.22 -j ACCEPT
		%[1]s -A ufw-before-input -j ufw-not-local
		%[1]s -A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
		%[1]s -A ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN
		%[1]s -A ufw-not-local -m addrtype --dst-type BROADCAST -j RETURN
		%[1]s -A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j DROP
		%[1]s -A ufw-not-local -j DROP
		%[1]s -A ufw-before-input -j ufw-user-input
		%[1]s -A ufw-user-input -p tcp -m multiport --dports 22,80,443 -j ACCEPT
		%[1]s -A ufw-user-input -p tcp --dport 9380 -s 10.9.0.0/24 -j ACCEPT
		%[1]s -A ufw-after-input -p udp --dport 137 -j ufw-skip-to-policy-input
		%[1]s -A ufw-skip-to-policy-input -j DROP
		%[1]s -P INPUT DROP; %[1]s -P FORWARD DROP`, iptables)
}

// blocklists drop what no client has for an address, among it every network
// that is for documents and tests only.
func blocklists() string {
	var b strings.Builder
	b.WriteString(`
		table inet blocklists {
			set bogons { type ipv4_addr; flags interval; elements = {
				0.0.0.0/8, 100.64.0.0/10, 169.254.0.0/16, 192.0.0.0/24, 192.0.2.0/24,
				198.18.0.0/15, 198.51.100.0/24, 203.0.113.0/24, 240.0.0.0/4 }; }
			set strangers { type ipv4_addr; flags interval; elements = { `)
	for i := range 5000 {
		fmt.Fprintf(&b, "%d.%d.%d.0/25, ", 20+i/1000, i/250, i%250)
	}
	b.WriteString(`20.200.0.0/16 }; }
			chain pre { type filter hook prerouting priority -310; policy accept;
				ip saddr @strangers counter drop
				iifname { "eth0", "tunl0" } ip saddr @bogons counter drop; }
		}`)
	return b.String()
}

// thousands is a ruleset of 3,000 rules in many chains, with sets and maps.
func thousands() string {
	var b strings.Builder
	b.WriteString("table inet big {\n")
	for c := range 30 {
		fmt.Fprintf(&b, "\tchain c%d {\n", c)
		for i := range 100 {
			fmt.Fprintf(&b, "\t\tip saddr 172.%d.%d.0/24 tcp dport { %d, %d } counter drop\n", 16+c%16, i, 2000+i, 3000+i)
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("\tmap nets { type ipv4_addr : verdict; flags interval; elements = { ")
	for i := range 250 {
		fmt.Fprintf(&b, "172.16.%d.0/24 : jump c%d, ", i, i%30)
	}
	b.WriteString("172.17.0.0/16 : drop } }\n")
	b.WriteString("\tchain input { type filter hook input priority 0; policy accept;\n\t\tip saddr vmap @nets\n")
	for c := range 30 {
		fmt.Fprintf(&b, "\t\ttcp dport != 9380 jump c%d\n", c)
	}
	b.WriteString("\t}\n}\n")
	return b.String()
}

// docker is a bridge with a container, a port of the node that leads to it, and
// the rules that Docker makes for that.
func docker(t *testing.T, site *network.Site) {
	container(t, site)
	run(t, site.Web1, `
		i=iptables-nft
		$i -N DOCKER; $i -N DOCKER-USER; $i -N DOCKER-ISOLATION-STAGE-1; $i -P FORWARD DROP
		$i -t nat -N DOCKER
		$i -A FORWARD -j DOCKER-USER; $i -A FORWARD -j DOCKER-ISOLATION-STAGE-1
		$i -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
		$i -A FORWARD -o docker0 -j DOCKER
		$i -A FORWARD -i docker0 ! -o docker0 -j ACCEPT
		$i -A DOCKER-USER -j RETURN; $i -A DOCKER-ISOLATION-STAGE-1 -j RETURN
		$i -A DOCKER ! -i docker0 -o docker0 -d 172.17.0.2/32 -p tcp --dport 80 -j ACCEPT
		$i -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
		$i -t nat -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
		$i -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
		$i -t nat -A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp --dport 80 -j MASQUERADE
		$i -t nat -A DOCKER -i docker0 -j RETURN
		$i -t nat -A DOCKER ! -i docker0 -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80`)
}

// container makes a namespace behind a bridge on the node, 172.17.0.2.
func container(t *testing.T, site *network.Site) {
	t.Helper()
	run(t, site.Web1, `
		ip netns add container
		echo 1 > /proc/sys/net/ipv4/ip_forward
		ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up
		ip link add veth1234567 type veth peer name eth0 netns container
		ip link set veth1234567 master docker0 up
		ip -n container link set lo up; ip -n container link set eth0 up
		ip -n container addr add 172.17.0.2/16 dev eth0; ip -n container route add default via 172.17.0.1`)
	t.Cleanup(func() { run(t, site.Client, "ip netns del container") })
}

// kubeProxy has rules as kube-proxy makes them, with its sets, and the device on
// which it keeps the addresses of services.
func kubeProxy(t *testing.T, site *network.Site) {
	t.Helper()
	ok(t, site.Web1.Do(func() error {
		const name = "KUBE-CLUSTER-IP"
		port := uint16(443)
		tcp := uint8(6)
		if err := netlink.IpsetCreate(name, "hash:ip,port", netlink.IpsetCreateOptions{}); err != nil {
			return err
		}
		return netlink.IpsetAdd(name, &netlink.IPSetEntry{IP: []byte{10, 96, 0, 1}, Port: &port, Protocol: &tcp})
	}))
	run(t, site.Web1, `
		echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet
		ip link add kube-ipvs0 type dummy; ip link set kube-ipvs0 arp off
		ip addr add 10.96.0.1/32 dev kube-ipvs0; ip addr add 10.96.0.10/32 dev kube-ipvs0
		i=iptables-nft
		$i -t nat -N KUBE-SERVICES; $i -t nat -N KUBE-MARK-MASQ; $i -t nat -N KUBE-POSTROUTING; $i -t nat -N KUBE-NODEPORTS
		$i -N KUBE-FIREWALL; $i -N KUBE-FORWARD
		$i -t nat -A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
		$i -t nat -A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
		$i -t nat -A POSTROUTING -j KUBE-POSTROUTING
		$i -t nat -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
		$i -t nat -A KUBE-SERVICES ! -s 10.244.0.0/16 -m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ
		$i -t nat -A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT
		$i -t nat -A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
		$i -t nat -A KUBE-NODEPORTS -p tcp --dport 30080 -j DNAT --to-destination 10.244.1.5:80
		$i -t nat -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
		$i -t nat -A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
		$i -t nat -A KUBE-POSTROUTING -j MASQUERADE
		$i -A INPUT -j KUBE-FIREWALL; $i -A OUTPUT -j KUBE-FIREWALL; $i -A FORWARD -j KUBE-FORWARD
		$i -A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP
		$i -A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
		$i -A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
		$i -A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT`)
}

// busyTracking fills the table of connections to half and more.
func busyTracking(t *testing.T, site *network.Site) {
	t.Helper()
	nft(t, site.Web1, `table ip t { chain in { type filter hook input priority 0; policy accept; ct state invalid counter drop
		ct state established accept; }
		chain out { type filter hook output priority 0; ct state new counter; }
	}`)
	if network.OwnMachine() { // the limit is the whole machine's
		const file = "/proc/sys/net/netfilter/nf_conntrack_max"
		run(t, site.Web1, "modprobe nf_conntrack")
		was, err := hostRun("cat " + file)
		ok(t, err)
		_, err = hostRun("echo 2000 > " + file)
		ok(t, err)
		t.Cleanup(func() {
			_, err := hostRun("echo " + strings.TrimSpace(was) + " > " + file)
			ok(t, err)
		})
	}
	run(t, site.Web1, `python3 -c '
import socket
for port in range(20000, 21200):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("10.9.0.31", port))
    s.sendto(b"x", ("10.9.0.10", 9))
    s.close()
'`)
}
