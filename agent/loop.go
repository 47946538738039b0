package agent

import (
	"context"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"rsagent/tunnel"
)

// loop does a round whenever something happened, and at every sweep. It ends
// with the drain that a signal starts, or with ctx.
func (a *Agent) loop(ctx context.Context, signals <-chan os.Signal, known chan<- struct{}) error {
	sweeps := time.NewTicker(sweep)
	defer sweeps.Stop()
	watchdog := newTicker(a.systemd.watchdog)
	defer watchdog.Stop()
	var d *drain
	drainStep := time.NewTimer(0)
	defer drainStep.Stop()
	drainStep.Stop()
	// After a round, word of changes waits for as long as the round took, so that
	// a storm of them leaves the node half of a core at least.
	rest := time.NewTimer(0)
	defer rest.Stop()
	kick := a.kick
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-kick:
			rest.Reset(a.round())
			kick = nil
			known = a.announce(known)
		case <-rest.C:
			kick = a.kick
		case <-sweeps.C:
			clear(a.resting)
			a.round()
		case <-watchdog.C:
			a.ping()
		case s := <-signals:
			name := signalName(s)
			if s == syscall.SIGHUP {
				a.log.Warn().Str("signal", name).Msg("cannot reload in this version; restart instead, which does not drain")
				continue
			}
			if d != nil {
				a.log.Warn().Str("signal", name).Msg("drain cut short")
				return ErrCutShort
			}
			if a.handsOver(ctx, name) {
				return nil
			}
			d = a.beginDrain(name)
			drainStep.Reset(d.wait(time.Now()))
		case now := <-drainStep.C:
			if a.drainOn(d, now) {
				return nil
			}
			drainStep.Reset(d.wait(now))
		}
	}
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
func (a *Agent) round() time.Duration {
	began := time.Now()
	o := a.converge()
	a.publish(o.report)
	if a.draining == "" {
		a.tell(a.systemd.say(inWords(o.report, len(a.config.VIPs), len(a.config.Pools))))
	}
	return time.Since(began)
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
// result for every pool.
func (a *Agent) announce(known chan<- struct{}) chan<- struct{} {
	if known == nil || a.report().PoolsUnknown() {
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

// beginDrain turns readiness before anything else.
func (a *Agent) beginDrain(signal string) *drain {
	a.draining = signal
	a.round()
	d := newDrain(a.config.Drain, time.Now())
	a.log.Info().Str("signal", signal).Stringer("notice", d.notice).Stringer("timeout", d.timeout).
		Msg("drain began; a second signal ends it at once")
	a.tell(a.systemd.send(daemon.SdNotifyStopping))
	a.tell(a.systemd.extend(d.inWords(time.Now())))
	return d
}

func (a *Agent) drainOn(d *drain, now time.Time) (done bool) {
	done = d.step(now, a.connections)
	if !done {
		a.tell(a.systemd.extend(d.inWords(now)))
		return false
	}
	e := a.log.Info()
	if d.unknown != nil {
		e = a.log.Warn().AnErr("uncounted", d.unknown)
	}
	e.Stringer("waited_notice", d.waitedForNotice().Round(time.Millisecond)).
		Stringer("waited_connections", d.waitedForConnections().Round(time.Millisecond)).
		Int("connections_left", d.left.Total()).Msg("drain ended")
	return true
}

// connections counts those that a stop of the web server would break: to a
// VIP, or where there is none, to a pool.
func (a *Agent) connections() (tunnel.Connections, error) {
	var services []netip.AddrPort
	for _, vip := range a.config.VIPs {
		services = append(services, netip.AddrPortFrom(vip, 0))
	}
	if len(a.config.VIPs) == 0 {
		for _, p := range a.config.Pools {
			services = append(services, p.Address)
		}
	}
	return a.host.Net.Connections(services)
}
