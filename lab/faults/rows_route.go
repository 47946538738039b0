package main

func routeRows() []row {
	return []row{
		{name: "there is no default route", inject: "ip route del default",
			sees: timeout, busy: true, id: "path/vanish", undo: "ip route add default via 10.9.0.10", words: "ip route add default via GATEWAY"},
		{name: "a blackhole route takes the answers", inject: "ip route add blackhole 203.0.113.0/24; ip route add blackhole 198.51.100.0/24",
			clean: "ip route del blackhole 203.0.113.0/24 2>/dev/null; ip route del blackhole 198.51.100.0/24 2>/dev/null",
			sees:  timeout, busy: true, id: "path/vanish"},
		{name: "a rule sends the answers nowhere", inject: "ip rule add from 10.9.0.100 pref 100 blackhole",
			clean: "ip rule del pref 100 2>/dev/null", sees: timeout, id: "tunnel/out"},
		{name: "a rule sends the answers to a table that has another gateway",
			inject: "ip rule add from 10.9.0.100 pref 100 table 77; ip route add default via 10.9.0.99 dev eth0 table 77",
			undo:   "ip rule del pref 100; ip route flush table 77", words: "ip route show table all | grep 'via 10.9.0.99'",
			sees: timeout, id: "path/gateway"},
		{name: "the answers are routed into the tunnel", inject: "ip route replace default dev tunl0",
			clean: "ip route replace default via 10.9.0.10", undo: "ip route replace default via 10.9.0.10",
			sees: timeout, busy: true, id: "path/vanish"},
		{name: "tunl0 is in a VRF", inject: "ip link add vrf1 type vrf table 10; ip link set vrf1 up; ip link set tunl0 master vrf1",
			clean: "ip link del vrf1", sees: some, id: "path/vrf"},
		{name: "the gateway has a wrong entry that stays, as neighbour",
			inject: "ip neigh replace 10.9.0.10 lladdr 02:00:00:00:00:99 dev eth0 nud permanent",
			clean:  "ip neigh del 10.9.0.10 dev eth0 2>/dev/null", sees: timeout, id: "path/gateway"},
		{name: "a packet filter drops ARP", inject: "nft 'add table arp site; add chain arp site in { type filter hook input priority 0; policy drop; }'; " +
			"ip neigh flush dev eth0; ip netns exec dir1 ip neigh flush dev eth0",
			undo: "nft delete table arp site", words: "nft list ruleset arp", sees: timeout, busy: true, id: "path/arp"},
		{name: "this node balances the VIP, too, to another one",
			inject: "ipvsadm -A -t 10.9.0.100:80 -s rr; ipvsadm -a -t 10.9.0.100:80 -r 10.9.0.32 -i",
			clean:  "ipvsadm -C", sees: refused, id: "path/ipvs"},
		{name: "no rule leads to the table local", inject: "ip rule del pref 0", sees: timeout, id: "tunnel/in"},
		{name: "the clients' network is routed by a gateway that is gone", inject: "ip route add 203.0.113.0/24 via 10.9.0.77",
			undo: "ip route del 203.0.113.0/24", words: "ip route show via 10.9.0.77", sees: timeout, busy: true, id: "path/vanish", says: "10.9.0.77"},
		{name: "the director's address is on lo, too", inject: "ip addr add 10.9.0.21/32 dev lo",
			clean: "ip addr del 10.9.0.21/32 dev lo 2>/dev/null", sees: timeout, id: "path/source", says: "10.9.0.21 is an address of lo"},
		{name: "the client's address is on lo, too", inject: "ip addr add 203.0.113.7/32 dev lo",
			clean: "ip addr del 203.0.113.7/32 dev lo 2>/dev/null", sees: timeout, busy: true, id: "path/martians", says: "from 203.0.113.7"},
		{name: "the way to the director is another one, and rp_filter is strict on eth0",
			inject: "ip link add side type dummy; ip link set side up; ip route add 10.9.0.21/32 dev side src 10.9.0.31; sysctl -qw net.ipv4.conf.eth0.rp_filter=1",
			clean:  "ip link del side; sysctl -qw net.ipv4.conf.eth0.rp_filter=0", sees: timeout, busy: true, id: "path/source", says: "reverse path filtering"},
		{name: "eth0 has no address", inject: "ip addr del 10.9.0.31/24 dev eth0",
			undo: "ip addr add 10.9.0.31/24 dev eth0; ip route replace default via 10.9.0.10", words: "ip addr add ADDRESS/PREFIX dev eth0",
			sees: timeout, id: "path/links"},
		{name: "eth0 is down", inject: "ip link set eth0 down",
			undo: "ip link set eth0 up; ip route replace default via 10.9.0.10", words: "ip link set eth0 up",
			sees: timeout, id: "path/links"},
	}
}

func aroundRows() []row {
	return []row{
		{name: "another host holds the VIP, too", at: other,
			inject: "sysctl -qw net.ipv4.conf.all.arp_ignore=0; ip addr add 10.9.0.100/32 dev eth0",
			undo:   "ip addr del 10.9.0.100/32 dev eth0", words: "nothing on this node can mend this",
			sees: some, with: rival, id: "arp/conflict"},
		{name: "the director marks outer headers as congested", at: director,
			inject: "nft 'add table ip site; add chain ip site out { type filter hook postrouting priority 0; }; add rule ip site out ip protocol 4 ip ecn set ce'",
			sees:   timeout, busy: true, id: "path/congested",
			clean: "nft delete table ip site; ip netns exec web1 nft delete table ip unmark"},
		{name: "the network drops answers that come from the VIP", at: client,
			inject: "for a in 8 9 11; do ip addr add 203.0.113.$a/32 dev lo; done; " +
				"nft 'add table netdev urpf; add chain netdev urpf in { type filter hook ingress device eth0 priority 0; }; add rule netdev urpf in ether saddr 02:00:0a:09:00:1f ip saddr 10.9.0.100 drop'",
			undo:  "nft delete table netdev urpf; ip netns exec web1 ss -K state syn-recv >/dev/null",
			clean: "for a in 8 9 11; do ip addr del 203.0.113.$a/32 dev lo; done",
			words: "nothing on this node can mend this",
			sees:  timeout, with: crowd, id: "service/answered/http-pool"},
	}
}
