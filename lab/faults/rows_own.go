package main

// byHand sets the node up as the shell commands of today do it.
const byHand = `modprobe ipip; ip addr flush dev tunl0
	sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2 net.ipv4.conf.tunl0.rp_filter=0 net.ipv4.conf.all.rp_filter=0
	ip route replace default via 10.9.0.10 advmss 1440
	ip addr add 10.9.0.100/32 dev tunl0; ip link set tunl0 up; nft delete table ip rsagent 2>/dev/null || true
`

func ownRows() []row {
	const good = "cp /etc/rsagent/good.toml /etc/rsagent/rsagent.toml"
	return []row{
		{name: "the configuration names another VIP", inject: "sed -i s/10.9.0.100/10.9.0.101/ /etc/rsagent/rsagent.toml",
			clean: good, sees: fine, id: "tunnel/firewall", undo: good, words: ""},
		{name: "the configuration lacks the directors", inject: "sed -i '/^directors/d' /etc/rsagent/rsagent.toml; systemctl start rsagent",
			sees: fine, id: "tunnel/directors", undo: good + "; systemctl reload rsagent", words: "set directors"},
		{name: "rsagent runs in another network namespace", from: other,
			inject: "sed -i s/web1/web2/ /etc/systemd/system/rsagent.service.d/lab.conf; systemctl daemon-reload; systemctl start rsagent",
			sees:   fine, id: "service/listens/http-pool", says: "listens on it in the network namespace web1", words: "NetworkNamespacePath=",
			undo: "systemctl kill -s KILL rsagent; systemctl stop rsagent; " +
				"ip netns exec web2 sh -c 'ip addr flush dev tunl0; ip link set tunl0 down; nft delete table ip rsagent; sysctl -qw net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.all.arp_announce=0'; " +
				"sed -i s/web2/web1/ /etc/systemd/system/rsagent.service.d/lab.conf; systemctl daemon-reload; systemctl start rsagent"},
		{name: "check runs in another network namespace", inject: "true", from: other,
			sees: fine, id: "path/namespace", says: "in the network namespace web1 tunl0 holds 10.9.0.100"},
	}
}

// written has the settings of LVS-TUN stand in a file, and no other set them at boot.
func written(file string) string {
	return byHand + `mkdir -p /run/aside; mv /etc/sysctl.d/99-sysctl.conf /run/aside 2>/dev/null || true; cp /etc/sysctl.conf /run/aside 2>/dev/null || true
	printf 'net.ipv4.conf.all.arp_ignore = 1\nnet.ipv4.conf.all.arp_announce = 2\n' > ` + file + "\n"
}

func handRows() []row {
	const unwritten = "rm -f /etc/sysctl.conf /etc/sysctl.d/zz-lvs.conf /etc/sysctl.d/10-lvs.conf /etc/sysctl.d/60-hardening.conf; " +
		"mv /run/aside/99-sysctl.conf /etc/sysctl.d/; mv /run/aside/sysctl.conf /etc/"
	const lo = byHand + "ip addr del 10.9.0.100/32 dev tunl0; ip addr add 10.9.0.100/32 dev lo; "
	return []row{
		{name: "by hand: tunl0 is down", hand: true, inject: byHand + "ip link set tunl0 down",
			sees: some, id: "tunnel/up"},
		{name: "by hand: rp_filter is strict", hand: true, inject: byHand + "sysctl -qw net.ipv4.conf.tunl0.rp_filter=1",
			sees: timeout, id: "sysctl/rp_filter/tunl0"},
		{name: "by hand: arp_ignore is off", hand: true, inject: byHand + "sysctl -qw net.ipv4.conf.all.arp_ignore=0",
			sees: taken, with: asked, id: "sysctl/arp_ignore/interfaces"},
		{name: "by hand: clients are told of larger segments than fit, and ICMP is lost", hand: true, inject: byHand + "ip route replace default via 10.9.0.10",
			sees: some, id: "path/mtu"},
		{name: "by hand: nftables drops protocol 4, and nobody has said who the directors are", hand: true,
			inject: byHand + "nft 'add table ip site; add chain ip site input { type filter hook input priority 0; }; add rule ip site input meta l4proto 4 drop'",
			sees:   timeout, busy: true, id: "path/vanish", says: "table ip site"},
		{name: "by hand: check runs in another network namespace", hand: true, inject: byHand, from: other,
			sees: fine, id: "path/namespace", says: "in the network namespace web1 tunl0 holds 10.9.0.100"},
		{name: "by hand: the settings stand in a file that nothing reads at boot", hand: true,
			inject: written("/etc/sysctl.conf"), clean: unwritten,
			sees: taken, with: rebooted, id: "sysctl/boot", says: "/etc/sysctl.conf:1, which nothing reads at boot"},
		{name: "by hand: a later file takes a setting back at boot", hand: true,
			inject: written("/etc/sysctl.d/10-lvs.conf") + "echo 'net.ipv4.conf.all.arp_ignore = 0' > /etc/sysctl.d/60-hardening.conf", clean: unwritten,
			sees: taken, with: rebooted, id: "sysctl/boot", says: "and /etc/sysctl.d/60-hardening.conf:1 sets 0 after it"},
		{name: "by hand: the VIP is on lo, tunl0 has no address, and rp_filter is loose", hand: true,
			inject: lo + "sysctl -qw net.ipv4.conf.tunl0.rp_filter=2",
			sees:   timeout, id: "sysctl/rp_filter/tunl0"},
	}
}
