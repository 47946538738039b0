package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"time"

	"rsagent/lab/network"
)

// start is how long it takes to set up a bare node, from exec to READY=1, beside
// the shell commands that people set it up with.
type start struct {
	Agent spread `json:"agent"`
	Shell spread `json:"shell"`
}

// converge is how long the first convergence of many VIPs takes, from exec to
// READY=1, beside ip -batch that adds them to a device that is up.
type converge struct {
	VIPs  int    `json:"vips"`
	Agent spread `json:"agent"`
	Batch spread `json:"batch"`
}

const starts = 20

// byHand are what the set-up of old wrote of its list for the tunnel's sake.
var byHand = []string{
	"net.ipv4.conf.lo.arp_ignore=1", "net.ipv4.conf.lo.arp_announce=2",
	"net.ipv4.conf.tunl0.arp_ignore=1", "net.ipv4.conf.tunl0.arp_announce=2",
	"net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.arp_announce=2",
	"net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0",
	"net.ipv4.conf.lo.rp_filter=0", "net.ipv4.conf.eth0.rp_filter=0", "net.ipv4.conf.tunl0.rp_filter=0",
}

// script is the set-up of old. Where the kernel has no ipip, the device is there.
func (b *bench) script() string {
	var lines []string
	if b.kind == "ipip" {
		lines = append(lines, "modprobe ipip")
	}
	return strings.Join(append(lines,
		"ip link set "+device+" up",
		"ip addr add "+network.VIP.String()+"/32 dev "+device,
		"sysctl -q -w "+strings.Join(byHand, " "),
	), " && ")
}

func (b *bench) starts() (*start, error) {
	b.say("setting up a bare node, %d times", starts)
	var agent, shell []time.Duration
	for range starts {
		err := b.onFresh(func(site *network.Site) error {
			took, err := b.untilReady(site.Web1, site.AgentConfig())
			agent = append(agent, took)
			return err
		})
		if err != nil {
			return nil, err
		}
		err = b.onFresh(func(site *network.Site) error {
			took, err := untilEnd(site.Web2, exec.Command("sh", "-c", b.script()))
			shell = append(shell, took)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return &start{spreadOf(agent), spreadOf(shell)}, nil
}

// onFresh runs f on hosts on which nobody has done anything.
func (b *bench) onFresh(f func(*network.Site) error) error {
	if err := network.UnloadIPIP(); err != nil {
		return err
	}
	site, err := network.New()
	if err != nil {
		return err
	}
	defer site.Close()
	for _, h := range site.Nodes() {
		if err := b.giveDevice(h); err != nil {
			return err
		}
	}
	return f(site)
}

// untilReady is how long the daemon takes to say that the node is set up.
func (b *bench) untilReady(h *network.Host, config string) (time.Duration, error) {
	d, err := startDaemon(h, b.agent, config)
	if err != nil {
		return 0, err
	}
	took, err := d.ready()
	return took, errors.Join(err, d.end())
}

// longPatience is for thousands of VIPs on an emulated machine.
const longPatience = 5 * time.Minute

// untilEnd is how long a command takes that must succeed.
func untilEnd(h *network.Host, cmd *exec.Cmd) (time.Duration, error) {
	p, err := silently(h, cmd)
	if err != nil {
		return 0, err
	}
	status, err := p.Wait(longPatience)
	took := time.Since(p.Started)
	if err == nil && status != 0 {
		err = fmt.Errorf("cannot run %s: status %d: %s", cmd, status, daemonLog(h))
	}
	return took, err
}

func (b *bench) converges() ([]converge, error) {
	var all []converge
	for _, c := range []struct{ vips, times int }{{100, 10}, {1000, 5}, {10_000, 3}} {
		c.times = max(1, c.times/b.fewer)
		b.say("converging to %d VIPs, %d times", c.vips, c.times)
		var agent, batch []time.Duration
		for range c.times {
			err := b.onFresh(func(site *network.Site) error {
				a, err := b.untilReady(site.Web1, manyVIPs(c.vips))
				if err != nil {
					return err
				}
				i, err := b.untilAdded(site.Web2, c.vips)
				agent, batch = append(agent, a), append(batch, i)
				return err
			})
			if err != nil {
				return nil, err
			}
		}
		all = append(all, converge{c.vips, spreadOf(agent), spreadOf(batch)})
	}
	return all, nil
}

// vips are so many addresses, one after the other.
func vips(n int) []netip.Addr {
	list := make([]netip.Addr, 0, n)
	for a := netip.MustParseAddr("10.64.0.1"); len(list) < n; a = a.Next() {
		list = append(list, a)
	}
	return list
}

func manyVIPs(n int) string {
	var quoted []string
	for _, v := range vips(n) {
		quoted = append(quoted, fmt.Sprintf("%q", v))
	}
	return "vips = [" + strings.Join(quoted, ", ") + "]\ndirectors = [\"10.9.0.21\", \"10.9.0.22\"]\n"
}

// untilAdded is how long ip -batch takes to add VIPs.
func (b *bench) untilAdded(h *network.Host, n int) (time.Duration, error) {
	if err := h.IP("link set " + device + " up"); err != nil {
		return 0, err
	}
	var lines strings.Builder
	for _, v := range vips(n) {
		fmt.Fprintf(&lines, "addr add %s/32 dev %s scope host\n", v, device)
	}
	file, err := h.WriteFile("batch", lines.String())
	if err != nil {
		return 0, err
	}
	return untilEnd(h, exec.Command("ip", "-batch", file))
}
