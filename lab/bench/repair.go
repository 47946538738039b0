package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"time"

	"rsagent/lab/network"
)

// repair is how fast one fault was mended, by whom.
type repair struct {
	Fault      string `json:"fault"`
	Title      string `json:"title"`
	Floor      spread `json:"floor"`
	Agent      spread `json:"agent"`
	Keepalived spread `json:"keepalived"` // of 0 times where it does not repair
}

// spread is what stands for a number of durations.
type spread struct {
	Times int           `json:"times"`
	P50   time.Duration `json:"p50_ns"`
	P99   time.Duration `json:"p99_ns"`
	Max   time.Duration `json:"max_ns"`
}

// spreadOf takes the nearest rank.
func spreadOf(all []time.Duration) spread {
	if len(all) == 0 {
		return spread{}
	}
	sorted := slices.Sorted(slices.Values(all))
	rank := func(percent int) time.Duration { return sorted[(len(sorted)*percent+99)/100-1] }
	return spread{len(all), rank(50), rank(99), sorted[len(sorted)-1]}
}

// pace is how often a repair is measured, and how far apart.
type pace struct {
	times int
	gap   time.Duration // see measure
}

// blocks is how many turns the contenders take, so that what else the machine
// does meanwhile falls on all of them.
const blocks = 10

// repairs measures all faults. Each contender has a node of the site.
func (b *bench) repairs() ([]repair, error) {
	site, err := network.New()
	if err != nil {
		return nil, err
	}
	defer site.Close()
	floor, agent, keepalived := site.Web1, site.Web2, site.Dir1
	for _, h := range []*network.Host{floor, agent, keepalived} {
		if err := b.giveDevice(h); err != nil {
			return nil, err
		}
	}
	d, err := startDaemon(agent, b.agent, site.AgentConfig(neverGiveUp))
	if err != nil {
		return nil, err
	}
	defer d.end()
	if _, err := startKeepalived(keepalived, fmt.Sprintf(static, network.VIP, device)); err != nil {
		return nil, err
	}
	var all []repair
	for _, f := range faults() {
		b.say("repairing %s, %d times each", f.Title, b.pace.times)
		r, err := b.repair(f, floor, agent, keepalived)
		if err != nil {
			return nil, fmt.Errorf("%v\n%s", err, daemonLog(agent))
		}
		all = append(all, r)
	}
	return all, nil
}

func (b *bench) repair(f fault, floor, agent, keepalived *network.Host) (repair, error) {
	loop, err := floor.Start(exec.Command(b.self, "floor", f.Name, network.VIP.String()))
	if err != nil {
		return repair{}, err
	}
	defer loop.Kill()
	if err := loop.WaitLog(waiting, patience); err != nil {
		return repair{}, err
	}
	hosts := []*network.Host{floor, agent}
	if f.Name == "vip" {
		hosts = append(hosts, keepalived)
	}
	took := make(map[*network.Host][]time.Duration)
	for range blocks {
		for _, h := range hosts {
			more, err := b.measureOn(h, f, b.pace.times/blocks)
			if err != nil {
				return repair{}, err
			}
			took[h] = append(took[h], more...)
		}
	}
	return repair{
		Fault: f.Name, Title: f.Title,
		Floor: spreadOf(took[floor]), Agent: spreadOf(took[agent]), Keepalived: spreadOf(took[keepalived]),
	}, nil
}

// measureOn runs measure in a process of its own on the host.
func (b *bench) measureOn(h *network.Host, f fault, times int) ([]time.Duration, error) {
	out, err := h.Run(b.self, "measure", f.Name, network.VIP.String(), strconv.Itoa(times), b.pace.gap.String())
	if err != nil {
		return nil, err
	}
	var took []time.Duration
	if err := json.Unmarshal([]byte(out), &took); err != nil {
		return nil, fmt.Errorf("cannot understand what was measured on %s: %v: %s", h.Name, err, out)
	}
	return took, nil
}
