package ruleset_test

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"rsagent/tunnel/ruleset"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// cable is a node whose link wan is joined to another namespace.
type cable struct {
	wan  ruleset.Link
	port ruleset.Link // of wan, where that is a bridge
	raw  int          // a raw socket at the other end
}

func joined(t *testing.T) cable {
	t.Helper()
	enterNamespace(t)
	there, moved, done := make(chan *os.File), make(chan struct{}), make(chan int, 1)
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "wan"}, PeerName: "far"}))
	far, err := netlink.LinkByName("far")
	must(t, err)
	wan, err := netlink.LinkByName("wan")
	must(t, err)
	must(t, netlink.AddrAdd(wan, &netlink.Addr{IPNet: &net.IPNet{IP: node4.AsSlice(), Mask: net.CIDRMask(24, 32)}}))
	must(t, netlink.LinkSetUp(wan))
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends here
		fd, err := -1, unix.Unshare(unix.CLONE_NEWNET)
		defer func() { done <- fd }()
		if err != nil {
			t.Error(err)
		}
		ns, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			t.Error(err)
		}
		there <- ns
		<-moved
		if fd, err = otherEnd(wan.Attrs().HardwareAddr); err != nil {
			t.Error(err)
		}
	}()
	ns := <-there
	must(t, netlink.LinkSetNsFd(far, int(ns.Fd())))
	ns.Close()
	close(moved)
	fd := <-done
	t.Cleanup(func() { unix.Close(fd) })
	return cable{wan: ruleset.Link{Index: wan.Attrs().Index, Name: "wan", Type: 1}, raw: fd}
}

// underBridge makes wan the port of a bridge, which gets its addresses.
func (c cable) underBridge(t *testing.T) cable {
	t.Helper()
	wan, err := netlink.LinkByName("wan")
	must(t, err)
	address := &netlink.Addr{IPNet: &net.IPNet{IP: node4.AsSlice(), Mask: net.CIDRMask(24, 32)}}
	must(t, netlink.AddrDel(wan, address))
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "bridge", HardwareAddr: wan.Attrs().HardwareAddr}}
	must(t, netlink.LinkAdd(bridge))
	must(t, netlink.LinkSetMaster(wan, bridge))
	must(t, netlink.AddrAdd(bridge, address))
	must(t, netlink.LinkSetUp(bridge))
	return cable{wan: ruleset.Link{Index: bridge.Attrs().Index, Name: "bridge", Type: 1}, port: c.wan, raw: c.raw}
}

// otherEnd sets up the link far and opens a raw socket.
func otherEnd(neighbour net.HardwareAddr) (int, error) {
	far, err := netlink.LinkByName("far")
	if err != nil {
		return -1, err
	}
	err = errors.Join(
		netlink.AddrAdd(far, &netlink.Addr{IPNet: &net.IPNet{IP: far4.AsSlice(), Mask: net.CIDRMask(24, 32)}}),
		netlink.LinkSetUp(far),
		netlink.NeighAdd(&netlink.Neigh{LinkIndex: far.Attrs().Index, IP: node4.AsSlice(), HardwareAddr: neighbour, State: netlink.NUD_PERMANENT}),
	)
	if err != nil {
		return -1, err
	}
	return unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
}

var node4, far4 = netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.1")

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// send sends a packet from the other end, with an IP ID that tells it from others.
func (c cable) send(p ruleset.Packet, id int) error {
	b := make([]byte, 20, 60)
	b[0], b[8], b[9] = 0x45, 64, p.Protocol
	b[5] = byte(id)
	copy(b[12:], p.Src.AsSlice())
	copy(b[16:], p.Dst.AsSlice())
	var body []byte
	switch p.Protocol {
	case 6, 17:
		body = make([]byte, 20)
		binary.BigEndian.PutUint16(body, p.SrcPort)
		binary.BigEndian.PutUint16(body[2:], p.DstPort)
		if p.Protocol == 6 {
			body[12], body[13] = 5<<4, p.Flags
		} else {
			body[5] = 20
		}
		sum := checksum(b[12:20], []byte{0, p.Protocol, 0, 20}, body)
		at := map[uint8]int{6: 16, 17: 6}[p.Protocol]
		binary.BigEndian.PutUint16(body[at:], sum)
	case 4:
		body = append([]byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 59, 0, 0}, b[12:20]...)
		binary.BigEndian.PutUint16(body[10:], checksum(body))
	}
	return unix.Sendto(c.raw, append(b, body...), 0, &unix.SockaddrInet4{Addr: p.Dst.As4()})
}

func checksum(parts ...[]byte) uint16 {
	var sum uint32
	for _, b := range parts {
		for i := 0; i+1 < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

var (
	anAddress = rapid.SampledFrom([]string{"192.0.2.1", "192.0.2.5", "192.0.2.0/28", "192.0.2.4/30", "192.0.2.3-192.0.2.9", "198.51.100.0/24"})
	aPort     = rapid.SampledFrom([]string{"80", "443", "22", "79-100", "1024-65535"})
)

// condition is one that the trace knows, in nft's words.
func condition(t *rapid.T) string {
	not := rapid.SampledFrom([]string{"", "!= "}).Draw(t, "not")
	address, port := anAddress.Draw(t, "address"), aPort.Draw(t, "port")
	other, otherPort := rapid.SampledFrom([]string{"203.0.113.1", "203.0.113.0/28", "203.0.113.4-203.0.113.9"}).Draw(t, "other"), rapid.SampledFrom([]string{"7", "8-9"}).Draw(t, "other port")
	return rapid.SampledFrom([]string{
		"", "ip saddr " + not + address, "ip saddr " + not + "{ " + address + ", " + other + " }",
		"tcp dport " + not + port, "udp dport " + not + "{ " + port + ", " + otherPort + " }",
		"ip protocol " + not + "4", "meta l4proto " + not + "{ tcp, 4 }",
		"ip saddr . tcp dport " + not + "{ " + address + " . " + port + ", " + other + " . " + otherPort + " }",
		"ip saddr . meta l4proto " + not + "{ " + address + " . udp }",
		"iifname " + not + `"wan"`, "iifname " + not + `"w*"`, "iifname " + not + `{ "lo", "eth0" }`, "iiftype ether", "iif lo",
		"ct state " + not + "new", "ct state established,related", "ct state { invalid, untracked }", "ct state untracked", "ct direction original",
		"ct status dnat", "ct mark " + not + "3", "meta mark " + not + "5", "meta mark & 0x3 == 1", "meta mark set 5", "meta mark set 6", "ct mark set 3",
		"tcp flags & (syn|ack) " + rapid.SampledFrom([]string{"==", "!="}).Draw(t, "flags") + " syn", "tcp flags syn", "tcp sport > 1000", "udp sport < 1000",
		"ip frag-off & 0x1fff == 0", "fib daddr type local", "fib saddr type local", "fib saddr . iif oif missing", "meta pkttype host", "ip version 4",
		"meta mark set tcp dport map { 80 : 1, 443 : 5 }", "notrack", "limit rate 1000000/second", "log", "counter",
		"ip saddr & 0.0.0.1 == 0.0.0.1", "th dport " + not + port, "ip saddr > 192.0.2.3",
	}).Draw(t, "condition")
}

func aRule(t *rapid.T, jumps []string) string {
	words := []string{condition(t), condition(t)}
	verdicts := append([]string{"drop", "accept", "accept", "reject", "return", "return", "", "counter", "tcp dport vmap { 22 : drop, 79-90 : accept }", `ip saddr vmap { 192.0.2.0/30 : drop, 192.0.2.4/31 : return }`}, jumps...)
	return strings.Join(append(words, rapid.SampledFrom(verdicts).Draw(t, "verdict")), " ")
}

func rules(t *rapid.T, jumps ...string) string {
	var list []string
	for range rapid.IntRange(0, 4).Draw(t, "rules") {
		list = append(list, "\t\t"+aRule(t, jumps))
	}
	return strings.Join(list, "\n") + "\n"
}

func aRuleset(t *rapid.T) string {
	var b strings.Builder
	policy := rapid.SampledFrom([]string{"accept", "accept", "accept", "drop"})
	for _, f := range []string{"inet", "ip"} {
		fmt.Fprintf(&b, "table %s t {\n", f)
		fmt.Fprintf(&b, "\tchain last {\n%s\t}\n\tchain next {\n%s\t}\n", rules(t), rules(t, "jump last", "goto last"))
		for _, c := range []string{"prerouting priority -300", "prerouting priority -150", "input priority 0"} {
			if rapid.Bool().Draw(t, "chain") {
				fmt.Fprintf(&b, "\tchain c%x {\n\t\ttype filter hook %s; policy %s;\n%s\t}\n", c, c, policy.Draw(t, "policy"), rules(t, "jump next", "goto next", "goto last"))
			}
		}
		b.WriteString("}\n")
	}
	if rapid.Bool().Draw(t, "netdev") {
		fmt.Fprintf(&b, "table netdev t {\n\tchain c {\n\t\ttype filter hook ingress device wan priority 0;\n\t\t%s\n\t}\n}\n",
			rapid.SampledFrom([]string{"ip protocol 4 drop", "ip saddr 192.0.2.0/30 drop", "tcp dport 80 drop", "meta mark set 5", "meta protocol ip udp dport 80-90 drop"}).Draw(t, "ingress"))
	}
	// What comes to the end of all is counted.
	b.WriteString("table ip zz {\n\tchain in {\n\t\ttype filter hook input priority 2000;\n")
	for id := 1; id <= packetsEach; id++ {
		fmt.Fprintf(&b, "\t\tip id %d counter\n", id)
	}
	b.WriteString("\t}\n}\n")
	return b.String()
}

// packetsEach is how many packets each ruleset gets.
const packetsEach = 8

var packetsCounted = regexp.MustCompile(`packets (\d+)`)

func nft(rules string) (string, error) {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func aPacket(t *rapid.T, c cable, port uint16) ruleset.Packet {
	p := ruleset.Packet{
		In: c.wan, Port: c.port, Back: c.wan, Dst: node4,
		Src:      netip.MustParseAddr(rapid.SampledFrom([]string{"192.0.2.1", "192.0.2.5", "192.0.2.200"}).Draw(t, "source")),
		Protocol: rapid.SampledFrom([]uint8{4, 6, 17}).Draw(t, "protocol"),
	}
	if p.Protocol != 4 {
		p.SrcPort, p.DstPort = port, rapid.SampledFrom([]uint16{80, 443, 22, 2000}).Draw(t, "dport")
	}
	if p.Protocol == 6 {
		p.Flags = 2
	}
	return p
}

// passedAll tells of each packet whether it came to the end of all chains.
func passedAll() ([]bool, error) {
	out, err := exec.Command("nft", "list", "table", "ip", "zz").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%v: %s", err, out)
	}
	var passed []bool
	for _, m := range packetsCounted.FindAllSubmatch(out, -1) {
		passed = append(passed, string(m[1]) != "0")
	}
	if len(passed) != packetsEach {
		return nil, fmt.Errorf("cannot read the counters in %s", out)
	}
	return passed, nil
}

var refusedLine = regexp.MustCompile(`stdin:(\d+):`)

// loadWhatNftTakes loads the ruleset without the rules that nft refuses, since two
// of their conditions contradict each other.
func loadWhatNftTakes(text string) (string, error) {
	lines := strings.Split("flush ruleset\n"+text, "\n")
	for {
		out, err := nft(strings.Join(lines, "\n"))
		if err == nil {
			return strings.Join(lines, "\n"), nil
		}
		refused := refusedLine.FindAllStringSubmatch(out, -1)
		if len(refused) == 0 {
			return "", fmt.Errorf("%v: %s\n%s", err, out, text)
		}
		for _, m := range refused {
			n, _ := strconv.Atoi(m[1])
			if !strings.HasPrefix(lines[n-1], "\t\t") || strings.HasPrefix(lines[n-1], "\t\ttype") {
				return "", fmt.Errorf("%v: %s\n%s", err, out, text)
			}
			lines[n-1] = ""
		}
	}
}

// fewer has rapid try fewer rulesets than it does unasked: each takes a quarter of
// a second.
func fewer(t *testing.T) {
	t.Helper()
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		must(t, checks.Value.Set("20"))
		t.Cleanup(func() { _ = checks.Value.Set(checks.DefValue) })
	}
}

// What the kernel does with a packet is what the trace says of it, whatever the
// rules are.
func TestTraceSaysWhatTheKernelDoes(t *testing.T) {
	fewer(t)
	joined(t).traceIsRight(t, aRuleset)
}

// And what a bridge does, before and after the rest.
func TestTraceSaysWhatABridgeDoes(t *testing.T) {
	fewer(t)
	joined(t).underBridge(t).traceIsRight(t, func(t *rapid.T) string { return bridgeRuleset(t) + aRuleset(t) })
}

// bridgeRuleset is a table of the bridge, of conditions that it knows.
func bridgeRuleset(t *rapid.T) string {
	condition := rapid.Custom(func(t *rapid.T) string {
		not := rapid.SampledFrom([]string{"", "!= "}).Draw(t, "not")
		return rapid.SampledFrom([]string{
			"", "ip saddr " + not + anAddress.Draw(t, "address"), "tcp dport " + not + aPort.Draw(t, "port"), "ip protocol " + not + "4",
			"ether type ip", "ether type arp", "meta protocol ip", "iifname " + not + `"wan"`, "iifname " + not + `"bridge"`,
			"meta mark set 5", "meta mark " + not + "5", "log", "counter",
		}).Draw(t, "condition")
	})
	var b strings.Builder
	b.WriteString("table bridge t {\n")
	for _, hook := range []string{"prerouting", "input", "forward"} {
		fmt.Fprintf(&b, "\tchain c%s {\n\t\ttype filter hook %s priority 0; policy accept;\n", hook, hook)
		for range rapid.IntRange(0, 2).Draw(t, "rules") {
			fmt.Fprintf(&b, "\t\t%s %s %s\n", condition.Draw(t, "one"), condition.Draw(t, "other"), rapid.SampledFrom([]string{"drop", "accept", "return", ""}).Draw(t, "verdict"))
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// traceIsRight compares what the kernel does with what the trace says.
func (c cable) traceIsRight(t *testing.T, aRuleset func(*rapid.T) string) {
	t.Helper()
	told, packets := map[ruleset.Outcome]int{}, 0
	port := uint16(20000)
	rapid.Check(t, func(t *rapid.T) {
		text, err := loadWhatNftTakes(aRuleset(t))
		if err != nil {
			t.Fatal(err)
		}
		r, err := ruleset.Read()
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
			t.Fatal(err)
		}
		var sent []ruleset.Packet
		for id := 1; id <= packetsEach; id++ {
			port++
			p := aPacket(t, c, port)
			if p.Protocol == 4 && slices.Contains(sent, p) {
				p.Protocol, p.SrcPort, p.DstPort = 17, port, 80 // the connection would be known by now
			}
			if err := c.send(p, id); err != nil {
				t.Fatal(err)
			}
			sent = append(sent, p)
		}
		passed, err := passedAll()
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range sent {
			f := r.Trace(p)
			told[f.Outcome]++
			packets++
			if f.Outcome == ruleset.Passes && !passed[i] || f.Outcome == ruleset.Dropped && passed[i] {
				t.Fatalf("the trace of %+v says %s by %s, the kernel let it pass: %t\n%s", p, f.Outcome, f.By, passed[i], text)
			}
		}
	})
	t.Logf("%d packets, of which the trace said %v", packets, told)
	if told[ruleset.Passes] == 0 || told[ruleset.Dropped] == 0 || told[ruleset.CannotTell] > packets/4 {
		t.Errorf("of %d packets the trace says %v", packets, told)
	}
}
