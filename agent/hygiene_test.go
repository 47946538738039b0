package agent

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rsagent/agent/health"
	"rsagent/sysctl"
)

const plainNode = "vips = [\"203.0.113.10\"]\ndirectors = [\"10.0.0.1\"]\n"

// ip runs ip(8) in the namespace of the test.
func ip(t interface{ Errorf(string, ...any) }, line string) {
	if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
		t.Errorf("ip %s: %v: %s", line, err, out)
	}
}

// settingSteps are the steps that wrote settings, one a line, but for those
// that keep VIPs out of ARP.
func settingSteps(steps []Step) string {
	var b strings.Builder
	for _, s := range steps {
		if strings.HasPrefix(s.What, "net.") && !strings.Contains(s.What, ".arp_") {
			fmt.Fprintf(&b, "%s: %s -> %s\n", s.What, s.Old, s.New)
		}
	}
	return b.String()
}

// stockNamespaces has network namespaces start with the kernel's own settings
// until the test ends, whatever this machine has made of its own (2 in
// Documentation/admin-guide/sysctl/net.rst).
func stockNamespaces(t *testing.T) {
	t.Helper()
	const key = "/proc/sys/net/core/devconf_inherit_init_net"
	before, err := os.ReadFile(key)
	if err == nil {
		t.Cleanup(func() { _ = os.WriteFile(key, before, 0) })
		err = os.WriteFile(key, []byte("2"), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestAStockNodesRedirectsAreTurnedOffWithoutNoise(t *testing.T) {
	stockNamespaces(t)
	inNamespace(t, func(host Host) {
		ip(t, "link add eth0 type veth peer name eth0.100")
		ip(t, "addr add 10.0.0.5/24 dev eth0") // does not follow conf/default any more
		var log bytes.Buffer
		a := newAgent(t, host, plainNode, &log)
		o := a.converge()
		a.publish(o.report)
		const want = `net.ipv4.conf.all.accept_redirects: 1 -> 0
net.ipv4.conf.default.accept_redirects: 1 -> 0
net.ipv4.conf.all.send_redirects: 1 -> 0
net.ipv4.conf.default.send_redirects: 1 -> 0
net.ipv4.conf.eth0.accept_redirects: 1 -> 0
net.ipv4.conf.eth0.send_redirects: 1 -> 0
`
		if diff := cmp.Diff(want, settingSteps(o.steps)); diff != "" {
			t.Errorf("settings written (-want +got):\n%s", diff)
		}
		if got, want := linesAbout(&log, "_redirects"), strings.Count(want, "\n"); len(got) != want {
			t.Errorf("the log has %d lines about redirects, want one a setting:\n%s", len(got), strings.Join(got, ""))
		}

		log.Reset()
		again := a.converge()
		a.publish(again.report)
		if len(again.steps) > 0 || len(linesAbout(&log, "_redirects")) > 0 {
			t.Errorf("a second round took steps %v and logged %q", again.steps, &log)
		}
		a.rollBack(o.steps)
		for _, iface := range []string{"all", "default", "eth0", "eth0.100", "lo"} {
			wantSetting(t, host, sysctl.ConfKey(iface, "send_redirects"), "1")
		}
	})
}

func linesAbout(log *bytes.Buffer, word string) []string {
	var lines []string
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, word) {
			lines = append(lines, line)
		}
	}
	return lines
}

func wantSetting(t *testing.T, host Host, key sysctl.Key, want string) {
	t.Helper()
	if got, err := host.Sysctl.Read(key); got != want || err != nil {
		t.Errorf("%s is %q, %v, want %q", key, got, err, want)
	}
}

func TestWhatSpoilsANodesSettingsIsMendedOnce(t *testing.T) {
	inNamespace(t, func(host Host) {
		ip(t, "link add eth0 type veth peer name eth0.100")
		ip(t, "addr add 10.0.0.5/24 dev eth0")
		a := newAgent(t, host, plainNode, io.Discard)
		a.converge()
		set := func(key sysctl.Key, value string) {
			if err := host.Sysctl.Write(key, value); err != nil {
				t.Error(err)
			}
		}
		conf := func(iface, name, value string) { set(sysctl.ConfKey(iface, name), value) }
		for _, test := range []struct {
			name  string
			spoil func()
			want  string
		}{
			{"conf/all takes redirects", func() { conf("all", "accept_redirects", "1") },
				"net.ipv4.conf.all.accept_redirects: 1 -> 0\n"},
			{"an interface with a dot takes them", func() { conf("eth0.100", "accept_redirects", "1") },
				"net.ipv4.conf.eth0/100.accept_redirects: 1 -> 0\n"},
			{"an interface sends them", func() { conf("eth0", "send_redirects", "1") },
				"net.ipv4.conf.eth0.send_redirects: 1 -> 0\n"},
			{"conf/default spreads, and so does its repair", func() { conf("default", "send_redirects", "1") },
				"net.ipv4.conf.default.send_redirects: 1 -> 0\n"},
			{"a new interface needs nothing", func() { ip(t, "link add lan0 type veth peer name lan0.1.2") }, ""},
			{"the kernel turns conf/all on when the node stops to forward", func() {
				set("net/ipv4/ip_forward", "1")
				set("net/ipv4/ip_forward", "0")
			}, "net.ipv4.conf.all.accept_redirects: 1 -> 0\n"},
			{"an interface that forwards takes none by itself", func() {
				conf("eth0", "forwarding", "1")
				conf("eth0", "accept_redirects", "1")
			}, ""},
			{"until it does not forward any more", func() { conf("eth0", "forwarding", "0") },
				"net.ipv4.conf.eth0.accept_redirects: 1 -> 0\n"},
			{"no SYN-ACK is sent again", func() { set(synackKey, "0") }, "net.ipv4.tcp_synack_retries: 0 -> 5\n"},
			{"a number of SYN-ACKs is the node's own business", func() { set(synackKey, "1") }, ""},
		} {
			test.spoil()
			o := a.converge()
			if diff := cmp.Diff(test.want, settingSteps(o.steps)); diff != "" {
				t.Errorf("%s: settings written (-want +got):\n%s", test.name, diff)
			}
			if again := a.converge(); len(again.steps) > 0 {
				t.Errorf("%s: a second round took steps %v", test.name, again.steps)
			}
		}
	})
}

// The kernel turns accept_redirects of conf/all on when the node stops to
// forward, here by the configuration in the same round.
func TestASettingThatTurnsRedirectsOnLeavesNothingForTheNextRound(t *testing.T) {
	inNamespace(t, func(host Host) {
		for _, value := range []string{"1", "0", "1"} {
			if err := host.Sysctl.Write("net/ipv4/ip_forward", value); err != nil {
				t.Error(err)
			}
		}
		if err := host.Sysctl.Write(sysctl.ConfKey("all", "accept_redirects"), "1"); err != nil {
			t.Error(err)
		}
		a := newAgent(t, host, plainNode+"[sysctl]\n\"net.ipv4.ip_forward\" = 0\n", io.Discard)
		for _, f := range a.converge().report.Findings {
			if strings.Contains(f.ID, "redirects") && f.Status != health.OK {
				t.Errorf("%s is %s after one round: %s", f.ID, f.Status, f.Got)
			}
		}
		wantSetting(t, host, sysctl.ConfKey("all", "accept_redirects"), "0")
	})
}

// The kernel of today has no tcp_tw_recycle, so a directory stands for one that
// has.
func TestTimeWaitRecyclingOfAnOldKernelIsTurnedOff(t *testing.T) {
	for _, test := range []struct {
		name, settings, was, is string
		wantFailed              string
	}{
		{"it is on", "", "1", "0", ""},
		{"it is off", "", "0", "0", ""},
		{"it is on and configured to be off", "[sysctl]\n\"net.ipv4.tcp_tw_recycle\" = 0\n", "1", "0", ""},
		{"whoever configures it has it, and is told", "[sysctl]\n\"net.ipv4.tcp_tw_recycle\" = 1\n", "0", "1",
			"failed advisory sysctl/tcp_tw_recycle: 1: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			inNamespace(t, func(host Host) {
				root := t.TempDir()
				file := filepath.Join(root, string(recycleKey))
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Error(err)
					return
				}
				if err := os.WriteFile(file, []byte(test.was+"\n"), 0o644); err != nil {
					t.Error(err)
					return
				}
				old, err := sysctl.Open(root)
				if err != nil {
					t.Error(err)
					return
				}
				defer old.Close()
				host.Sysctl = old
				a := newAgent(t, host, plainNode+test.settings, io.Discard)
				o := a.converge()
				wantSetting(t, host, recycleKey, test.is)
				failed := ""
				for _, f := range o.report.Findings {
					if f.ID == "sysctl/tcp_tw_recycle" && f.Status != "ok" {
						failed = fmt.Sprintf("%s %s %s: %s: ", f.Status, f.Severity, f.ID, f.Got)
					}
				}
				if failed != test.wantFailed {
					t.Errorf("got %q, want %q", failed, test.wantFailed)
				}
				if again := a.converge(); settingSteps(again.steps) != "" {
					t.Errorf("a second round took steps:\n%s", settingSteps(again.steps))
				}
			})
		})
	}
}

func TestSettingsOfTCPAreJudged(t *testing.T) {
	for _, test := range []struct {
		name, settings string
		spoil          func(*Node)
		want           string
	}{
		{"a kernel without recycling", "", func(n *Node) {}, ""},
		{"recycling", "", func(n *Node) { n.set("net/ipv4/tcp_tw_recycle=1") },
			"failed sysctl/tcp_tw_recycle: 1\n  net.ipv4.tcp_tw_recycle: 1 -> 0\n"},
		{"recycling that is configured is the configuration's to write", `"net.ipv4.tcp_tw_recycle" = "1"`,
			func(n *Node) { n.set("net/ipv4/tcp_tw_recycle=1") }, "failed sysctl/tcp_tw_recycle: 1\n"},
		{"recycling that cannot be read", "", func(n *Node) { n.Sysctl[recycleKey] = sysctl.Value{Err: os.ErrPermission} },
			"unknown sysctl/tcp_tw_recycle: permission denied\n"},
		{"no retries", "", func(n *Node) { n.set("net/ipv4/tcp_synack_retries=0") },
			"failed sysctl/tcp_synack_retries: 0\n  net.ipv4.tcp_synack_retries: 0 -> 5\n"},
		{"no retries where some are configured", `"net.ipv4.tcp_synack_retries" = "2"`,
			func(n *Node) { n.set("net/ipv4/tcp_synack_retries=0") },
			"failed sysctl/set/net.ipv4.tcp_synack_retries: 0\n  net.ipv4.tcp_synack_retries: 0 -> 2\nfailed sysctl/tcp_synack_retries: 0\n"},
		{"no retries, as configured", `"net.ipv4.tcp_synack_retries" = "0"`,
			func(n *Node) { n.set("net/ipv4/tcp_synack_retries=0") }, "failed sysctl/tcp_synack_retries: 0\n"},
		{"retries that are no number", "", func(n *Node) { n.set("net/ipv4/tcp_synack_retries=") },
			"unknown sysctl/tcp_synack_retries: net.ipv4.tcp_synack_retries is \"\", not a number\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := goodNode()
			test.spoil(&n)
			c := declared(t, plainNode+"[sysctl]\n"+test.settings+"\n")
			if diff := cmp.Diff(test.want, notOK(Conditions(c), n)); diff != "" {
				t.Errorf("findings and steps (-want +got):\n%s", diff)
			}
		})
	}
}

// A command that the daemon undoes is no remedy.
func TestTheRemedyIsNotAgainstTheConfiguration(t *testing.T) {
	for _, test := range []struct{ name, settings, want string }{
		{"not configured", "", "sysctl -w net.ipv4.tcp_synack_retries=5"},
		{"configured", `"net.ipv4.tcp_synack_retries" = " 0x2 "`, "sysctl -w net.ipv4.tcp_synack_retries=2"},
		{"configured to be no good", `"net.ipv4.tcp_synack_retries" = 0`,
			"take net.ipv4.tcp_synack_retries out of [sysctl], or give it another value there"},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := goodNode()
			n.set("net/ipv4/tcp_synack_retries=0")
			for _, f := range evaluate(Conditions(declared(t, plainNode+"[sysctl]\n"+test.settings+"\n")), n) {
				if f.ID == "sysctl/tcp_synack_retries" && f.Remedy != test.want {
					t.Errorf("the remedy is %q, want %q", f.Remedy, test.want)
				}
			}
		})
	}
}

func BenchmarkSettingsOfSixInterfaces(b *testing.B) {
	inNamespace(b, func(host Host) {
		for i := range 3 {
			ip(b, fmt.Sprintf("link add eth%d type veth peer name eth%d.100", i, i))
		}
		net, err := host.Net.Observe()
		if err != nil {
			b.Error(err)
		}
		keys := tunnelKeys(net, "eth2")
		b.ReportAllocs()
		for b.Loop() {
			host.Sysctl.Snapshot(keys)
		}
		b.ReportMetric(float64(len(keys)), "keys")
	})
}
