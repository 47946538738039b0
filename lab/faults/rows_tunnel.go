package main

func tunnelRows() []row {
	return []row{
		{name: "tunl0 is down", inject: "ip link set tunl0 down",
			sees: some, id: "tunnel/up", owned: true},
		{name: "the VIP is deleted", inject: "ip addr del 10.9.0.100/32 dev tunl0",
			sees: timeout, id: "tunnel/vip/10.9.0.100", owned: true},
		{name: "the VIP is a /24", inject: "ip addr add 10.9.0.100/24 dev tunl0; ip addr del 10.9.0.100/32 dev tunl0",
			sees: fine, id: "tunnel/vip/10.9.0.100", owned: true},
		{name: "the VIP is there as a /24 too", inject: "ip addr add 10.9.0.100/24 dev tunl0",
			sees: fine, id: "tunnel/prefix", owned: true},
		{name: "the local route to the VIP is deleted", inject: "ip route del local 10.9.0.100 dev tunl0 table local",
			sees: timeout, id: "tunnel/local", owned: true},
		{name: "tunl0 is renamed", inject: "ip link set tunl0 down; ip link set tunl0 name x; ip link set x up",
			sees: fine, id: "tunnel/kind", words: "ip link set x name tunl0",
			undo: "ip link set x down; ip link set x name tunl0; ip link set tunl0 up"},
		{name: "the module ipip is unloaded", inject: "modprobe -r ipip",
			sees: some, id: "tunnel/device", owned: true},
		{name: "the module ipip is unloaded and forbidden",
			inject: "modprobe -r ipip; echo 'install ipip /bin/false' > /etc/modprobe.d/hardening.conf; echo 'blacklist ipip' >> /etc/modprobe.d/hardening.conf",
			clean:  "rm /etc/modprobe.d/hardening.conf",
			sees:   some, id: "kernel/ipip"},
		{name: "a tunnel of one director takes its packets",
			inject: "ip link add old type ipip local 10.9.0.31 remote 10.9.0.21; ip link set old up; sysctl -qw net.ipv4.conf.old.rp_filter=1",
			clean:  "ip link del old 2>/dev/null",
			sees:   timeout, id: "path/tunnels"},
		{name: "forwarding is on and the VIP is missing: a loop", inject: "sysctl -qw net.ipv4.ip_forward=1; ip addr del 10.9.0.100/32 dev tunl0",
			clean: "sysctl -qw net.ipv4.ip_forward=0",
			sees:  some, id: "tunnel/vip/10.9.0.100", owned: true},
		{name: "somebody's address is on tunl0", inject: "ip addr add 10.9.0.79/32 dev tunl0",
			sees: fine, id: "tunnel/foreign", words: "ip addr del 10.9.0.79/32 dev tunl0",
			undo: "ip addr del 10.9.0.79/32 dev tunl0"},
	}
}

func arpRows() []row {
	return []row{
		{name: "arp_ignore is off", inject: "sysctl -qw net.ipv4.conf.all.arp_ignore=0",
			sees: taken, with: asked, id: "sysctl/arp_ignore/all", owned: true},
		{name: "arp_ignore of eth0 means nothing to the kernel", inject: "sysctl -qw net.ipv4.conf.eth0.arp_ignore=9",
			sees: taken, with: asked, id: "sysctl/arp_ignore/interfaces", owned: true},
		{name: "arp_announce is off", inject: "sysctl -qw net.ipv4.conf.all.arp_announce=0",
			sees: leaked, with: learnt, id: "sysctl/arp_announce/all", owned: true},
		{name: "the VIP is on eth0 too", inject: "ip addr add 10.9.0.100/32 dev eth0",
			sees: taken, with: asked, id: "arp/vip/10.9.0.100", words: "ip addr del 10.9.0.100/32 dev eth0",
			undo: "ip addr del 10.9.0.100/32 dev eth0"},
		{name: "a new VLAN is open to ARP for the VIP",
			inject: "ip link add link eth0 name eth0.100 type vlan id 100; ip link set eth0.100 up; sysctl -qw net/ipv4/conf/eth0.100/arp_ignore=9",
			clean:  "ip link del eth0.100",
			sees:   fine, id: "sysctl/arp_ignore/interfaces", owned: true},
	}
}

func settingRows() []row {
	return []row{
		{name: "rp_filter is strict on tunl0", inject: "sysctl -qw net.ipv4.conf.tunl0.rp_filter=1",
			sees: timeout, id: "sysctl/rp_filter/tunl0", owned: true},
		{name: "rp_filter is strict on all, and off on tunl0", inject: "sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.tunl0.rp_filter=0",
			clean: "sysctl -qw net.ipv4.conf.all.rp_filter=0",
			sees:  timeout, id: "sysctl/rp_filter/tunl0", owned: true},
		{name: "redirects are taken", inject: "sysctl -qw net.ipv4.conf.all.accept_redirects=1",
			sees: fine, id: "sysctl/accept_redirects/all", owned: true},
		{name: "redirects are sent", inject: "sysctl -qw net.ipv4.conf.all.send_redirects=1",
			sees: fine, id: "sysctl/send_redirects/all", owned: true},
		{name: "a lost SYN-ACK is not sent again", inject: "sysctl -qw net.ipv4.tcp_synack_retries=0",
			sees: fine, id: "sysctl/tcp_synack_retries", owned: true},
		{name: "a setting of the configuration is changed", conf: "[sysctl]\n\"net.ipv4.tcp_fin_timeout\" = \"17\"\n",
			inject: "sysctl -qw net.ipv4.tcp_fin_timeout=60",
			sees:   fine, id: "sysctl/set/net.ipv4.tcp_fin_timeout", owned: true},
		{name: "the configuration has a port range that the kernel refuses", conf: "[sysctl]\n\"net.ipv4.ip_local_port_range\" = \"1024 65536\"\n",
			inject: "true", sees: fine, id: "sysctl/set/net.ipv4.ip_local_port_range",
			words: "it takes two ports from 1 to 65535", undo: "sed -i 's/1024 65536/1024 65535/' /etc/rsagent/rsagent.toml; sysctl -qw net.ipv4.ip_local_port_range='1024 65535'",
			clean: "sysctl -qw net.ipv4.ip_local_port_range='32768 60999'"},
	}
}

func guardRows() []row {
	return []row{
		{name: "rsagent's table is gone", inject: "nft delete table ip rsagent",
			sees: timeout, // what a client sends for TLS is larger than fits into the tunnel
			id:   "tunnel/firewall", owned: true},
		{name: "the guard lacks the director", inject: "nft flush set ip rsagent directors",
			sees: timeout, id: "tunnel/firewall", owned: true},
		{name: "the guard lacks the VIP", inject: "nft flush set ip rsagent vips",
			sees: timeout, id: "tunnel/firewall", owned: true},
		{name: "a stranger is a director to the guard", inject: "nft add element ip rsagent directors '{ 10.9.0.10 }'",
			sees: fine, id: "tunnel/firewall", owned: true},
		{name: "the clamp of the MSS is gone", inject: "nft flush chain ip rsagent clamp",
			sees: hangs, with: upload, id: "tunnel/firewall", owned: true},
	}
}
