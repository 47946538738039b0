package agent

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/probe"
	"rsagent/sysctl"
)

// Check looks at the node once, asks the service of each pool once, and
// judges what it found. It changes nothing.
func Check(ctx context.Context, c config.Config, host Host) health.Report {
	n := host.look(c)
	var tries sync.WaitGroup
	var pools map[string]probe.Result
	tries.Go(func() { pools = tryPools(ctx, c) })
	var weight Weighed
	tries.Go(func() { weight = weightOnce(ctx, c, host.Root) })
	n.Examined = host.examine(ctx, c, n) // on this thread, which is in the namespace of the host
	tries.Wait()
	n.Pools, n.Weight = pools, weight
	return health.NewReport(n.Time, evaluate(Examined(c), n))
}

// CheckFound is Check for a node that has no configuration: it judges what
// stands on the node.
func CheckFound(ctx context.Context, host Host) health.Report {
	n := host.observe(config.DefaultDevice, nil)
	c, conditions := Found(n)
	if c.Tunnel.Device != config.DefaultDevice {
		n = host.observe(c.Tunnel.Device, nil)
	}
	// Nobody says where the directors are, but most nodes have one way out.
	n.Facing = host.facing([]netip.Prefix{netip.PrefixFrom(anywhere, anywhere.BitLen())})
	n.Ways = host.ways(c, n)
	n.Examined = host.examine(ctx, c, n)
	if booted(host.Root) {
		n.Examined.Boot, n.Examined.BootErr = sysctl.AtBoot(host.Root)
	}
	return health.NewReport(n.Time, evaluate(conditions, n))
}

func tryPools(ctx context.Context, c config.Config) map[string]probe.Result {
	found := results{byPool: make(map[string]probe.Result)}
	var tries sync.WaitGroup
	for _, p := range c.Pools {
		tries.Go(func() {
			r := probe.Result{State: probe.Up, Since: time.Now()}
			if err := tryPool(ctx, target(c, p)); err != nil {
				r.State, r.Detail = probe.Down, err.Error()
			}
			found.set(p.Name, r)
		})
	}
	tries.Wait()
	return found.all()
}

// tryPool asks as often as the daemon would before it calls a service down: a
// busy one may well be late once.
func tryPool(ctx context.Context, t probe.Target) error {
	err := t.Try(ctx)
	for range t.Fall - 1 {
		if err == nil || ctx.Err() != nil {
			break
		}
		err = t.Try(ctx)
	}
	return err
}
