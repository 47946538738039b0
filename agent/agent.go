package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/probe"
	"rsagent/sysctl"
	"rsagent/tunnel"
)

const (
	// sweep is how often the node is looked at when nothing happens. Events
	// only start a round early.
	sweep = 10 * time.Second
	// staleAfter is the age at which a report is not to be trusted.
	staleAfter = 3 * sweep
	// patience is how long at most the endpoint holds its first answer back for
	// the first results of the probes, so that a restart is not seen as a
	// failure. keepalived waits for 5 s.
	patience = 4 * time.Second
)

// ErrCutShort is the error of a Run whose drain a second signal ended.
var ErrCutShort = errors.New("the drain was cut short by a second signal")

// Refusal is why a daemon must not start on this node. Nothing was changed.
type Refusal struct{ Finding health.Finding }

func (r *Refusal) Error() string {
	f := r.Finding
	text := fmt.Sprintf("cannot start on this node: %s: found %s, want %s", f.ID, f.Got, f.Want)
	if f.Cause != "" {
		text += "\n  cause:  " + f.Cause
	}
	if f.Remedy != "" {
		text += "\n  remedy: " + f.Remedy
	}
	return text
}

// Agent is the daemon. Its fields belong to the loop, but for those that may
// be used concurrently: latest, pools, kick and metrics.
type Agent struct {
	config     config.Config
	conditions []Condition
	host       Host
	log        zerolog.Logger
	metrics    *health.Metrics
	systemd    *systemd

	latest atomic.Pointer[health.Report]
	pools  results
	kick   chan struct{} // something happened: look now

	refused   map[string]error // settings that the kernel refuses, by condition
	changed   bool             // a repair was done since refused was cleared
	resting   map[string]bool  // conditions whose repair failed: not again before the next sweep
	lastGood  Node             // the newest look that saw links and addresses
	pinged    time.Time        // when systemd's watchdog was last told
	draining  string           // who asked for the drain
	unwatched string           // what was last logged of settings that cannot be watched
}

// New returns an agent for the host. Version goes into the metrics.
func New(c config.Config, host Host, log zerolog.Logger, version string) (*Agent, error) {
	s, err := newSystemd()
	if err != nil {
		return nil, err
	}
	a := &Agent{
		config: c, conditions: append(Conditions(c), notDraining()),
		host: host, log: log, systemd: s,
		pools:   results{byPool: make(map[string]probe.Result)},
		kick:    make(chan struct{}, 1),
		refused: make(map[string]error),
		resting: make(map[string]bool),
	}
	a.metrics = health.NewMetrics(version, a.report)
	a.latest.Store(&health.Report{})
	return a, nil
}

func (a *Agent) report() health.Report { return *a.latest.Load() }

// Run sets the node up, keeps it right and answers on the listener, until a
// signal comes and the drain that it starts is over. It returns a *Refusal,
// with the node as it was, if this node cannot be set up, and ErrCutShort if
// a second signal ended the drain.
func (a *Agent) Run(ctx context.Context, listener net.Listener, signals <-chan os.Signal) error {
	if err := a.start(); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return tunnel.Watch(ctx, a.look) })
	group.Go(func() error { return a.host.watch(ctx, a.look) })
	group.Go(func() error { return a.watchFirewall(ctx) })
	for _, p := range a.config.Pools {
		group.Go(func() error { a.probe(ctx, p); return nil })
	}
	known := make(chan struct{})
	group.Go(func() error { return a.serve(ctx, listener, known) })
	group.Go(func() error {
		defer stop()
		return a.loop(ctx, signals, known)
	})
	return group.Wait()
}

// start refuses a node that must not be touched, or does the first round.
func (a *Agent) start() error {
	first := evaluate(a.conditions, a.observe())
	if err := refusal(a.conditions, first); err != nil {
		return err
	}
	for _, key := range notEnforced(a.config) {
		a.log.Warn().Str("key", key).Msg("this version reads the key and does not enforce it yet")
	}
	o := a.converge()
	// Some of it shows only when the kernel is asked for the device.
	err := refusal(a.conditions, o.report.Findings)
	if err == nil && o.errs[deviceID] != nil {
		err = fmt.Errorf("cannot start on this node: %v", o.errs[deviceID])
	}
	if err != nil {
		a.rollBack(o.steps)
		return err
	}
	a.publish(o.report)
	a.tell(a.systemd.send(daemon.SdNotifyReady, "STATUS="+inWords(o.report, len(a.config.VIPs), len(a.config.Pools))))
	return nil
}

func refusal(conditions []Condition, findings []health.Finding) error {
	for i, c := range conditions {
		if c.Fatal && findings[i].Status == health.Failed {
			return &Refusal{Finding: findings[i]}
		}
	}
	return nil
}

// watchFirewall follows the packet filter. A kernel that has none yet is asked
// again at the pace of the sweeps; the condition says so meanwhile.
func (a *Agent) watchFirewall(ctx context.Context) error {
	if a.config.Tunnel.Mode != config.ModeIPIP {
		return nil
	}
	said := false
	for {
		err := tunnel.WatchFirewall(ctx, a.look)
		if err == nil {
			return nil
		}
		if !said {
			a.log.Warn().Err(err).Stringer("sweep", sweep).Msg("changes of the packet filter are seen at the next sweep only")
			said = true
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sweep):
		}
	}
}

// look starts a round. It never waits: one round to come sees everything
// that has happened before it.
func (a *Agent) look() {
	select {
	case a.kick <- struct{}{}:
	default:
	}
}

func (a *Agent) probe(ctx context.Context, p config.Pool) {
	probe.Watch(ctx, target(a.config, p), func(r probe.Result) {
		a.pools.set(p.Name, r)
		a.look()
	})
}

// serve answers on the listener from the moment that the first results are
// known. Until then, connections wait in its queue.
func (a *Agent) serve(ctx context.Context, listener net.Listener, known <-chan struct{}) error {
	endpoint := health.Endpoint{
		Latest: a.report, StaleAfter: staleAfter,
		DrainStatus: a.config.Health.DrainStatus, Allow: a.config.Health.Allow,
		Metrics: a.metrics.Handler(),
	}
	server := endpoint.Server()
	end := context.AfterFunc(ctx, func() { listener.Close(); server.Close() })
	defer end()
	select {
	case <-known:
	case <-time.After(patience):
	case <-ctx.Done():
		return nil
	}
	if err := endpoint.Serve(server, listener); ctx.Err() == nil {
		return fmt.Errorf("cannot answer on %s: %v", listener.Addr(), err)
	}
	return nil
}

// publish makes the report the one that everybody sees.
func (a *Agent) publish(r health.Report) {
	a.logTransitions(a.report(), r)
	a.latest.Store(&r)
	a.metrics.Round()
}

func (a *Agent) tell(err error) {
	if err != nil {
		a.log.Warn().Err(err).Msg("systemd was not told")
	}
}

// notEnforced names the keys in force that this version does nothing about.
func notEnforced(c config.Config) []string {
	var keys []string
	add := func(set bool, key string) {
		if set {
			keys = append(keys, key)
		}
	}
	add(c.Tunnel.OnStop == config.OnStopRemove, "tunnel.on_stop")
	add(c.Health.AgentListen != "", "health.agent_listen")
	add(c.Drain.Fall != 3, "drain.fall")
	return keys
}

func settingKeys(c config.Config) []sysctl.Key {
	var keys []sysctl.Key
	for _, s := range c.Sysctl {
		if key, err := sysctl.ParseKey(s.Key); err == nil {
			keys = append(keys, key)
		}
	}
	return keys
}
