package agent

import (
	"context"
	"sync"
	"time"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/probe"
)

// Check looks at the node once, asks the service of each pool once, and
// judges what it found. It changes nothing.
func Check(ctx context.Context, c config.Config, host Host) health.Report {
	n := host.look(c)
	n.Pools = tryPools(ctx, c)
	return health.NewReport(n.Time, evaluate(Conditions(c), n))
}

// CheckFound is Check for a node that has no configuration: it judges what
// stands on the node.
func CheckFound(host Host) health.Report {
	n := host.observe(config.DefaultDevice, nil)
	c, conditions := Found(n)
	if c.Tunnel.Device != config.DefaultDevice {
		n = host.observe(c.Tunnel.Device, nil)
	}
	return health.NewReport(n.Time, evaluate(conditions, n))
}

func tryPools(ctx context.Context, c config.Config) map[string]probe.Result {
	found := results{byPool: make(map[string]probe.Result)}
	var tries sync.WaitGroup
	for _, p := range c.Pools {
		tries.Go(func() {
			r := probe.Result{State: probe.Up, Since: time.Now()}
			if err := target(c, p).Try(ctx); err != nil {
				r.State, r.Detail = probe.Down, err.Error()
			}
			found.set(p.Name, r)
		})
	}
	tries.Wait()
	return found.all()
}
