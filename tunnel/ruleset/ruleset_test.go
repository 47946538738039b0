package ruleset_test

import (
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"rsagent/tunnel/ruleset"

	"golang.org/x/sys/unix"
)

func init() { runtime.LockOSThread() }

// enterNamespace moves the test into a network namespace of its own.
func enterNamespace(t testing.TB) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("cannot make a network namespace (the tests need root): %v", err)
	}
}

// load runs lines of a shell, or a ruleset of nft.
func load(t testing.TB, rules string) {
	t.Helper()
	cmd := exec.Command("nft", "-f", "-")
	script := strings.ReplaceAll(rules, " }", "\n}") + "\n" // nft wants each end of a block on a line
	if strings.HasPrefix(rules, "iptables") || strings.HasPrefix(rules, "ebtables") {
		cmd, script = exec.Command("sh", "-e"), rules
	}
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func read(t testing.TB) *ruleset.Ruleset {
	t.Helper()
	r, err := ruleset.Read()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var (
	director = netip.MustParseAddr("10.9.0.21")
	node     = netip.MustParseAddr("10.9.0.31")
	vip      = netip.MustParseAddr("10.9.0.100")
	client   = netip.MustParseAddr("198.51.100.7")
	wan      = ruleset.Link{Index: 2, Name: "wan", Type: 1}
	tunl0    = ruleset.Link{Index: 3, Name: "tunl0", Type: 768}

	ipip   = ruleset.Packet{In: wan, Src: director, Dst: node, Protocol: 4, Back: wan}
	syn    = ruleset.Packet{In: tunl0, Src: client, Dst: vip, Protocol: 6, SrcPort: 40000, DstPort: 80, Flags: 2, Back: wan}
	answer = ruleset.Packet{Out: wan, Src: vip, Dst: client, Protocol: 6, SrcPort: 80, DstPort: 40000, Flags: 18, State: ruleset.Established}
)

// describe is a fate in one line: outcome, table, chain, what stops it.
func describe(f ruleset.Fate) string {
	s := f.Outcome.String()
	if f.By.Table != "" {
		s += " " + f.By.Table + "/" + f.By.Chain
		if f.By.Policy {
			s += " policy"
		}
	}
	if f.If != nil {
		s += " if " + describe(*f.If)
	}
	return s
}

var port = ruleset.Link{Index: 4, Name: "port", Type: 1}

func bridged(p ruleset.Packet) ruleset.Packet {
	p.Port = port
	return p
}

func atSomePort(p ruleset.Packet) ruleset.Packet {
	p.Port = ruleset.SomePort
	return p
}

func invalid(p ruleset.Packet) ruleset.Packet {
	p.State = ruleset.Invalid
	return p
}

func TestTraceSaysWhatBecomesOfAPacket(t *testing.T) {
	filter := func(rules string) string {
		return "table inet f { chain in { type filter hook input priority 0; policy accept; " + rules + " } }"
	}
	for _, tt := range []struct {
		name   string
		rules  string
		packet ruleset.Packet
		want   string
		remedy string
	}{
		{name: "no rules", packet: ipip, want: "passes"},
		{name: "a policy", rules: "table inet f { chain in { type filter hook input priority 0; policy drop; } }", packet: ipip,
			want: "dropped f/in policy", remedy: "nft insert rule inet f in ip protocol 4 ip saddr 10.9.0.21 accept"},
		{name: "a protocol", rules: filter("meta l4proto 4 counter drop"), packet: ipip, want: "dropped f/in"},
		{name: "another protocol", rules: filter("meta l4proto 47 drop"), packet: ipip, want: "passes"},
		{name: "a prefix", rules: filter("ip saddr 10.9.0.0/16 drop"), packet: ipip, want: "dropped f/in"},
		{name: "a prefix of whole bits", rules: filter("ip saddr 10.9.0.16/28 drop"), packet: ipip, want: "dropped f/in"},
		{name: "a port", rules: filter("tcp dport 80 reject"), packet: syn, want: "dropped f/in"},
		{name: "a range of ports", rules: filter("tcp dport 81-90 drop"), packet: syn, want: "passes"},
		{name: "a port of another protocol", rules: filter("tcp dport 80 drop"), packet: ipip, want: "passes"},
		{name: "flags", rules: filter("tcp flags & (fin|syn|rst|ack) == syn drop"), packet: syn, want: "dropped f/in"},
		{name: "a set", rules: "table inet f { set s { type ipv4_addr; elements = { 10.9.0.21, 10.9.0.22 } }; chain in { type filter hook input priority 0; ip saddr @s drop; } }", packet: ipip, want: "dropped f/in"},
		{name: "a negated set", rules: filter("ip saddr != { 10.9.0.21, 10.9.0.22 } drop"), packet: ipip, want: "passes"},
		{name: "an interval", rules: filter("ip saddr { 10.9.0.0-10.9.0.20, 10.9.0.22-10.9.0.30 } drop"), packet: ipip, want: "passes"},
		{name: "adjacent intervals", rules: filter("ip saddr { 10.9.0.0/28, 10.9.0.16/28 } drop"), packet: ipip, want: "dropped f/in"},
		{name: "an interval up to the end", rules: filter("ip saddr { 10.0.0.0-255.255.255.255 } drop"), packet: ipip, want: "dropped f/in"},
		{name: "a concatenation", rules: filter("ip saddr . tcp dport { 198.51.100.7 . 80 } drop"), packet: syn, want: "dropped f/in"},
		{name: "a concatenation of intervals", rules: filter("ip saddr . tcp dport { 198.51.100.0/24 . 79-81 } drop"), packet: syn, want: "dropped f/in"},
		{name: "a verdict map", rules: filter("tcp dport vmap { 22 : accept, 80 : drop }"), packet: syn, want: "dropped f/in"},
		{name: "a verdict map of names", rules: "table inet f { chain z { drop; }; chain in { type filter hook input priority 0; iifname vmap { \"wan\" : jump z, \"lo\" : accept }; } }", packet: ipip, want: "dropped f/z"},
		{name: "goto does not come back", rules: "table inet f { chain z { tcp dport 22 drop; }; chain in { type filter hook input priority 0; goto z; drop; } }", packet: ipip, want: "passes"},
		{name: "jump comes back", rules: "table inet f { chain z { tcp dport 22 drop; return; }; chain in { type filter hook input priority 0; jump z; drop; } }", packet: ipip, want: "dropped f/in"},
		{name: "accept ends its chain only", rules: filter("accept") + "\ntable ip g { chain in { type filter hook input priority 10; drop; } }", packet: ipip, want: "dropped g/in"},
		{name: "state invalid", rules: filter("ct state invalid drop"), packet: invalid(ipip), want: "dropped f/in"},
		{name: "state established", rules: "table inet f { chain out { type filter hook output priority 0; policy drop; ct state established,related accept; } }", packet: answer, want: "passes"},
		{name: "notrack makes untracked", rules: "table ip r { chain p { type filter hook prerouting priority -300; ip protocol 4 notrack; } }\n" + filter("ct state untracked drop"), packet: ipip, want: "dropped f/in"},
		{name: "a raw drop", rules: "table ip r { chain p { type filter hook prerouting priority -300; ip protocol 4 drop; } }", packet: ipip,
			want: "dropped r/p", remedy: "nft insert rule ip r p ip protocol 4 ip saddr 10.9.0.21 accept"},
		{name: "marks are carried", rules: "table ip r { chain p { type filter hook prerouting priority -300; meta mark set 0x42; } }\n" + filter("meta mark & 0xff == 0x42 drop"), packet: ipip, want: "dropped f/in"},
		{name: "a limit that may be over", rules: filter("ip protocol 4 limit rate 10/second accept; drop"), packet: ipip, want: "cannot tell f/in if dropped f/in"},
		{name: "a limit that does not matter", rules: filter("limit rate 10/second log; ip protocol 4 drop"), packet: ipip, want: "dropped f/in"},
		{name: "a dscp that is not known", rules: filter("ip dscp 10 drop"), packet: ipip, want: "cannot tell f/in if dropped f/in"},
		{name: "an option that is not known", rules: filter("meta l4proto tcp tcp option maxseg size 1400 drop"), packet: syn, want: "cannot tell f/in if dropped f/in"},
		{name: "a drop of a link's ingress", rules: "table netdev n { chain i { type filter hook ingress device lo priority 0; ip protocol 4 drop; } }",
			packet: ruleset.Packet{In: ruleset.Link{Index: 1, Name: "lo"}, Src: director, Dst: node, Protocol: 4},
			want:   "dropped n/i", remedy: "nft insert rule netdev n i ip protocol 4 ip saddr 10.9.0.21 accept"},
		{name: "the ingress of another link", rules: "table netdev n { chain i { type filter hook ingress device lo priority 0; ip protocol 4 drop; } }", packet: ipip, want: "passes"},
		{name: "masquerade leaves answers", rules: "table ip n { chain p { type nat hook postrouting priority 100; masquerade; } }", packet: answer, want: "passes"},
		{name: "redirect", rules: "table ip n { chain p { type nat hook prerouting priority -100; tcp dport 80 redirect to :8080; } }", packet: syn,
			want: "rewritten n/p", remedy: "nft insert rule ip n p ip daddr 10.9.0.100 tcp dport 80 accept"},
		{name: "dnat to itself", rules: "table ip n { chain p { type nat hook prerouting priority -100; tcp dport 80 dnat to 10.9.0.100; } }", packet: syn, want: "passes"},
		{name: "iptables-nft", rules: "iptables-nft -A INPUT -p tcp -m multiport --dports 80,443 -m conntrack --ctstate NEW -j REJECT", packet: syn,
			want: "dropped filter/INPUT", remedy: "iptables-nft -I INPUT -p tcp -d 10.9.0.100 --dport 80 -j ACCEPT"},
		{name: "iptables-nft as docker does", rules: "iptables-nft -t nat -N DOCKER\niptables-nft -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\niptables-nft -t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport 80 -j DNAT --to-destination 172.17.0.2:80", packet: syn,
			want: "rewritten nat/DOCKER", remedy: "iptables-nft -t nat -I PREROUTING -p tcp -d 10.9.0.100 --dport 80 -j ACCEPT"},
		{name: "iptables-legacy", rules: "iptables-legacy -A INPUT -p 4 -j DROP", packet: ipip,
			want: "dropped filter/INPUT", remedy: "iptables-legacy -I INPUT -p 4 -s 10.9.0.21 -j ACCEPT"},
		{name: "iptables-legacy's policy", rules: "iptables-legacy -P INPUT DROP", packet: ipip, want: "dropped filter/INPUT policy"},
		{name: "iptables-legacy as ufw does", rules: strings.Join([]string{"iptables-legacy -P INPUT DROP", "iptables-legacy -N ufw-before", "iptables-legacy -N ufw-user",
			"iptables-legacy -A INPUT -j ufw-before", "iptables-legacy -A ufw-before -i lo -j ACCEPT", "iptables-legacy -A ufw-before -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
			"iptables-legacy -A ufw-before -m conntrack --ctstate INVALID -j DROP", "iptables-legacy -A ufw-before -g ufw-user", "iptables-legacy -A ufw-user -p tcp -m multiport --dports 80,443 -j ACCEPT"}, "\n"),
			packet: syn, want: "passes"},
		{name: "iptables-legacy's user chain returns", rules: "iptables-legacy -N z\niptables-legacy -A z -p 47 -j DROP\niptables-legacy -A INPUT -j z\niptables-legacy -A INPUT -j REJECT", packet: ipip, want: "dropped filter/INPUT"},
		{name: "iptables-legacy's raw NOTRACK", rules: "iptables-legacy -t raw -A PREROUTING -p 4 -j NOTRACK\niptables-legacy -A INPUT -m state --state UNTRACKED -j DROP", packet: ipip, want: "dropped filter/INPUT"},
		{name: "iptables-legacy's match that cannot be known", rules: "iptables-legacy -A INPUT -m statistic --mode random --probability 0.5 -j DROP", packet: ipip, want: "cannot tell filter/INPUT if dropped filter/INPUT"},
		{name: "firewalld", rules: firewalld, packet: ipip, want: "dropped firewalld/filter_INPUT",
			remedy: `firewall-cmd --permanent --zone=public --add-rich-rule='rule family="ipv4" source address="10.9.0.21" protocol value="4" accept'; firewall-cmd --reload`},
		{name: "firewalld's open port", rules: firewalld, packet: syn, want: "passes"},
		{name: "firewalld's invalid", rules: firewalld, packet: invalid(ipip), want: "dropped firewalld/filter_INPUT"},
		{name: "an added element may be found later", rules: "table ip f { set s { type ipv4_addr; flags dynamic; size 100; }; chain in { type filter hook input priority 0; add @s { ip saddr}; ip saddr @s drop; } }", packet: ipip, want: "cannot tell f/in if dropped f/in"},
		{name: "a filter of bridges", rules: "table bridge b { chain in { type filter hook input priority 0; ip protocol 4 counter drop; } }", packet: bridged(ipip),
			want: "dropped b/in", remedy: "nft insert rule bridge b in ip protocol 4 ip saddr 10.9.0.21 accept"},
		{name: "a filter of bridges, where none is passed", rules: "table bridge b { chain in { type filter hook input priority 0; ip protocol 4 drop; } }", packet: ipip, want: "passes"},
		{name: "a policy of bridges in prerouting", rules: "table bridge b { chain pre { type filter hook prerouting priority -300; policy drop; ether type arp accept; } }", packet: bridged(ipip), want: "dropped b/pre policy"},
		{name: "a port of a bridge", rules: "table bridge b { chain in { type filter hook input priority 0; iifname \"port\" ether type ip drop; } }", packet: bridged(ipip), want: "dropped b/in"},
		{name: "another port of a bridge", rules: "table bridge b { chain in { type filter hook input priority 0; iifname \"wan\" drop; } }", packet: bridged(ipip), want: "passes"},
		{name: "a port of a bridge that is not known", rules: "table bridge b { chain in { type filter hook input priority 0; iifname \"port\" drop; } }", packet: atSomePort(ipip), want: "cannot tell b/in if dropped b/in"},
		{name: "what a bridge sends on to others", rules: "table bridge b { chain f { type filter hook forward priority 0; policy drop; } }", packet: bridged(ipip), want: "passes"},
		{name: "what is dropped by a hardware address", rules: "table bridge b { chain in { type filter hook input priority 0; ether saddr 02:00:00:00:00:01 drop; } }", packet: bridged(ipip), want: "cannot tell b/in if dropped b/in"},
		{name: "a bridge filters answers", rules: "table bridge b { chain out { type filter hook output priority 0; oifname \"port\" ip saddr 10.9.0.100 drop; } }", packet: bridged(answer),
			want: "dropped b/out", remedy: "nft insert rule bridge b out ip saddr 10.9.0.100 tcp sport 80 accept"},
		{name: "the ingress of a bridge's port", rules: "table netdev n { chain i { type filter hook ingress device lo priority 0; ip protocol 4 drop; } }",
			packet: ruleset.Packet{In: wan, Port: ruleset.Link{Index: 1, Name: "lo"}, Src: director, Dst: node, Protocol: 4}, want: "dropped n/i"},
		{name: "ebtables-nft", rules: "ebtables-nft -A INPUT -p IPv4 --ip-proto 4 --ip-src 10.9.0.0/24 -j DROP", packet: bridged(ipip),
			want: "dropped filter/INPUT", remedy: "ebtables-nft -I INPUT -p IPv4 --ip-proto 4 --ip-src 10.9.0.21 -j ACCEPT"},
		{name: "ebtables-nft and another network", rules: "ebtables-nft -A INPUT -p IPv4 --ip-proto 4 ! --ip-src 10.9.0.0/24 -j DROP", packet: bridged(ipip), want: "passes"},
		{name: "ebtables-nft of ARP", rules: "ebtables-nft -A INPUT -p ARP -j DROP", packet: bridged(ipip), want: "passes"},
		{name: "ebtables-nft filters answers", rules: "ebtables-nft -t nat -A POSTROUTING -p IPv4 --ip-proto 6 --ip-source 10.9.0.100 --ip-sport 80 -j DROP", packet: bridged(answer),
			want: "dropped nat/POSTROUTING", remedy: "ebtables-nft -t nat -I POSTROUTING -p IPv4 --ip-proto 6 --ip-src 10.9.0.100 --ip-sport 80 -j ACCEPT"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			enterNamespace(t)
			if tt.rules != "" {
				load(t, tt.rules)
			}
			f := read(t).Trace(tt.packet)
			if got := describe(f); got != tt.want {
				t.Errorf("got %q, want %q: %s", got, tt.want, f.By)
			}
			remedies := f.Remedies()
			if got := strings.Join(remedies, "; "); tt.remedy != "" && got != tt.remedy {
				t.Errorf("remedy\n got %q\nwant %q", got, tt.remedy)
			}
			t.Log(f.By, "| why:", f.Why)
			for i := 0; !strings.HasPrefix(f.By.Table, "fire") && i < len(remedies); i++ {
				load(t, strings.TrimPrefix(remedies[i], "nft "))
			}
			if !strings.HasPrefix(f.By.Table, "fire") && len(remedies) > 0 {
				if after := read(t).Trace(tt.packet); after.Outcome != ruleset.Passes {
					t.Errorf("after %q the packet is %s", remedies, describe(after))
				}
			}
		})
	}
}

const firewalld = `table inet firewalld {
	chain filter_INPUT {
		type filter hook input priority filter + 10; policy accept;
		ct state { established, related } accept
		ct status dnat accept
		iifname "lo" accept
		ct state invalid drop
		jump filter_INPUT_ZONES
		reject with icmpx admin-prohibited
	}
	chain filter_INPUT_ZONES {
		iifname "other" goto filter_IN_other
		goto filter_IN_public
	}
	chain filter_IN_other { accept; }
	chain filter_IN_public {
		jump filter_IN_public_allow
		meta l4proto { icmp, ipv6-icmp } accept
	}
	chain filter_IN_public_allow {
		tcp dport { 80, 443 } accept
	}
}
`
