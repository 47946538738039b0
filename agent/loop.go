package agent

import (
	"context"
	"maps"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"rsagent/agent/config"
	"rsagent/agent/health"
)

// longestPause is the longest wait for the next round.
const longestPause = 250 * time.Millisecond

// gatherTime is how long word of routes is gathered before a round looks what it
// came to.
const gatherTime = 100 * time.Millisecond

// loop does a round whenever something happened, and at every sweep. It ends
// with the drain that a signal starts, or with ctx.
func (a *Agent) loop(ctx context.Context, listener net.Listener, signals <-chan os.Signal, known chan<- struct{}) error {
	sweeps := time.NewTicker(a.config.Repair.Sweep)
	defer sweeps.Stop()
	retry := time.NewTimer(0) // of repairs that are held back or must hold
	defer retry.Stop()
	retry.Stop()
	watchdog := newTicker(a.systemd.watchdog)
	defer watchdog.Stop()
	drainStep := time.NewTimer(0)
	defer drainStep.Stop()
	drainStep.Stop()
	stepDue := false // drainStep runs
	// After a round, word of changes waits for as long as the round took, so that
	// a storm of them leaves the node half of a core at least. A round that took
	// longer than most did wait itself, as for a module.
	rest := time.NewTimer(0)
	defer rest.Stop()
	kick := a.word.kick
	// Word of routes waits for more of them.
	gather := time.NewTimer(0)
	defer gather.Stop()
	gather.Stop()
	slow := a.word.slow
	known = a.announce(known)
	for {
		if wait, due := a.next(time.Now()); due {
			retry.Reset(wait)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-kick:
			rest.Reset(min(a.round(a.word.first(health.FromLinks)), longestPause))
			kick = nil
			known = a.announce(known)
		case <-rest.C:
			kick = a.word.kick
		case <-slow:
			gather.Reset(gatherTime)
			slow = nil
		case <-gather.C:
			slow = a.word.slow
			a.word.come(health.FromLinks)
		case <-retry.C:
			a.round(health.FromRetry)
		case <-sweeps.C:
			a.sweep()
		case <-watchdog.C:
			a.ping()
		case s := <-signals:
			if over, err := a.signalled(ctx, s, listener); over {
				return err
			}
			sweeps.Reset(a.config.Repair.Sweep) // a reload may have changed it
		case o := <-a.orders:
			o.do()
			close(o.done)
		case <-a.nudge:
			drainStep.Reset(0)
			stepDue = true
		case now := <-drainStep.C:
			if a.stepDrains(now) {
				a.giveBackAtEnd()
				return nil
			}
			stepDue = false
		}
		if wait, due := a.nextDrainStep(time.Now()); due && !stepDue {
			drainStep.Reset(wait)
			stepDue = true
		}
	}
}

// giveBackAtEnd gives back what was changed, if that is configured.
func (a *Agent) giveBackAtEnd() {
	if a.config.Tunnel.OnStop == config.OnStopRemove && a.host.Ledger != nil {
		a.giveBack(a.host.Ledger.Entries())
	}
}

// signalled does what a signal asks for. Over says that the daemon is to end.
func (a *Agent) signalled(ctx context.Context, s os.Signal, listener net.Listener) (over bool, err error) {
	name := signalName(s)
	switch {
	case s == syscall.SIGHUP && a.stopping:
		a.log.Warn().Str("signal", name).Msg("not reloaded, since the node is on its way out of service")
	case s == syscall.SIGHUP:
		a.reload(ctx)
		a.round(health.FromSignal)
	case a.stopping:
		a.log.Warn().Str("signal", name).Msg("drain cut short")
		return true, ErrCutShort
	case a.handsOver(ctx, name):
		a.keep(listener)
		return true, nil
	default:
		a.beginStop(name)
	}
	return false, nil
}

// signalName is the name as kill(1) has it.
func signalName(s os.Signal) string {
	if number, ok := s.(syscall.Signal); ok {
		return unix.SignalName(number)
	}
	return s.String()
}

// newTicker returns a ticker that never ticks if the interval is 0.
func newTicker(interval time.Duration) *time.Ticker {
	if interval > 0 {
		return time.NewTicker(interval)
	}
	t := time.NewTicker(time.Hour)
	t.Stop()
	return t
}

// round looks, repairs and reports. It returns how long that took.
func (a *Agent) round(trigger string) time.Duration {
	began := time.Now()
	a.pass(began)
	o := a.converge()
	a.word.heard(began)
	a.publish(o.report)
	a.metrics.Stopped(slices.Collect(maps.Keys(a.held())))
	a.sayHow(o.report)
	took := time.Since(began)
	a.metrics.Round(trigger, took)
	return took
}

// pass lets time pass for the repairs that are watched.
func (a *Agent) pass(now time.Time) {
	for _, what := range a.flaps.pass(now) {
		a.log.Info().Str("what", what).Msg("repair holds again")
	}
	for _, r := range a.steadiness.pass(now) {
		a.witnesses.forget(r.what)
	}
}

// next is how long from now pass has something to see; false if it has not.
func (a *Agent) next(now time.Time) (wait time.Duration, due bool) {
	wait, due = a.flaps.next(now)
	if w, also := a.steadiness.next(now); also && (!due || w < wait) {
		wait, due = w, true
	}
	return wait, due
}

// sweep is a round that looks at everything, whatever was said of changes.
func (a *Agent) sweep() {
	clear(a.resting)
	if err := a.follower.sweep(); a.unlisted.news(err) {
		a.log.Warn().Err(err).Msg("the sweep relies on the word of changes")
	}
	a.lookForDrainFile()
	a.round(health.FromSweep)
	a.keepWeight()
	a.keepTrack(time.Now())
}

// ping tells systemd's watchdog that the loop is at work, if that is due: it
// also is while a round repairs thousands of things.
func (a *Agent) ping() {
	if a.systemd.watchdog == 0 || time.Since(a.pinged) < a.systemd.watchdog/2 {
		return
	}
	a.pinged = time.Now()
	a.tell(a.systemd.send(daemon.SdNotifyWatchdog))
}

// announce closes known, once, when the report that everybody sees has a
// result for every pool, and the weight.
func (a *Agent) announce(known chan<- struct{}) chan<- struct{} {
	if known == nil || a.report().PoolsUnknown() || unweighed(a.report()) {
		return known
	}
	close(known)
	return nil
}

// handsOver says whether another daemon follows at once. The node then stays in
// service as it is: draining it would cost more than the moment in between. If
// that cannot be told, the node drains.
func (a *Agent) handsOver(ctx context.Context, signal string) bool {
	again, err := restarting(ctx)
	if err != nil {
		a.log.Warn().Err(err).Msg("draining, since this may be a stop")
	}
	if again {
		a.log.Info().Str("signal", signal).Msg("restarting without a drain")
	}
	return again
}
