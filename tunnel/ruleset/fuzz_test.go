package ruleset

import (
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func inNamespace(f *testing.F, rules string) {
	f.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		f.Fatalf("cannot make a network namespace (the tests need root): %v", err)
	}
	cmd := exec.Command("sh", "-e")
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		f.Fatalf("%v: %s", err, out)
	}
}

// follow traces packets through a table that came from anywhere.
func follow(t *table) {
	r := &Ruleset{tables: []*table{t}, legacyTool: "iptables"}
	wan := Link{Index: 2, Name: "wan", Type: 1}
	from, to := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	for _, p := range []Packet{
		{In: wan, Src: from, Dst: to, Protocol: 4},
		{In: wan, Src: from, Dst: to, Protocol: 6, SrcPort: 1, DstPort: 80, Flags: 2},
		{Out: wan, Src: from, Dst: to, Protocol: 6, SrcPort: 80, DstPort: 1, State: Established},
	} {
		f := r.Trace(p)
		_ = f.By.String()
		f.Remedies()
	}
}

// FuzzLegacyTable reads the entries of an ip_tables table.
func FuzzLegacyTable(f *testing.F) {
	inNamespace(f, `
iptables-legacy -N z
iptables-legacy -A z -p tcp -m multiport --dports 80,443 -m conntrack --ctstate NEW,INVALID -j REJECT
iptables-legacy -A z -m mark --mark 1 -m addrtype --dst-type LOCAL -m iprange --src-range 10.0.0.1-10.0.0.9 -j RETURN
iptables-legacy -A INPUT -i wan -p tcp ! --dport 22 -j z
iptables-legacy -A INPUT -p 4 -g z
iptables-legacy -P INPUT DROP
iptables-legacy -t nat -A PREROUTING -p tcp --dport 80 -j DNAT --to 10.0.0.1:81
iptables-legacy -t mangle -A PREROUTING -j CONNMARK --save-mark
`)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	if err != nil {
		f.Fatal(err)
	}
	defer unix.Close(fd)
	for _, name := range []string{"filter", "nat", "mangle"} {
		info, entries, err := legacyBytes(fd, name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(name, info, entries)
	}
	f.Fuzz(func(t *testing.T, name string, info, entries []byte) {
		parsed, err := parseLegacy(name, info, entries)
		if err == nil {
			follow(parsed)
		}
	})
}

const everything = `nft -f - <<'END'
table inet f {
	set s { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.0.2.1-192.0.2.9 }
	}
	set c { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.0/8 . 80-90 }
	}
	map m { type inet_service : verdict; elements = { 22 : accept, 80 : jump z }
	}
	chain z { ct state established,related accept; meta mark set 1; return; }
	chain in {
		type filter hook input priority 0; policy drop;
		ip saddr @s ip protocol 4 accept
		ip saddr . tcp dport @c accept
		tcp dport vmap @m
		fib daddr type local limit rate 1/second log accept
		tcp flags & (syn|ack) == syn ct mark 1 goto z
		iifname "wan*" ip saddr != 10.0.0.0-10.0.0.9 reject
		ip dscp set cs1 ip daddr set 10.0.0.1
	}
	chain p { type nat hook prerouting priority -100; tcp dport 80 dnat ip to 10.0.0.1:80; redirect; }
}
END
iptables-nft -A INPUT -p tcp -m multiport --dports 80,443 -m conntrack --ctstate NEW -j REJECT
`

// FuzzRule reads the expressions of a rule of nf_tables, and the elements of a set.
func FuzzRule(f *testing.F) {
	inNamespace(f, everything)
	c, err := converse()
	if err != nil {
		f.Fatal(err)
	}
	defer c.close()
	for _, kind := range []uint16{unix.NFT_MSG_GETRULE, unix.NFT_MSG_GETCHAIN, unix.NFT_MSG_GETSET} {
		for _, family := range []uint8{1, 2} {
			err := c.ask(kind, unix.NLM_F_DUMP, family, nil, func(_ uint8, b []byte) error {
				f.Add(b, []byte{})
				return nil
			})
			if err != nil {
				f.Fatal(err)
			}
		}
	}
	tables, err := c.list()
	if err != nil {
		f.Fatal(err)
	}
	for _, t := range tables {
		for _, s := range t.sets {
			for _, list := range s.raw {
				f.Add([]byte{}, list)
			}
		}
	}
	f.Fuzz(func(t *testing.T, body, elements []byte) {
		a, err := parseAttributes(body)
		if err != nil {
			return
		}
		made := &table{family: familyInet, name: "f", chains: map[string]*chain{}, sets: map[string]*set{}}
		for i, name := range []string{"s", "c", "m", "__set0", "__map0"} {
			s := &set{table: made, name: name, keyLength: 4 * (1 + i%2), flags: uint32(4 * (i % 3)), raw: [][]byte{elements}}
			s.fields = []int{s.keyLength}
			made.sets[name] = s
		}
		parsed := parseSet(&a, made)
		parsed.raw = [][]byte{elements}
		if fits(0, parsed.keyLength) {
			made.sets[parsed.name] = parsed
			parsed.look(unknown(parsed.keyLength))
			parsed.look(sure(make([]byte, parsed.keyLength)...))
		}
		if b := parseBase(&a, familyInet, 0); b != nil {
			made.chains["b"] = &chain{table: made, name: "b", base: b}
		}
		r := rule{number: 1}
		err = each(a.of[unix.NFTA_RULE_EXPRESSIONS], func(_ uint16, b []byte) error {
			r.expressions = append(r.expressions, made.decode(b))
			return nil
		})
		if err != nil {
			return
		}
		in := &chain{table: made, name: "in", base: &base{hook: hookInput}, rules: []rule{r}}
		made.chains["in"], made.chains["z"] = in, in // a loop, which no kernel has
		follow(made)
	})
}
