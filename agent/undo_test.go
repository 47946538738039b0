package agent

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"github.com/vishvananda/netlink"

	"rsagent/agent/config"
	"rsagent/agent/ledger"
	"rsagent/tunnel"
)

const undoConfig = `
vips = ["203.0.113.10", "203.0.113.11"]
directors = ["10.0.0.1"]
[tunnel]
on_stop = "remove"
[sysctl]
"net.ipv4.tcp_fin_timeout" = "17"
"net.ipv4.conf.lan.log_martians" = "1"
`

// rememberingAgent is an agent whose ledger is in the directory.
func rememberingAgent(t *testing.T, host Host, directory, text string, log io.Writer) *Agent {
	t.Helper()
	var err error
	if host.Ledger, err = ledger.Open(directory, "this boot"); err != nil {
		t.Fatal(err)
	}
	a := newAgent(t, host, text, log)
	if err := withoutIPIP(a, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	return a
}

// allOf is all that an agent may change on a node, as lines.
func allOf(t *testing.T, host Host) []string {
	t.Helper()
	n, err := host.Net.Observe()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	keys := tunnelKeys(n, "tunl0")
	for _, l := range n.Links {
		lines = append(lines, fmt.Sprintf("link %s up %t", l.Name, l.Up))
	}
	for _, at := range n.Addresses {
		for _, a := range at {
			lines = append(lines, fmt.Sprintf("address %s on %s, scope host %t", a.Prefix, a.Link, a.HostScope))
		}
	}
	for key, value := range host.Sysctl.Snapshot(append(keys, "net/ipv4/tcp_fin_timeout", "net/ipv4/conf/lan/log_martians")) {
		lines = append(lines, fmt.Sprintf("%s = %s", string(key), value.Text))
	}
	if state, err := host.Net.ObserveFirewall(); err != nil {
		t.Fatal(err)
	} else if holds, _ := state.Holds(tunnel.Firewall{}); !holds {
		lines = append(lines, "a table")
	}
	slices.Sort(lines)
	return lines
}

// stock makes the links of a node: a wire, and what stands for the tunnel.
func stock(t *testing.T, host Host) {
	t.Helper()
	addStandIn(t, "tunl0")
	lan := addStandIn(t, "lan")
	if err := netlink.LinkSetUp(lan); err != nil {
		t.Fatal(err)
	}
	_ = host.Sysctl.Write("net/ipv4/conf/lan/arp_announce", "1")
}

func wantReady(t *testing.T, a *Agent) {
	t.Helper()
	if ready, why := a.converge().report.Ready(); !ready {
		t.Fatalf("not ready: %s", why)
	}
}

func TestAllThatWasChangedIsGivenBackAlsoByALaterDaemon(t *testing.T) {
	stockNamespaces(t)
	inNamespace(t, func(host Host) {
		stock(t, host)
		before := allOf(t, host)
		directory := t.TempDir()
		wantReady(t, rememberingAgent(t, host, directory, undoConfig, io.Discard))
		if cmp.Equal(before, allOf(t, host)) {
			t.Fatal("nothing was changed")
		}
		// That daemon dies. The next one finds all in place and changes something more.
		_ = host.Sysctl.Write("net/ipv4/tcp_fin_timeout", "61")
		later := rememberingAgent(t, host, directory, undoConfig, io.Discard)
		wantReady(t, later)
		later.giveBack(later.host.Ledger.Entries())
		if diff := cmp.Diff(before, allOf(t, host)); diff != "" {
			t.Errorf("the node (-before +after):\n%s", diff)
		}
		if left := later.host.Ledger.Entries(); len(left) > 0 {
			t.Errorf("still to be undone: %+v", left)
		}
	})
}

func TestWhatWasThereBeforeAndWhatSomebodyChangedSinceStays(t *testing.T) {
	stockNamespaces(t)
	inNamespace(t, func(host Host) {
		stock(t, host)
		tunl0, err := netlink.LinkByName("tunl0")
		if err != nil {
			t.Fatal(err)
		}
		adopted := tunnel.Address{LinkIndex: tunl0.Attrs().Index, Link: "tunl0", Prefix: netip.MustParsePrefix("203.0.113.10/32")}
		if err := host.Net.AddAddresses([]tunnel.Address{adopted})[0]; err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		a := rememberingAgent(t, host, t.TempDir(), undoConfig, &log)
		wantReady(t, a)
		if err := host.Sysctl.Write("net/ipv4/tcp_fin_timeout", "99"); err != nil {
			t.Fatal(err)
		}
		a.giveBack(a.host.Ledger.Entries())
		got := allOf(t, host)
		for _, want := range []string{
			"address 203.0.113.10/32 on tunl0, scope host false", "net/ipv4/tcp_fin_timeout = 99",
			// The VIP is there still, and must not be spoken for.
			"net/ipv4/conf/all/arp_ignore = 1", "net/ipv4/conf/all/arp_announce = 2",
			"net/ipv4/conf/lan/log_martians = 0", "link tunl0 up false",
		} {
			if !slices.Contains(got, want) {
				t.Errorf("there is no %q: %s", want, strings.Join(got, "\n"))
			}
		}
		if slices.Contains(got, "address 203.0.113.11/32 on tunl0, scope host true") {
			t.Error("the VIP that was added is still there")
		}
		for _, want := range []string{"somebody set it to 99 since", "a VIP is on this node still"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log does not say that %s:\n%s", want, &log)
			}
		}
	})
}

func TestAReloadChangesTheDifferenceOnly(t *testing.T) {
	stockNamespaces(t)
	inNamespace(t, func(host Host) {
		stock(t, host)
		var log bytes.Buffer
		a := rememberingAgent(t, host, t.TempDir(), undoConfig, &log)
		wantReady(t, a)
		timeout := valueOf(t, host, "net/ipv4/tcp_fin_timeout")
		seen := make(chan tunnel.Change, 100)
		m, err := host.Net.Follow(tunnel.Interest{Device: "tunl0"}, func(c tunnel.Change) { seen <- c })
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if _, err := m.Look(); err != nil {
			t.Fatal(err)
		}
		reload := func(text string) {
			a.OnHangup(func() (config.Config, zerolog.Logger, error) {
				c, err := config.Parse("rsagent.toml", []byte(text))
				return c, a.log, err
			})
			a.reload(context.Background())
			if err := withoutIPIP(a, t.TempDir()); err != nil {
				t.Fatal(err)
			}
			wantReady(t, a)
		}

		reload("vips = [\"203.0.113.11\", \"203.0.113.12\"]\n[sysctl]\n\"net.ipv4.conf.lan.log_martians\" = \"1\"\n")
		got := allOf(t, host)
		for want, there := range map[string]bool{
			"address 203.0.113.10/32 on tunl0, scope host true": false,
			"address 203.0.113.11/32 on tunl0, scope host true": true,
			"address 203.0.113.12/32 on tunl0, scope host true": true,
			"net/ipv4/conf/lan/log_martians = 1":                true,
			"net/ipv4/tcp_fin_timeout = " + timeout:             false,
		} {
			if slices.Contains(got, want) != there {
				t.Errorf("there is %q: %t, want %t", want, !there, there)
			}
		}
		// The VIP that stays was not touched.
		_, err = m.Look()
		if err != nil {
			t.Fatal(err)
		}
		for len(seen) > 0 {
			if c := <-seen; c.Address == netip.MustParseAddr("203.0.113.11") {
				t.Errorf("the VIP that stays was changed: %+v", c)
			}
		}

		log.Reset()
		reload("vips = [\"nonsense\"]\n")
		if diff := cmp.Diff(got, allOf(t, host)); diff != "" {
			t.Errorf("a bad file changed the node (-before +after):\n%s", diff)
		}
		if !strings.Contains(log.String(), `cannot reload; the configuration in force stays`) || !strings.Contains(log.String(), "rsagent.toml:1:9: vips") {
			t.Errorf("the log does not say what is wrong with the file:\n%s", &log)
		}
	})
}

func valueOf(t *testing.T, host Host, key string) string {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/" + key)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// What cannot be kept closed has no VIP behind it.
func TestVIPsLeaveANodeWhoseARPProtectionCannotBeKept(t *testing.T) {
	stockNamespaces(t)
	inNamespace(t, func(host Host) {
		stock(t, host)
		var log bytes.Buffer
		a := rememberingAgent(t, host, t.TempDir(), undoConfig+"[repair]\nflaps = 2\n", &log)
		wantReady(t, a)
		clear(a.flaps.of) // as after the start
		vip := "address 203.0.113.10/32 on tunl0, scope host true"
		for round := range 3 {
			if !slices.Contains(allOf(t, host), vip) {
				t.Fatalf("round %d: the VIP is gone already", round)
			}
			// Not by Write, which would read back what was mended.
			if err := os.WriteFile("/proc/sys/net/ipv4/conf/all/arp_ignore", []byte("0"), 0); err != nil {
				t.Fatal(err)
			}
			a.converge()
		}
		if got := allOf(t, host); slices.Contains(got, vip) {
			t.Errorf("a VIP is on a node that answers ARP for it:\n%s", strings.Join(got, "\n"))
		}
		report := a.converge().report
		if ready, why := report.Ready(); ready || why != "sysctl/arp_ignore/all failed" {
			t.Errorf("ready %t: %s", ready, why)
		}
		if f := report.Findings[slices.IndexFunc(a.judge.conditions, func(c Condition) bool { return c.ID == arpIgnoreAllID })]; !strings.Contains(f.Cause, "was repaired 2 times in 5m and undone again") {
			t.Errorf("the cause is %q", f.Cause)
		}
		for _, want := range []string{`"message":"repair stopped"`, `"what":"address 203.0.113.10/32 on tunl0","old":"present","new":"absent"`} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log lacks %s:\n%s", want, &log)
			}
		}

		// The rival has gone. The trial closes ARP first, and the VIPs come when
		// that has held.
		a.pass(time.Now().Add(firstRest))
		a.converge()
		if got := allOf(t, host); slices.Contains(got, vip) || !slices.Contains(got, "net/ipv4/conf/all/arp_ignore = 1") {
			t.Errorf("on trial there is\n%s", strings.Join(got, "\n"))
		}
		a.pass(time.Now().Add(firstRest + trialTime + time.Second))
		wantReady(t, a)
		if !slices.Contains(allOf(t, host), vip) {
			t.Error("the VIP does not come back")
		}
	})
}
