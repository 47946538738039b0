package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"rsagent/lab/network"
)

// damages are what is done to web1, all of it by mistake and unseen by any
// director.
func damages() []damage {
	return []damage{
		{"ip link set tunl0 down", upOrDown},
		{"ip addr del 10.9.0.100/32 dev tunl0", vipThere},
		{"sysctl -q -w " + strict, notStrict},
	}
}

// damage is a command that breaks a node, and how the kernel's messages tell
// whether the node is broken by it.
type damage struct {
	command string
	state   stateOf
}

// mendLimit is what "at once" is at most, on an emulated machine. The time in
// which the command starts and runs is part of it.
const mendLimit = time.Second

// mend breaks web1 in every way and sees rsagent repair it.
func (d *demo) mend() (count, error) {
	d.say("Without rsagent each of these fails every second request, for ever, and no director notices. Times count from when the command is typed; behind the colon is what rsagent logs as repaired.")
	var all count
	for _, damage := range damages() {
		c, err := d.breakUnderLoad(d.site.Web1, damage)
		all = all.plus(c)
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

func (d *demo) breakUnderLoad(node *network.Host, damage damage) (count, error) {
	load := d.site.Client.StartLoad(15)
	time.Sleep(500 * time.Millisecond)
	watch, err := watchTunnel(node, damage.state)
	if err != nil {
		return counted(load.Stop()), err
	}
	logged := len(d.agents[node].Log())
	d.typed(node.Name, damage.command)
	typed := time.Now()
	words := strings.Fields(damage.command)
	if _, err := node.Run(words[0], words[1:]...); err != nil {
		watch.stop()
		return counted(load.Stop()), err
	}
	mended, err := watch.mended()
	if err != nil {
		answers := load.Stop()
		_, body, _ := node.Get(node.ReadyURL()) // an error leaves it empty
		d.say("%v; /ready says %q", answers, strings.TrimSpace(body))
		return counted(answers), err
	}
	serves := untilServes(load, node, mended)
	time.Sleep(time.Second)
	answers := load.Stop()

	c := counted(answers, span{typed, mended})
	took := mended.Sub(typed)
	d.promise(took < mendLimit, "mended after %d ms: %s", took.Milliseconds(), repairs(d.agents[node].Log()[logged:]))
	d.promise(serves && c.broken == 0, "%d sent, %d failed while broken, %d after; slowest %d ms; %s %s",
		c.sent, c.failed-c.broken, c.broken, slowest(answers).Milliseconds(), node.Name, again(serves))
	return c, nil
}

// repairs says in short what rsagent's log says that it repaired.
func repairs(log string) string {
	var said []string
	for line := range strings.Lines(log) {
		var entry struct{ Message, Condition, Old, New string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Message == "repaired" {
			said = append(said, fmt.Sprintf("%s, %s -> %s", entry.Condition, entry.Old, entry.New))
		}
	}
	if said == nil {
		return "(nothing in its log)"
	}
	return strings.Join(said, "; ")
}

func again(serves bool) string {
	if serves {
		return "serves"
	}
	return "serves no more"
}
