package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"rsagent/agent/control"
	"rsagent/agent/health"
)

// OnControl sets where Run serves the commands that reach a running daemon.
func (a *Agent) OnControl(l *net.UnixListener) { a.controls = l }

// order is something that the loop is asked to do.
type order struct {
	do   func()
	done chan struct{}
}

var errStops = errors.New("cannot do that: the daemon stops")

// do has the loop do something, and waits for it.
func (a *Agent) do(ctx context.Context, something func()) error {
	o := order{something, make(chan struct{})}
	select {
	case a.orders <- o:
		<-o.done // the loop ends no order halfway
		return nil
	case <-ctx.Done():
		return errStops
	}
}

// posted is what the loop shows to those who ask the daemon.
type posted struct {
	mu     sync.Mutex
	drains []control.Draining
	news   chan struct{} // closed when there is something newer
}

func (p *posted) set(drains []control.Draining) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drains = drains
	if p.news != nil {
		close(p.news)
		p.news = nil
	}
}

// get returns what was set last, and a channel that is closed when that is no
// longer so.
func (p *posted) get() ([]control.Draining, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.news == nil {
		p.news = make(chan struct{})
	}
	return p.drains, p.news
}

// state is what the daemon thinks now. Changed is closed when that may differ.
func (a *Agent) state() (s control.State, changed <-chan struct{}) {
	drains, changed := a.posted.get()
	standing, now := a.latest.Load(), time.Now()
	s = control.State{Time: now, Version: a.version, Process: os.Getpid(), Pools: []control.Pool{}, Drains: drains}
	if s.Drains == nil {
		s.Drains = []control.Draining{}
	}
	s.State, s.Why, s.Weight = stateOf(standing.Node, now)
	for name, v := range standing.Pools {
		p := control.Pool{Name: name}
		p.State, p.Why, p.Weight = stateOf(v, now)
		s.Pools = append(s.Pools, p)
	}
	slices.SortFunc(s.Pools, func(a, b control.Pool) int { return strings.Compare(a.Name, b.Name) })
	s.Asking = a.audience.shown(a.endpoint.Load().Notice, now)
	return s, changed
}

func stateOf(v health.Verdict, now time.Time) (state, why string, w control.Weight) {
	w = control.Weight{Percent: v.WeightAt(now), Full: v.Weight.Full}
	switch {
	case v.Drained:
		return control.Drained, "", w
	case v.Draining:
		return control.IsDraining, "", w
	case v.Ready:
		w.Until = v.Weight.Until(now)
		return control.Ready, "", w
	}
	return control.NotReady, v.Why, w
}

// handle does what a client asks for.
func (a *Agent) handle(ctx context.Context, r control.Request, send func(control.Reply) error) {
	var err error
	switch r.Do {
	case control.Status:
	case control.Drain:
		err = a.orderDrain(ctx, r)
	case control.Undrain:
		err = a.orderUndrain(ctx, r)
	default:
		err = fmt.Errorf("cannot %q: the daemon is of another version", r.Do)
	}
	if err != nil {
		send(control.Reply{Error: err.Error()}) // the client is gone if this fails
		return
	}
	a.follow(ctx, r, send)
}

// followTick is how often somebody who waits for directors looks whether they
// have asked.
const followTick = 250 * time.Millisecond

// follow sends the state, and if that is asked for each newer one, until what was
// asked for is reached.
func (a *Agent) follow(ctx context.Context, r control.Request, send func(control.Reply) error) {
	tick := followTick
	if r.Do == control.Status {
		tick = time.Second // for the times in it
	}
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	for {
		s, changed := a.state()
		reply := control.Reply{State: s}
		switch r.Do {
		case control.Drain:
			reply.Done, reply.Ended = drainReached(r, s)
		case control.Undrain:
			reply.Done, reply.Ended = a.undrainReached(r, s)
		}
		if send(reply) != nil || !r.Follow || reply.Done || reply.Ended != "" {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-ticks.C:
		}
	}
}

// scopes are the pools that a request is about, or the node.
func scopes(r control.Request) []string {
	if len(r.Pools) == 0 {
		return []string{wholeNode}
	}
	return r.Pools
}

// orderDrain drains by hand.
func (a *Agent) orderDrain(ctx context.Context, r control.Request) (err error) {
	done := a.do(ctx, func() {
		if err = a.noSuchPool(r.Pools); err != nil {
			return
		}
		timeout := a.config.Drain.Timeout
		if r.Timeout > 0 {
			timeout = r.Timeout
		}
		for _, pool := range scopes(r) {
			a.withdraw(pool, control.Reason{Kind: byHand, Text: printable(r.Reason), Since: time.Now()}, timeout)
		}
		a.round(health.FromSignal)
		a.keepDrains()
	})
	return errors.Join(done, err)
}

// orderUndrain takes back what was drained by hand.
func (a *Agent) orderUndrain(ctx context.Context, r control.Request) (err error) {
	done := a.do(ctx, func() {
		if err = a.noSuchPool(r.Pools); err != nil {
			return
		}
		pools := r.Pools
		if len(pools) == 0 {
			pools = a.reasons.pools()
		}
		for _, pool := range pools {
			a.reinstate(pool, byHand)
		}
		a.round(health.FromSignal)
		a.keepDrains()
	})
	return errors.Join(done, err)
}

func (a *Agent) noSuchPool(names []string) error {
	unknown := unknownPools(a.config, names)
	if len(unknown) == 0 {
		return nil
	}
	have := "this node has none"
	if len(a.config.Pools) > 0 {
		var names []string
		for _, p := range a.config.Pools {
			names = append(names, p.Name)
		}
		have = "there are: " + strings.Join(names, ", ")
	}
	return fmt.Errorf("cannot find pool %q; %s", unknown[0], have)
}

// stillComing is why a drain has not emptied what it was to empty.
const stillComing = "new connections came until the end: a director does not keep clients away (with IPVS: rsagent config director sysctl)"

// drainReached tells whether all that was to be drained is, or will not be.
func drainReached(r control.Request, s control.State) (done bool, ended string) {
	done = true
	for _, pool := range scopes(r) {
		i := slices.IndexFunc(s.Drains, func(d control.Draining) bool { return d.Pool == pool })
		if i < 0 {
			return false, "somebody has put " + withName(pool) + " back into service"
		}
		switch d := s.Drains[i]; {
		case d.Phase != control.Over:
			done = false
		case d.Uncounted != "":
			return false, d.Uncounted
		case d.Left > 0:
			ended = fmt.Sprintf("%s left at the end of the time for them, on %s", counted(d.Left, "connection"), withName(pool))
			if d.Coming {
				ended += "; " + stillComing
			}
			return false, ended
		case d.Coming:
			return false, stillComing + ", on " + withName(pool)
		}
	}
	return done, ""
}

func withName(pool string) string {
	if pool == wholeNode {
		return "the node"
	}
	return "pool " + pool
}

// undrainReached tells whether all is in service again and directors have seen
// it, or will not be.
func (a *Agent) undrainReached(r control.Request, s control.State) (done bool, ended string) {
	for _, d := range s.Drains {
		if len(r.Pools) == 0 || d.Pool == wholeNode || slices.Contains(r.Pools, d.Pool) {
			return false, withName(d.Pool) + " still drains, by " + reasonsInWords(d.Reasons)
		}
	}
	for _, pool := range scopes(r) {
		if waiting := a.audience.welcoming(pool, a.endpoint.Load().Notice, s.Time); len(waiting) > 0 {
			return false, ""
		}
	}
	if len(r.Pools) == 0 {
		return s.State == control.Ready, ""
	}
	for _, p := range s.Pools {
		if slices.Contains(r.Pools, p.Name) && p.State != control.Ready {
			return false, ""
		}
	}
	return true, ""
}
