package main

func filterRows() []row {
	return []row{
		{name: "nftables drops protocol 4 in input",
			inject: "nft 'add table ip site; add chain ip site input { type filter hook input priority 0; }; add rule ip site input meta l4proto 4 drop'",
			clean:  "nft delete table ip site", sees: timeout, id: "filter/directors"},
		{name: "nftables drops protocol 4 in prerouting, of every family",
			inject: "nft 'add table inet site; add chain inet site raw { type filter hook prerouting priority -300; }; add rule inet site raw ip protocol ipencap drop'",
			clean:  "nft delete table inet site", sees: timeout, id: "filter/directors"},
		{name: "nftables drops protocol 4 at the device, in netdev ingress",
			inject: "nft 'add table netdev site; add chain netdev site in { type filter hook ingress device eth0 priority 0; }; add rule netdev site in ip protocol 4 drop'",
			clean:  "nft delete table netdev site", sees: timeout, id: "filter/directors"},
		{name: "the policy of input is drop, and lets ports 80 and 443 in by eth0 only",
			inject: `nft 'add table inet site; add chain inet site input { type filter hook input priority 0; policy drop; };
				add rule inet site input ct state established,related accept; add rule inet site input iifname lo accept;
				add rule inet site input meta l4proto { icmp, 4 } accept; add rule inet site input iifname eth0 tcp dport { 80, 443, 9380 } accept'`,
			clean: "nft delete table inet site", sees: timeout, id: "filter/clients"},
		{name: "a set of blocked networks has the clients",
			inject: "nft 'add table ip site; add set ip site blocked { type ipv4_addr; flags interval; elements = { 198.51.100.0/24, 203.0.113.0/24 }; }; add chain ip site input { type filter hook input priority 0; }; add rule ip site input ip saddr @blocked drop'",
			clean:  "nft delete table ip site", sees: timeout, busy: true, id: "path/vanish"},
		{name: "iptables-legacy drops protocol 4", inject: "iptables-legacy -A INPUT -p 4 -j DROP",
			clean: "iptables-legacy -F INPUT", sees: timeout, id: "filter/directors"},
		{name: "iptables-nft rejects protocol 4", inject: "iptables-nft -A INPUT -p ipencap -j REJECT --reject-with icmp-admin-prohibited",
			clean: "nft delete table ip filter", sees: some, id: "filter/directors"},
		{name: "iptables drops by a match that only the kernel can tell",
			inject: `iptables-nft -A INPUT -p tcp --dport 80 -m u32 --u32 '0>>22&0x3C@12>>16&0x02=0x02' -j DROP`,
			clean:  "nft delete table ip filter", sees: timeout, id: "path/in", says: "-m u32"},
		{name: "zones like firewalld's without IPIP",
			inject: `nft 'add table inet fw; add chain inet fw IN_public; add chain inet fw IN_ZONES;
				add chain inet fw INPUT { type filter hook input priority 10; };
				add rule inet fw IN_public tcp dport { 22, 80, 443, 9380 } accept;
				add rule inet fw IN_ZONES goto IN_public;
				add rule inet fw INPUT ct state established,related accept; add rule inet fw INPUT iifname lo accept;
				add rule inet fw INPUT iifname tunl0 accept; add rule inet fw INPUT jump IN_ZONES;
				add rule inet fw INPUT reject with icmpx admin-prohibited'`,
			clean: "nft delete table inet fw", sees: some, id: "filter/directors"},
		{name: "Docker's DNAT takes port 80 to a container that is gone",
			inject: "nft 'add table ip docker; add chain ip docker pre { type nat hook prerouting priority -100; }; add rule ip docker pre fib daddr type local tcp dport 80 dnat to 172.17.0.2:8080'",
			clean:  "nft delete table ip docker; conntrack -F 2>/dev/null", sees: some, id: "filter/clients"},
		{name: "REDIRECT takes port 80 to a port where nobody listens",
			inject: "nft 'add table ip proxy; add chain ip proxy pre { type nat hook prerouting priority -100; }; add rule ip proxy pre tcp dport 80 redirect to :3128'",
			clean:  "nft delete table ip proxy; conntrack -F 2>/dev/null", sees: some, id: "filter/clients"},
		{name: "new connections without a state are dropped, and port 80 is not tracked",
			inject: `nft 'add table ip site; add chain ip site raw { type filter hook prerouting priority -300; }; add rule ip site raw tcp dport 80 notrack;
				add chain ip site input { type filter hook input priority 0; }; add rule ip site input meta l4proto tcp ct state != { new, established, related } drop'`,
			clean: "nft delete table ip site", sees: some, id: "filter/clients"},
		{name: "the answers are dropped in output",
			inject: "nft 'add table ip site; add chain ip site output { type filter hook output priority 0; }; add rule ip site output oifname eth0 ip saddr 10.9.0.100 drop'",
			clean:  "nft delete table ip site", sees: timeout, id: "filter/answers"},
		{name: "eth0 is in a bridge, which drops protocol 4 before IP sees it",
			inject: bridge + "nft 'add table bridge site; add chain bridge site input { type filter hook input priority 0; }; add rule bridge site input iifname eth0 ip protocol 4 drop'",
			clean:  noBridge, sees: timeout, id: "filter/directors", says: "table bridge site"},
		{name: "eth0 is in a bridge, and ebtables drops the answers",
			inject: bridge + "ebtables-nft -A OUTPUT -o eth0 -p IPv4 --ip-src 10.9.0.100 -j DROP",
			clean:  noBridge, sees: timeout, id: "filter/answers", says: "table bridge filter"},
	}
}

// bridge makes eth0 the port of a bridge, and noBridge takes that back.
const (
	bridge = `ip addr flush dev eth0; ip link add br0 type bridge forward_delay 0; ip link set br0 address 02:00:0a:09:00:1f
		ip link set eth0 master br0; ip link set br0 up; ip addr add 10.9.0.31/24 dev br0; ip route replace default via 10.9.0.10
		`
	noBridge = "nft delete table bridge site 2>/dev/null; nft delete table bridge filter 2>/dev/null; ip link del br0; ip addr add 10.9.0.31/24 dev eth0; ip route replace default via 10.9.0.10"
)

func hookRows() []row {
	return []row{
		{name: "tc drops what comes in by eth0",
			inject: "tc qdisc add dev eth0 clsact; tc filter add dev eth0 ingress protocol ip u32 match ip protocol 4 0xff action drop",
			clean:  "tc qdisc del dev eth0 clsact 2>/dev/null", sees: timeout, id: "path/tc"},
		{name: "tc drops what comes out of tunl0",
			inject: "tc qdisc add dev tunl0 clsact; tc filter add dev tunl0 ingress matchall action drop",
			clean:  "tc qdisc del dev tunl0 clsact 2>/dev/null", sees: timeout, id: "path/tc"},
		{name: "netem loses all that eth0 sends to clients",
			inject: "tc qdisc add dev eth0 root handle 1: prio; tc qdisc add dev eth0 parent 1:3 netem loss 100%; tc filter add dev eth0 parent 1: protocol ip u32 match ip src 10.9.0.100/32 flowid 1:3",
			clean:  "tc qdisc del dev eth0 root 2>/dev/null", sees: timeout, id: "path/loss"},
		{name: "a shaper lets next to nothing out by eth0",
			// The first packet takes all that it may send at once.
			inject: "tc qdisc add dev eth0 root tbf rate 100bit burst 1600 limit 60000; ping -q -c 2 -i 0.2 -W 1 -s 1400 10.9.0.10 >/dev/null || true",
			clean:  "tc qdisc del dev eth0 root 2>/dev/null", sees: timeout, id: "path/loss", says: "tbf on eth0 let out"},
		{name: "the class of a shaper that has the answers lets next to nothing out",
			inject: `tc qdisc add dev eth0 root handle 1: htb default 20
				tc class add dev eth0 parent 1: classid 1:10 htb rate 64bit ceil 64bit burst 1 cburst 1; tc class add dev eth0 parent 1: classid 1:20 htb rate 1gbit
				tc filter add dev eth0 parent 1: protocol ip u32 match ip src 10.9.0.100/32 flowid 1:10`,
			clean: "tc qdisc del dev eth0 root 2>/dev/null", sees: timeout, id: "path/loss", says: "class 1:10 of htb on eth0"},
		{name: "an XDP program drops what is encapsulated", inject: attachXDP,
			clean: "ip link set eth0 xdp off; ip link set eth0 xdpgeneric off", sees: timeout, id: "path/xdp"},
		{name: "an IPsec policy blocks what clients send",
			inject: "ip xfrm policy add dir in src 0.0.0.0/0 dst 10.9.0.100/32 action block",
			clean:  "ip xfrm policy flush", sees: timeout, id: "path/xfrm"},
		{name: "an IPsec policy blocks the answers",
			inject: "ip xfrm policy add dir out src 10.9.0.100/32 dst 0.0.0.0/0 action block",
			clean:  "ip xfrm policy flush", sees: timeout, id: "path/xfrm"},
	}
}

// attachXDP has eth0 drop what is of protocol 4. The machine has no compiler, so
// the program is written as the kernel reads it (bpf(2)): load, pin, attach.
const attachXDP = `python3 - <<'end'
import ctypes, os, struct
def insn(code, regs, off, imm): return struct.pack("<BBhi", code, regs, off, imm)
program = b"".join(insn(*i) for i in [
    (0x61, 0x12, 0, 0), (0x61, 0x13, 4, 0),       # r2 = data, r3 = data_end
    (0xbf, 0x24, 0, 0), (0x07, 0x04, 0, 34),      # r4 = r2 + Ethernet and IPv4 header
    (0x2d, 0x34, 2, 0),                           # pass if that is behind the end
    (0x71, 0x20, 23, 0), (0x15, 0x00, 2, 4),      # drop if the protocol is 4
    (0xb7, 0x00, 0, 2), (0x95, 0, 0, 0),          # return XDP_PASS
    (0xb7, 0x00, 0, 1), (0x95, 0, 0, 0)])         # return XDP_DROP
libc = ctypes.CDLL(None, use_errno=True)
def bpf(command, attributes):
    attributes = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    result = libc.syscall(321, command, attributes, 128)
    if result < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
code, licence, path = (ctypes.create_string_buffer(b) for b in (program, b"GPL", b"/sys/fs/bpf/drop"))
fd = bpf(5, struct.pack("<IIQQ", 6, len(program) // 8, ctypes.addressof(code), ctypes.addressof(licence)))
bpf(6, struct.pack("<QI", ctypes.addressof(path), fd))
end
ip link set eth0 xdpgeneric pinned /sys/fs/bpf/drop; rm /sys/fs/bpf/drop`
