package agent

import (
	"os"
	"path"
	"strings"
)

// author says who sent a netlink request, by the port id that the kernel's note
// of the change carries: such as "ip (process 4711), run by bash /root/loop.sh
// (process 4700), of cron.service". It is "" if that cannot be known: the
// process is gone, or it is this one, or the port id is not a process's.
//
// The kernel gives a process's first socket the process's number as its port
// id, in the PID namespace of that process (netlink_autobind in
// net/netlink/af_netlink.c). So the number of a process in a container that
// shares the node's network is looked for too, and where two processes have
// the same, both are named. A program may choose another port id, and a second
// socket gets one that is no process's.
func author(proc string, port int) string {
	const readable = 2
	if port <= 0 || port == os.Getpid() {
		return ""
	}
	var found []string
	see := func(pid int) {
		p, ok := readProcess(proc, pid)
		if !ok || p.inner != port {
			return
		}
		p.arguments = readArguments(proc, pid)
		if !ofKernel(p) {
			found = append(found, inContext(proc, p))
		}
	}
	see(port) // before all others: it may end any moment
	for _, pid := range processes(proc) {
		if pid != port {
			see(pid)
		}
	}
	if len(found) > readable {
		return ""
	}
	return strings.Join(found, "; or ")
}

// ofKernel says whether this is a thread of the kernel: they have no command
// line and descend from number 2, kthreadd.
func ofKernel(p process) bool {
	return len(p.arguments) == 0 && (p.parent == 2 || p.pid == 2)
}

// inContext names a process, its parent unless that is the first of all, and
// its service.
func inContext(proc string, p process) string {
	text := p.String()
	if p.parent > 1 {
		if parent, ok := readProcess(proc, p.parent); ok {
			parent.arguments = readArguments(proc, p.parent)
			text += ", run by " + parent.String()
		}
	}
	if unit := p.unit(proc); unit != "" {
		text += ", of " + unit
	}
	return text
}

// touch says what of a node a program changes.
type touch uint8

const (
	touchAddresses touch = 1 << iota
	touchLinks
	touchSettings
	touchFilter // the packet filter
)

type rival struct {
	name     string
	programs []string // as path.Match has them
	touches  touch
}

// knownRivals are programs of which it is known that they change what others
// have set up, those that do so most readily first.
func knownRivals() []rival {
	const all = touchAddresses | touchLinks | touchSettings | touchFilter
	return []rival{
		{"calico", []string{"calico-node", "calico-felix"}, all},
		{"cilium-agent", []string{"cilium-agent"}, all},
		{"flanneld", []string{"flanneld"}, touchAddresses | touchLinks | touchFilter},
		{"kube-router", []string{"kube-router"}, all},
		{"kube-proxy", []string{"kube-proxy"}, touchSettings | touchFilter},
		{"dockerd", []string{"dockerd"}, touchSettings | touchFilter},
		{"podman", []string{"podman", "netavark"}, touchSettings | touchFilter},
		{"keepalived", []string{"keepalived"}, touchAddresses | touchSettings | touchFilter},
		{"systemd-networkd", []string{"systemd-networkd"}, touchAddresses | touchLinks | touchSettings},
		{"NetworkManager", []string{"NetworkManager"}, touchAddresses | touchLinks | touchSettings},
		{"wicked", []string{"wickedd"}, touchAddresses | touchLinks | touchSettings},
		{"dhclient", []string{"dhclient"}, touchAddresses | touchLinks},
		{"dhcpcd", []string{"dhcpcd"}, touchAddresses | touchLinks},
		{"ifupdown", []string{"ifup", "ifup-*", "ifdown", "ifdown-*", "ifreload"}, touchAddresses | touchLinks},
		{"tuned", []string{"tuned"}, touchSettings},
		{"firewalld", []string{"firewalld"}, touchFilter},
		{"puppet", []string{"puppet", "puppet-agent"}, all},
		{"chef-client", []string{"chef-client", "cinc-client"}, all},
		{"salt-minion", []string{"salt-minion"}, all},
		{"ansible", []string{"ansible*", "AnsiballZ_*"}, all},
		{"cfengine", []string{"cf-agent", "cf-execd"}, all},
		{"systemd-sysctl", []string{"systemd-sysctl"}, touchSettings},
		{"systemd-udevd", []string{"systemd-udevd"}, touchSettings}, // runs systemd-sysctl for a new interface
	}
}

// likelyRivals names the programs running now that are known to change any of
// what is asked for. A program in a container with a network of its own is no
// rival, which cannot be seen from outside.
func likelyRivals(proc string, what touch) []string {
	running := make(map[string]bool)
	for _, pid := range processes(proc) {
		for _, name := range programNames(proc, pid) {
			running[name] = true
		}
	}
	var names []string
	for _, r := range knownRivals() {
		if r.touches&what != 0 && r.among(running) {
			names = append(names, r.name)
		}
	}
	return names
}

func (r rival) among(running map[string]bool) bool {
	for _, pattern := range r.programs {
		if len(pattern) > nameLength && running[pattern[:nameLength]] {
			return true
		}
		for name := range running {
			if match, _ := path.Match(pattern, name); match {
				return true
			}
		}
	}
	return false
}

// The kernel cuts names to 15 bytes (TASK_COMM_LEN in include/linux/sched.h).
const nameLength = 15

// programNames returns what a process may be known by. The command line, which
// takes the kernel a lock of the process, is looked at only where the name does
// not say all: if it was cut, or is that of an interpreter.
func programNames(proc string, pid int) []string {
	name := strings.TrimSuffix(readSome(proc, pid, "comm"), "\n")
	if len(name) < nameLength && codeOption(name) == "" {
		return []string{name}
	}
	arguments := readArguments(proc, pid)
	if program := programOf(arguments); len(name) == nameLength && strings.HasPrefix(program, name) {
		name = program
	}
	if script := script(arguments); script != "" {
		return []string{name, path.Base(script)}
	}
	return []string{name}
}
