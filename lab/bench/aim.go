package main

import "time"

// What is aimed at.
const (
	timesFloor = 3                      // of a repair's median beside the floor's
	slowest    = 5 * time.Millisecond   // of 99 in 100 repairs
	soonest    = 50 * time.Millisecond  // from exec until a bare node is set up
	timesBatch = 1.3                    // of a convergence beside ip -batch
	mostRSS    = 16 << 10               // KiB, at rest
	mostCPU    = 0.1                    // % of a processor, at rest
	longest    = 100 * time.Millisecond // that a VIP is gone in a storm
	timesRSS   = 1.25                   // of the memory after a storm beside that before it
	probeTime  = 50 * time.Millisecond  // of 99 in 100 probes through the tunnel, from exec to exit
	timesNginx = 0.85                   // of checks answered beside nginx, each with a connection of its own
)

// aim is one thing that was to be reached.
type aim struct {
	title string // a few letters, above the column of the table
	met   bool
}

func (r repair) aims() []aim {
	aims := []aim{
		{"3x", r.Agent.P50 <= timesFloor*r.Floor.P50},
		{"5ms", r.Agent.P99 < slowest},
	}
	if r.Keepalived.Times > 0 {
		aims = append(aims, aim{"ahead", r.Agent.P50 < r.Keepalived.P50 && r.Agent.P99 < r.Keepalived.P99})
	}
	return aims
}

func (s start) aims() []aim {
	return []aim{{"50 ms", s.Agent.P50 <= soonest}, {"ahead", s.Agent.P50 <= s.Shell.P50}}
}

func (c converge) aims() []aim { return []aim{{"1.3x", c.times() <= timesBatch}} }

// times is how many times as long as ip -batch the daemon takes.
func (c converge) times() float64 { return c.Agent.P50.Seconds() / c.Batch.P50.Seconds() }

func (s size) aims() []aim {
	if !s.Agent {
		return nil
	}
	return []aim{{"16M", s.RSS <= mostRSS}, {"0.1%", s.CPU <= mostCPU}}
}

func (s storm) aims() []aim {
	return []aim{
		{"100 ms", s.Back.Max <= longest},
		{"no leak", s.After.Descriptors <= s.Before.Descriptors && s.After.Goroutines <= s.Before.Goroutines},
		{"memory", float64(s.After.RSS) <= timesRSS*float64(s.Before.RSS)},
	}
}

func (e endpoint) aims() []aim {
	return []aim{{"0.85x", min(e.Fresh.Rate, e.Fresh.Cost) >= timesNginx}}
}

func (p probed) aims() []aim {
	return []aim{{"50 ms", p.One.P99 < probeTime && p.Refused.P99 < probeTime}}
}

// aims are all of one machine.
func (r *results) aims() []aim {
	var all []aim
	for _, repair := range r.Repairs {
		all = append(all, repair.aims()...)
	}
	if r.Start != nil {
		all = append(all, r.Start.aims()...)
	}
	for _, c := range r.Converges {
		all = append(all, c.aims()...)
	}
	for _, s := range r.Sizes {
		all = append(all, s.aims()...)
	}
	if r.Storm != nil {
		all = append(all, r.Storm.aims()...)
	}
	if r.Endpoint != nil {
		all = append(all, r.Endpoint.aims()...)
	}
	if r.Probed != nil {
		all = append(all, r.Probed.aims()...)
	}
	return all
}
