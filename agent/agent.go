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

	"rsagent/agent/answer"
	"rsagent/agent/config"
	"rsagent/agent/control"
	"rsagent/agent/health"
	"rsagent/probe"
	"rsagent/tunnel"
)

// patience is how long at most the endpoint holds its first answer back for
// the first results of the probes, so that a restart is not seen as a
// failure. keepalived waits for 5 s.
const patience = 4 * time.Second

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
// be used concurrently: latest, pools, weights, word, witnesses, metrics, audience,
// orders, posted and drainsAnything.
type Agent struct {
	config   config.Config
	judge    *judge
	host     Host
	follower *follower
	filter   *filter // what is wanted of the packet filter, for the metrics
	log      zerolog.Logger
	metrics  *health.Metrics
	systemd  *systemd
	load     func() (config.Config, zerolog.Logger, error) // what a reload reads; nil: nothing
	agents   net.Listener                                  // for HAProxy's agent-checks; nil: none

	latest    atomic.Pointer[health.Standing]
	endpoint  atomic.Pointer[health.Endpoint]
	pools     results
	word      *word
	witnesses *witnesses
	probes    map[string]*probing // by pool
	weights   *weights
	weighing  *weighing // the source of the weight; nil: none is followed
	ready     readySince

	flaps      flaps
	steadiness steadiness

	refused   map[string]error // settings that the kernel refuses, by condition
	changed   bool             // a repair was done since refused was cleared
	failed    map[string]error // by the id of a condition: what its last repair failed with
	resting   map[string]bool  // conditions whose repair failed: not again before the next sweep
	lastGood  Node             // the newest look that saw links and addresses
	pinged    time.Time        // when systemd's watchdog was last told
	unseen    lastSaid         // of a drain file that cannot be looked for
	unwatched lastSaid         // of settings that cannot be watched
	forgetful lastSaid         // of a ledger that cannot be written
	unkept    lastSaid         // of a weight that cannot be remembered
	unlisted  lastSaid         // of a sweep that could not list everything

	succession succession

	audience *audience
	reasons  reasons             // to be out of service
	drains   map[string]*leaving // by pool; one for each that has a reason
	stopping bool                // the daemon ends when the node has drained
	recalled []recalledDrain     // from before, to go on with
	file     *fileWatch          // of drain.file; nil: none is followed
	controls *net.UnixListener   // for those who ask the daemon; nil: nobody can
	orders   chan order          // for the loop
	nudge    chan struct{}       // has one token when a drain may go on
	posted   posted
	version  string

	kept      *tunnel.Census // of what is served, for the next drain; nil: not looked yet
	keptUntil time.Time      // when it is to be looked again

	drainsAnything atomic.Bool
}

// New returns an agent for the host, which it follows from now on. Version goes
// into the metrics. The caller's thread is in the network namespace of the host.
func New(c config.Config, host Host, log zerolog.Logger, version string) (*Agent, error) {
	s, err := newSystemd()
	if err != nil {
		return nil, err
	}
	a := &Agent{
		config: c, judge: newJudge(allConditions(c)),
		host: host, log: log, systemd: s,
		filter:     &filter{config: c},
		pools:      results{byPool: make(map[string]probe.Result)},
		weights:    newWeights(),
		ready:      make(readySince),
		word:       newWord(),
		witnesses:  newWitnesses(),
		probes:     make(map[string]*probing),
		flaps:      flaps{limit: c.Repair.Flaps, of: make(map[string]*flap)},
		steadiness: make(steadiness),
		refused:    make(map[string]error),
		failed:     make(map[string]error),
		resting:    make(map[string]bool),
		audience:   newAudience(),
		reasons:    make(reasons),
		drains:     make(map[string]*leaving),
		orders:     make(chan order),
		nudge:      make(chan struct{}, 1),
		version:    version,
	}
	a.follower, err = follow(host, c, func(source string, change tunnel.Change) {
		if source == fromRoutes {
			a.word.comeSlowly()
			return
		}
		if change.Lost {
			a.metrics.Lost(source)
		}
		a.witnesses.told(source, change)
		a.word.come(source)
	})
	if err != nil {
		return nil, err
	}
	a.metrics = health.NewMetrics(version, a.latest.Load)
	a.latest.Store(health.NewStanding(health.Report{}))
	return a, nil
}

// OnHangup sets what a SIGHUP reads: the configuration, and the log that goes
// with it.
func (a *Agent) OnHangup(load func() (config.Config, zerolog.Logger, error)) { a.load = load }

// OnAgentChecks sets where Run answers HAProxy's agent-checks, besides the
// directors on its own listener.
func (a *Agent) OnAgentChecks(l net.Listener) { a.agents = l }

func allConditions(c config.Config) []Condition {
	list := append(Conditions(c), notDraining(wholeNode))
	for _, p := range c.Pools {
		list = append(list, notDraining(p.Name))
	}
	return list
}

// staleAfter is the age at which a report is not to be trusted.
func (a *Agent) staleAfter() time.Duration { return 3 * a.config.Repair.Sweep }

func (a *Agent) report() health.Report { return a.latest.Load().Report }

// Run sets the node up, keeps it right and answers on the listener, until a
// signal comes and the drain that it starts is over. It returns a *Refusal,
// with the node as it was, if this node cannot be set up, and ErrCutShort if
// a second signal ended the drain.
func (a *Agent) Run(ctx context.Context, listener net.Listener, signals <-chan os.Signal) error {
	defer a.follower.close()
	a.configureEndpoint()
	if err := a.start(); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { a.follower.mirror.Run(ctx); return nil })
	group.Go(func() error { return a.follower.watchSettings(ctx) })
	if a.config.Tunnel.Mode == config.ModeIPIP {
		pace := a.config.Repair.Sweep
		group.Go(func() error { a.follower.watchFirewall(ctx, pace); return nil })
	}
	a.probe(ctx)
	defer a.endProbes()
	a.followWeight(ctx)
	defer a.endWeight()
	known := make(chan struct{})
	a.followDrainFile(ctx)
	defer func() { a.endDrainFile() }()
	directors := health.Server(a.endpoint.Load)
	directors.Answered = func(r *answer.Request, w *answer.Answer) { a.answered(r, w, false) }
	group.Go(func() error { return a.serve(ctx, listener, directors, known) })
	if a.agents != nil {
		agents := health.AgentServer(a.endpoint.Load)
		agents.Answered = func(r *answer.Request, w *answer.Answer) { a.answered(r, w, true) }
		group.Go(func() error { return a.serve(ctx, a.agents, agents, known) })
	}
	if a.controls != nil {
		group.Go(func() error { return control.Serve(ctx, a.controls, a.handle) })
	}
	group.Go(func() error {
		defer stop()
		return a.loop(ctx, listener, signals, known)
	})
	err := group.Wait()
	a.handOver()
	return err
}

// start refuses a node that must not be touched, or does the first round.
func (a *Agent) start() error {
	began := time.Now()
	first := a.judge.evaluate(a.observe())
	if err := refusal(a.judge.conditions, first); err != nil {
		return err
	}
	a.followFirewall()
	if a.host.Ledger != nil {
		a.sayForgetful(a.host.Ledger.Damage())
	}
	a.abandon()
	a.goOnDraining()
	o := a.converge()
	// Some of it shows only when the kernel is asked for the device.
	err := refusal(a.judge.conditions, o.report.Findings)
	if err == nil && o.errs[deviceID] != nil {
		err = fmt.Errorf("cannot start on this node: %v", o.errs[deviceID])
	}
	if err != nil {
		a.rollBack(o.steps)
		return err
	}
	clear(a.flaps.of) // to set a node up is no fight
	clear(a.steadiness)
	a.metrics.Round(health.FromStart, time.Since(began))
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

// followFirewall follows the packet filter, if the kernel has one.
func (a *Agent) followFirewall() {
	if a.config.Tunnel.Mode != config.ModeIPIP {
		return
	}
	if err := a.follower.followFirewall(); err != nil {
		a.log.Warn().Err(err).Stringer("sweep", a.config.Repair.Sweep).Msg("changes of the packet filter are seen at the next sweep only")
	}
}

// server is who answers on a listener: answer.Server or answer.LineServer.
type server interface {
	Serve(net.Listener) error
	Stop()
	Finish(time.Duration)
}

// serve answers on the listener from the moment that the first results are
// known. Until then, connections wait in its queue.
func (a *Agent) serve(ctx context.Context, listener net.Listener, server server, known <-chan struct{}) error {
	end := context.AfterFunc(ctx, func() {
		listener.Close()
		server.Stop()
	})
	defer end()
	select {
	case <-known:
	case <-time.After(patience):
	case <-ctx.Done():
		return nil
	}
	a.audience.open(time.Now())
	if err := server.Serve(listener); err != nil {
		return fmt.Errorf("cannot answer on %s: %v", listener.Addr(), err)
	}
	server.Finish(lastAnswers)
	return nil
}

// configureEndpoint makes the endpoint answer as configured.
func (a *Agent) configureEndpoint() {
	a.endpoint.Store(&health.Endpoint{
		Latest: a.latest.Load, StaleAfter: a.staleAfter(),
		DrainStatus: a.config.Health.DrainStatus, Allow: a.config.Health.Allow,
		Metrics: a.metrics.Handler(), Notice: a.config.Drain.Notice,
	})
	a.audience.declare(a.config.Directors, a.config.Drain.Fall)
}

// publish makes the report the one that everybody sees.
func (a *Agent) publish(r health.Report) {
	a.logTransitions(a.report(), r)
	s := health.NewStanding(r)
	a.weigh(s)
	a.latest.Store(s)
	a.post()
}

func (a *Agent) tell(err error) {
	if err != nil {
		a.log.Warn().Err(err).Msg("systemd was not told")
	}
}

// answered notes what somebody who asks was told.
func (a *Agent) answered(r *answer.Request, w *answer.Answer, agent bool) {
	if !a.audience.answered(r, w, agent, time.Now()) || !a.drainsAnything.Load() {
		return
	}
	select {
	case a.nudge <- struct{}{}:
	default:
	}
}
