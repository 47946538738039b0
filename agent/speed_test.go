package agent

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"rsagent/agent/config"
)

// Check has to be fast enough to be run again and again while somebody looks for
// what is wrong. The best of a few runs counts: what other programs take of the
// machine is not check's.
func TestCheckIsFast(t *testing.T) {
	if !inOwnNamespace(t) {
		return
	}
	addStandIn(t, "tunl0")
	for i := range 3 {
		link := addStandIn(t, fmt.Sprintf("eth%d", i))
		if err := netlink.LinkSetUp(link); err != nil {
			t.Fatal(err)
		}
	}
	host := hostWithoutIPIP(t)
	for _, size := range []struct {
		vips, rules int
		within      time.Duration
	}{
		{vips: 10, within: 300 * time.Millisecond},
		{vips: 1000, rules: 5000, within: 2 * time.Second},
	} {
		name := fmt.Sprintf("%d VIPs and %d rules of others", size.vips, size.rules)
		c := manyVIPs(t, size.vips)
		load(t, size.rules)
		if err := host.Net.ApplyFirewall(firewallFor(c, mssFor(host.look(c)))); err != nil {
			t.Fatal(err)
		}
		best, failed := time.Hour, ""
		for range 5 {
			began := time.Now()
			failed = checkWithoutIPIP(t, c, host)
			best = min(best, time.Since(began))
		}
		t.Logf("%s: %v", name, best)
		if best > size.within {
			t.Errorf("%s: check takes %v, want less than %v", name, best, size.within)
		}
		if failed != "" {
			t.Errorf("%s: this is no good node, so the test proves nothing: %s", name, failed)
		}
	}
}

// manyVIPs puts VIPs on the device, and returns the configuration that wants them.
func manyVIPs(t *testing.T, count int) config.Config {
	t.Helper()
	link, err := netlink.LinkByName("tunl0")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for i := range count {
		ip := net.IPv4(10, 64, byte(i/250), byte(1+i%250))
		list = append(list, fmt.Sprintf("%q", ip))
		if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: net.CIDRMask(32, 32)}}); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Parse("test.toml", []byte("vips = ["+strings.Join(list, ", ")+"]\ndirectors = [\"192.0.2.7\"]\n"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// load loads a packet filter of somebody else's, some of it with sets.
func load(t *testing.T, rules int) {
	t.Helper()
	if rules == 0 {
		return
	}
	var b strings.Builder
	b.WriteString("table inet others {\nset strangers { type ipv4_addr; flags interval; elements = { ")
	for i := range rules {
		fmt.Fprintf(&b, "172.%d.%d.0/25, ", 16+i/250, i%250)
	}
	b.WriteString("192.168.0.0/16 }\n}\nchain input { type filter hook input priority 0; policy accept;\nip saddr @strangers drop\n")
	for i := range rules {
		ports := fmt.Sprint(2000 + i%1000)
		if i%10 == 0 {
			ports = "{ 1, 2, " + ports + " }"
		}
		fmt.Fprintf(&b, "ip saddr 172.%d.%d.0/24 tcp dport %s counter drop\n", 16+i/250, i%250, ports)
	}
	b.WriteString("}\n}\n")
	nft := exec.Command("nft", "-f", "-")
	nft.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	nft.Stdin = strings.NewReader(b.String())
	if out, err := nft.CombinedOutput(); err != nil {
		t.Fatalf("cannot load %d rules: %v: %s", rules, err, out)
	}
}

// hostWithoutIPIP is this namespace, with a kernel of which nothing is said
// against IPIP, and the settings that the conditions want.
func hostWithoutIPIP(t *testing.T) Host {
	t.Helper()
	host, err := OpenHost()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(host.Close)
	host.Root = t.TempDir()
	if err := os.MkdirAll(filepath.Join(host.Root, "proc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(host.Root, "proc", "modules"), []byte("ipip 16384 0 - Live 0x0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{
		"all/arp_ignore": "1", "all/arp_announce": "2", "all/rp_filter": "0", "tunl0/rp_filter": "0",
	}
	for name, value := range settings {
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+name, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	link, err := netlink.LinkByName("tunl0")
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		t.Fatal(err)
	}
	return host
}

// checkWithoutIPIP is Check but for the conditions about IPIP itself. It returns
// the required findings that failed.
func checkWithoutIPIP(t *testing.T, c config.Config, host Host) (failed string) {
	t.Helper()
	conditions := leaveOutIPIP(Examined(c))
	n := host.look(c)
	n.Examined = host.examine(context.Background(), c, n)
	for _, f := range evaluate(conditions, n) {
		if f.Severity == "required" && f.Status == "failed" {
			failed += fmt.Sprintf("%s: %s\n", f.ID, f.Got)
		}
	}
	return failed
}
