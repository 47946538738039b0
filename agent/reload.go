package agent

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/coreos/go-systemd/v22/daemon"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/probe"
)

// probing is the probe of one pool that runs.
type probing struct {
	pool  config.Pool
	end   context.CancelFunc
	ended chan struct{}
}

// probe starts the probes of pools that are new, and ends those of pools that
// are gone. One that stays as it was goes on undisturbed.
func (a *Agent) probe(ctx context.Context) {
	wanted := make(map[string]config.Pool, len(a.config.Pools))
	for _, p := range a.config.Pools {
		wanted[p.Name] = p
	}
	for name, running := range a.probes {
		p, stays := wanted[name]
		if stays && reflect.DeepEqual(p, running.pool) {
			continue
		}
		a.endProbe(name)
		// What is asked as before is thought of as before.
		if !stays || !reflect.DeepEqual(question(a.config, p), question(a.config, running.pool)) {
			a.pools.forget(name)
		}
	}
	for name, p := range wanted {
		if a.probes[name] != nil {
			continue
		}
		ctx, end := context.WithCancel(ctx)
		running := &probing{pool: p, end: end, ended: make(chan struct{})}
		a.probes[name] = running
		t := target(a.config, p)
		go func() {
			defer close(running.ended)
			probe.Watch(ctx, t, a.pools.of(name), func(r probe.Result) {
				a.pools.set(name, r)
				a.word.come(health.FromProbe)
			})
		}()
	}
}

func (a *Agent) endProbe(name string) {
	running := a.probes[name]
	running.end()
	<-running.ended
	delete(a.probes, name)
}

func (a *Agent) endProbes() {
	for name := range a.probes {
		a.endProbe(name)
	}
}

// reload puts the file in force as it is now, and of that only the difference.
// A file that is no good changes nothing.
func (a *Agent) reload(ctx context.Context) {
	a.tell(a.systemd.reloading())
	defer func() { a.tell(a.systemd.send(daemon.SdNotifyReady)) }()
	if a.load == nil {
		a.log.Warn().Msg("there is no file to reload: this daemon was started with --vip")
		return
	}
	c, log, err := a.load()
	if err == nil {
		err = restartOnly(a.config, c)
	}
	if err != nil {
		a.log.Error().Err(err).Msg("cannot reload; the configuration in force stays")
		return
	}
	a.log = log
	a.config, a.judge, a.filter = c, newJudge(allConditions(c)), &filter{config: c}
	a.flaps.limit = c.Repair.Flaps
	a.steadiness.excuse()
	clear(a.refused)
	clear(a.resting)
	a.follower.configure(c)
	a.configureEndpoint()
	a.followDrainFile(ctx)
	a.probe(ctx)
	a.followWeight(ctx)
	a.kept = nil // others may be served
	a.abandon()
	a.log.Info().Int("vips", len(c.VIPs)).Int("pools", len(c.Pools)).Msg("reloaded")
}

// restartOnly is an error if what differs takes a restart.
func restartOnly(was, now config.Config) error {
	switch {
	case was.Health.Listen != now.Health.Listen:
		return fmt.Errorf("health.listen is %q and was %q: that takes a restart, which does not drain either", now.Health.Listen, was.Health.Listen)
	case was.Health.AgentListen != now.Health.AgentListen:
		return fmt.Errorf("health.agent_listen is %q and was %q: that takes a restart, which does not drain either", now.Health.AgentListen, was.Health.AgentListen)
	case was.Tunnel.Mode != now.Tunnel.Mode, was.Tunnel.Device != now.Tunnel.Device:
		return errors.New("another tunnel.mode or tunnel.device takes a restart, which does not drain either")
	}
	return nil
}
