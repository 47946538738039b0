package main

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"rsagent/lab/network"
)

// strict is the setting that breaks the node.
const strict = "net.ipv4.conf.tunl0.rp_filter=1"

// kill ends the daemon on web1 and breaks the node before it starts again.
func (d *demo) kill() (count, error) {
	load := d.site.Client.StartLoad(15)
	err := d.killUnder(load)
	answers := load.Stop()
	c := counted(answers)
	d.promise(c.failed == 0, "Meanwhile: %v", answers)
	return c, err
}

func (d *demo) killUnder(load *network.Load) error {
	web1, agent := d.site.Web1, d.agents[d.site.Web1]
	d.typed("web1", fmt.Sprintf("kill -KILL %d  # rsagent", agent.PID()))
	killed := time.Now()
	if err := agent.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	serves := untilServes(load, web1, killed)
	d.promise(serves, "web1 still serves: the kernel needs no daemon")
	if err := d.site.Dir1.UntilWithout(web1); err != nil {
		return err
	}
	d.say("dir1 hears nothing from /ready, and leaves web1 out after %s.", inSeconds(time.Since(killed)))

	d.typed("web1", "sysctl -q -w "+strict)
	if _, err := web1.Run("sysctl", "-q", "-w", strict); err != nil {
		return err
	}
	if err := d.check(web1); err != nil {
		return err
	}
	d.typed("web1", "rsagent run --config rsagent.toml")
	if err := d.startAgent(web1); err != nil {
		return err
	}
	started := d.agents[web1].Started
	d.promise(true, "/ready after %s: %s", inSeconds(time.Since(started)), repairs(d.agents[web1].Log()))
	if err := d.site.Dir1.UntilDirects(web1); err != nil {
		return err
	}
	back := time.Now()
	d.promise(untilServes(load, web1, back), "dir1 sends web1 requests again after %s, and web1 serves", inSeconds(back.Sub(started)))
	time.Sleep(500 * time.Millisecond)
	return nil
}

// check shows what an admin sees on a node that is broken by rp_filter.
func (d *demo) check(node *network.Host) error {
	cmd := exec.Command("rsagent", "check", "--config", "rsagent.toml")
	cmd.Dir = node.Dir
	d.typed(node.Name, strings.Join(cmd.Args, " "))
	p, err := node.Start(cmd)
	if err != nil {
		return err
	}
	status, err := p.Wait(patience)
	if err != nil {
		return err
	}
	said := p.Log()
	d.quote(said)
	d.promise(status == 1 && strings.Contains(said, "failed  sysctl/rp_filter/tunl0"),
		"exit status %d, and the cause is named", status)
	return nil
}
