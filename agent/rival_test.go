package agent

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// fake is a process as it stands in /proc.
type fake struct {
	name    string // cut by the kernel
	parent  int
	line    string // command line; | between arguments
	inner   int    // its number in a container
	control string // its line of cgroup
}

func fakeProc(t *testing.T, processes map[int]fake) string {
	t.Helper()
	proc := t.TempDir()
	for _, other := range []string{"sys", "self", "42x"} {
		if err := os.Mkdir(filepath.Join(proc, other), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for pid, p := range processes {
		spaces := strconv.Itoa(pid)
		if p.inner != 0 {
			spaces += "\t" + strconv.Itoa(p.inner)
		}
		cmdline := strings.ReplaceAll(p.line, "|", "\x00")
		if cmdline != "" {
			cmdline += "\x00"
		}
		directory := filepath.Join(proc, strconv.Itoa(pid))
		if err := os.Mkdir(directory, 0o755); err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string]string{
			"comm":    p.name + "\n",
			"cmdline": cmdline,
			"cgroup":  "12:pids:/user.slice/other.service\n" + p.control + "\n",
			"status": fmt.Sprintf("Name:\t%s\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t%d\nNgid:\t0\nPid:\t%d\nPPid:\t%d\nUid:\t0\t0\t0\t0\nNStgid:\t%s\nNSpid:\t%s\nNSpgid:\t7\n",
				p.name, pid, pid, p.parent, spaces, spaces),
		} {
			if err := os.WriteFile(filepath.Join(directory, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return proc
}

func TestAuthorOfAChange(t *testing.T) {
	const systemd = "systemd"
	tests := map[string]struct {
		processes map[int]fake
		port      int
		want      string
	}{
		"a command that a script runs": {
			map[int]fake{1: {name: systemd}, 4700: {name: "bash", parent: 1, line: "bash|/root/loop.sh|--password|secret"}, 4711: {name: "ip", parent: 4700, line: "ip|addr|flush|dev|tunl0"}},
			4711, "ip (process 4711), run by bash /root/loop.sh (process 4700)",
		},
		"a script that names its interpreter, of a service": {
			map[int]fake{4700: {name: "loop.sh", parent: 4600, line: "/bin/bash|-eu|/root/loop.sh", control: "0::/system.slice/cron.service"}, 4600: {name: "cron", parent: 1, line: "/usr/sbin/cron|-f"}},
			4700, "bash /root/loop.sh (process 4700), run by cron (process 4600), of cron.service",
		},
		"a daemon of systemd, with control groups of version 1": {
			map[int]fake{1: {name: systemd}, 612: {name: "systemd-network", parent: 1, line: "/lib/systemd/systemd-networkd", control: "1:name=systemd:/system.slice/systemd-networkd.service"}},
			612, "systemd-network (process 612), of systemd-networkd.service",
		},
		"a module of Python": {
			map[int]fake{900: {name: "python3", parent: 1, line: "/usr/bin/python3.11|-Es|-m|site.agent|--token|secret"}},
			900, "python3.11 site.agent (process 900)",
		},
		"code on a command line is not told": {
			map[int]fake{900: {name: "sh", parent: 1, line: "-sh|-c|ip link set tunl0 down # secret"}},
			900, "sh (process 900)",
		},
		"one whose parent is gone": {
			map[int]fake{900: {name: "ip", parent: 899, line: "ip|-batch|-"}},
			900, "ip (process 900)",
		},
		"one that has ended and not been waited for": {
			map[int]fake{900: {name: "ip", parent: 899}, 899: {name: "sh", parent: 1, line: "sh"}},
			900, "ip (process 900), run by sh (process 899)",
		},
		"one in a container: its own number counts, not the node's": {
			map[int]fake{2: {name: "kthreadd"}, 60: {name: "kworker/0:1", parent: 2}, 5060: {name: "calico-node", parent: 5001, line: "calico-node|-felix", inner: 60}, 5001: {name: "runsv", parent: 4990, line: "runsv|felix", inner: 12}},
			60, "calico-node (process 5060), run by runsv (process 5001)",
		},
		"one in a container and one outside have the same number": {
			map[int]fake{60: {name: "ip", parent: 1, line: "ip|monitor"}, 5060: {name: "felix", parent: 1, line: "felix", inner: 60}},
			60, "ip (process 60); or felix (process 5060)",
		},
		"the node's number of one in a container is not its port": {
			map[int]fake{5060: {name: "felix", parent: 1, line: "felix", inner: 60}},
			5060, "",
		},
		"too many have the number to say": {
			map[int]fake{1: {name: systemd, line: "/sbin/init"}, 5001: {name: "pause", line: "/pause", inner: 1}, 5002: {name: "pause", line: "/pause", inner: 1}},
			1, "",
		},
		"a name that would break a line": {
			map[int]fake{900: {name: `a\nb`, parent: 1, line: "sh|/tmp/\x1b[31m\n" + strings.Repeat("x", 200)}},
			900, "sh /tmp/?[31m?" + strings.Repeat("x", 86) + "... (process 900)",
		},
		"this process":                {map[int]fake{os.Getpid(): {name: "rsagent", parent: 1, line: "rsagent|run"}}, os.Getpid(), ""},
		"the kernel":                  {map[int]fake{1: {name: systemd}}, 0, ""},
		"a process that is gone":      {map[int]fake{1: {name: systemd}}, 4711, ""},
		"a port that is no process's": {map[int]fake{1: {name: systemd}}, 4294963200, ""},
		"a negative port":             {map[int]fake{1: {name: systemd}}, -4096, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, author(fakeProc(t, test.processes), test.port)); diff != "" {
				t.Errorf("author (-want +got):\n%s", diff)
			}
		})
	}
	if got := author(filepath.Join(t.TempDir(), "none"), 4711); got != "" {
		t.Errorf("without /proc: got %q", got)
	}
}

// TestAuthorOfARealChange has ip make a change, waits for the kernel's note of
// it, and asks who that was.
func TestAuthorOfARealChange(t *testing.T) {
	inNamespace(t, func(Host) {
		socket, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(socket)
		if err := unix.Bind(socket, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_IPV4_IFADDR}); err != nil {
			t.Error(err)
			return
		}
		limit := unix.NsecToTimeval(int64(10 * time.Second))
		if err := unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
			t.Error(err)
			return
		}

		// The script stays, and ip with it, until its input ends.
		script := filepath.Join(t.TempDir(), "loop.sh")
		if err := os.WriteFile(script, []byte("ip -batch -\n:\n"), 0o600); err != nil {
			t.Error(err)
			return
		}
		shell := exec.Command("/bin/sh", script)
		input, err := shell.StdinPipe()
		if err != nil {
			t.Error(err)
			return
		}
		if err := shell.Start(); err != nil {
			t.Error(err)
			return
		}
		fmt.Fprintln(input, "address add 192.0.2.1/32 dev lo")
		port := noteOfAChange(t, socket)
		want := regexp.MustCompile(fmt.Sprintf(`^ip \(process %d\), run by sh %s \(process %d\)`,
			port, regexp.QuoteMeta(printable(script)), shell.Process.Pid))
		if got := author("/proc", port); !want.MatchString(got) {
			t.Errorf("got %q, want %s", got, want)
		}

		input.Close()
		if err := shell.Wait(); err != nil {
			t.Error(err)
		}
		if got := author("/proc", port); got != "" {
			t.Errorf("after it has ended: got %q", got)
		}
	})
}

// noteOfAChange returns the port id in the first note of a new address.
func noteOfAChange(t *testing.T, socket int) int {
	t.Helper()
	buf := make([]byte, 4096)
	n, _, err := unix.Recvfrom(socket, buf, 0)
	if err != nil {
		t.Error(err)
		return 0
	}
	messages, err := syscall.ParseNetlinkMessage(buf[:n])
	if err != nil || len(messages) == 0 || messages[0].Header.Type != unix.RTM_NEWADDR {
		t.Errorf("not a note of a new address: %v, %v", messages, err)
		return 0
	}
	return int(messages[0].Header.Pid)
}

func TestLikelyRivals(t *testing.T) {
	tests := map[string]struct {
		process fake
		want    string
	}{
		"systemd-networkd, cut by the kernel": {fake{name: "systemd-network", line: "/usr/lib/systemd/systemd-networkd"}, "systemd-networkd: addresses links settings"},
		"systemd-networkd without a line":     {fake{name: "systemd-network"}, "systemd-networkd: addresses links settings"},
		"another of the same first letters":   {fake{name: "systemd-network", line: "/usr/lib/systemd/systemd-network-generator"}, ""},
		"NetworkManager":                      {fake{name: "NetworkManager", line: "/usr/sbin/NetworkManager|--no-daemon"}, "NetworkManager: addresses links settings"},
		"dhclient":                            {fake{name: "dhclient", line: "dhclient|eth0"}, "dhclient: addresses links"},
		"dhcpcd":                              {fake{name: "dhcpcd", line: "dhcpcd: [manager] [ip4]"}, "dhcpcd: addresses links"},
		"ifupdown":                            {fake{name: "ifup-eth", line: "/bin/bash|/etc/sysconfig/network-scripts/ifup-eth|ifcfg-eth0"}, "ifupdown: addresses links"},
		"ifupdown 2":                          {fake{name: "python3", line: "/usr/bin/python3|/sbin/ifreload|-a"}, "ifupdown: addresses links"},
		"tuned by its name":                   {fake{name: "tuned", line: "/usr/bin/python3|-Es|/usr/sbin/tuned|-l|-P"}, "tuned: settings"},
		"tuned by its script":                 {fake{name: "python3", line: "/usr/bin/python3|-Es|/usr/sbin/tuned|-l|-P"}, "tuned: settings"},
		"tuned of a system's own Python":      {fake{name: "platform-python", line: "/usr/libexec/platform-python|-Es|/usr/sbin/tuned|-l|-P"}, "tuned: settings"},
		"firewalld":                           {fake{name: "firewalld", line: "/usr/bin/python3|-s|/usr/sbin/firewalld|--nofork"}, "firewalld: filter"},
		"calico":                              {fake{name: "calico-node", line: "calico-node|-felix"}, "calico: addresses links settings filter"},
		"bird, which may be another's":        {fake{name: "bird", line: "bird|-R|-s|/var/run/calico/bird.ctl"}, ""},
		"cilium":                              {fake{name: "cilium-agent", line: "cilium-agent|--config-dir=/tmp"}, "cilium-agent: addresses links settings filter"},
		"kube-proxy":                          {fake{name: "kube-proxy", line: "/usr/local/bin/kube-proxy"}, "kube-proxy: settings filter"},
		"docker":                              {fake{name: "dockerd", line: "/usr/bin/dockerd|-H|fd://"}, "dockerd: settings filter"},
		"podman":                              {fake{name: "netavark", line: "/usr/libexec/podman/netavark|setup"}, "podman: settings filter"},
		"keepalived":                          {fake{name: "keepalived", line: "/usr/sbin/keepalived|-D"}, "keepalived: addresses settings filter"},
		"puppet":                              {fake{name: "puppet", line: "puppet agent: applying configuration"}, "puppet: addresses links settings filter"},
		"puppet by its script":                {fake{name: "ruby", line: "/opt/puppetlabs/puppet/bin/ruby|/opt/puppetlabs/puppet/bin/puppet|agent"}, "puppet: addresses links settings filter"},
		"chef":                                {fake{name: "chef-client", line: "/opt/chef/embedded/bin/ruby|/usr/bin/chef-client"}, "chef-client: addresses links settings filter"},
		"salt, with a title":                  {fake{name: "python3.10", line: "/opt/saltstack/salt/bin/python3.10 /usr/bin/salt-minion MultiMinionProcessManager"}, "salt-minion: addresses links settings filter"},
		"ansible at work":                     {fake{name: "python3", line: "/usr/bin/python3|/root/.ansible/tmp/ansible-tmp-1-2/AnsiballZ_sysctl.py"}, "ansible: addresses links settings filter"},
		"ansible on the node itself":          {fake{name: "ansible-playboo", line: "/usr/bin/python3|/usr/bin/ansible-playbook|site.yml"}, "ansible: addresses links settings filter"},
		"cfengine":                            {fake{name: "cf-execd", line: "/var/cfengine/bin/cf-execd"}, "cfengine: addresses links settings filter"},
		"systemd-sysctl":                      {fake{name: "systemd-sysctl", line: "/lib/systemd/systemd-sysctl"}, "systemd-sysctl: settings"},
		"systemd-udevd":                       {fake{name: "systemd-udevd", line: "/lib/systemd/systemd-udevd"}, "systemd-udevd: settings"},
		"wicked":                              {fake{name: "wickedd", line: "/usr/sbin/wickedd"}, "wicked: addresses links settings"},
		"flannel":                             {fake{name: "flanneld", line: "/opt/bin/flanneld"}, "flanneld: addresses links filter"},
		"kube-router":                         {fake{name: "kube-router", line: "/usr/local/bin/kube-router"}, "kube-router: addresses links settings filter"},
		"an editor of its configuration":      {fake{name: "vim", line: "vim|/etc/tuned/tuned"}, ""},
		"Python without a script":             {fake{name: "python3", line: "python3"}, ""},
		"a web server":                        {fake{name: "nginx", line: "nginx: worker process"}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.process.parent = 1
			proc := fakeProc(t, map[int]fake{1: {name: "systemd", line: "/sbin/init"}, 700: test.process})
			if diff := cmp.Diff(test.want, touched(proc)); diff != "" {
				t.Errorf("what is touched by whom (-want +got):\n%s", diff)
			}
		})
	}
}

// touched asks for each kind of thing, and says which rival touches what.
func touched(proc string) string {
	kinds := []struct {
		name string
		what touch
	}{{"addresses", touchAddresses}, {"links", touchLinks}, {"settings", touchSettings}, {"filter", touchFilter}}
	var rivals, of []string
	for _, k := range kinds {
		for _, r := range likelyRivals(proc, k.what) {
			rivals, of = append(rivals, r), append(of, k.name)
		}
	}
	if len(rivals) == 0 {
		return ""
	}
	return rivals[0] + ": " + strings.Join(of, " ")
}

func TestLikelyRivalsAreNamedOnceAndInOrder(t *testing.T) {
	proc := fakeProc(t, map[int]fake{
		1:   {name: "systemd", line: "/sbin/init"},
		10:  {name: "systemd-udevd", line: "/lib/systemd/systemd-udevd"},
		20:  {name: "keepalived", line: "keepalived"},
		21:  {name: "keepalived", line: "keepalived"},
		30:  {name: "dhclient", line: "dhclient|eth0"},
		444: {name: "dockerd", line: "dockerd"},
	})
	want := []string{"dockerd", "keepalived", "dhclient", "systemd-udevd"}
	if diff := cmp.Diff(want, likelyRivals(proc, touchAddresses|touchSettings)); diff != "" {
		t.Errorf("rivals (-want +got):\n%s", diff)
	}
}

func TestLikelyRivalsOnThisMachine(t *testing.T) {
	program := filepath.Join(t.TempDir(), "systemd-networkd")
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, text, 0o700); err != nil {
		t.Fatal(err)
	}
	child := exec.Command(program, "100")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	names := likelyRivals("/proc", touchAddresses)
	_ = child.Process.Kill()
	_ = child.Wait()
	if !strings.Contains(" "+strings.Join(names, " ")+" ", " systemd-networkd ") {
		t.Errorf("got %q, want systemd-networkd among them", names)
	}
}

func BenchmarkRivals(b *testing.B) {
	for b.Loop() {
		likelyRivals("/proc", touchSettings)
	}
	b.ReportMetric(float64(len(processes("/proc"))), "processes")
}

func BenchmarkAuthor(b *testing.B) {
	for b.Loop() {
		author("/proc", os.Getppid())
	}
}
