package agent

import (
	"net/netip"
	"slices"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"

	"rsagent/agent/config"
	"rsagent/agent/control"
	"rsagent/agent/health"
	"rsagent/tunnel"
)

// leaving is the drain of the node, or of a pool, and what it counts.
type leaving struct {
	*drain
	census *tunnel.Census
}

// withdraw has a reason to drain count, and begins the drain if it is the first.
// A drain for a stop always begins anew: what came since the end of the last must
// end too. The caller does a round, at once.
func (a *Agent) withdraw(pool string, why control.Reason, timeout time.Duration) {
	a.reasons.add(pool, why)
	running := a.drains[pool]
	if running != nil && why.Kind != byStop {
		return
	}
	census := a.host.Net.Census(a.served(pool), a.config.Drain.Idle)
	if a.kept != nil {
		census.Recall(a.kept)
	}
	d := newDrain(a.config.Drain.Notice, timeout, time.Now())
	d.asked = a.config.Tunnel.Mode == config.ModeNone
	a.drains[pool] = &leaving{drain: d, census: census}
	a.drainsAnything.Store(true)
	e := a.log.Info()
	if why.Kind == byStop {
		e = e.Str("signal", why.Text)
	} else {
		e = e.Str("by", why.Kind).Str("reason", why.Text)
	}
	ofPool(e, pool).Stringer("notice", a.config.Drain.Notice).Stringer("timeout", timeout).Msg("drain began")
}

// trackShare is how much of the loop's time keepTrack takes at most, one part in so
// many: thousands of connections take tens of milliseconds.
const trackShare = 500

// keepTrack looks at the connections of clients now and then, for only of one that was
// seen before it was used last a drain can tell whether it is in use: see
// tunnel.Connections.
func (a *Agent) keepTrack(now time.Time) {
	if a.config.Drain.Idle == 0 || len(a.drains) > 0 || now.Before(a.keptUntil) {
		return
	}
	if a.kept == nil {
		a.kept = a.host.Net.Census(a.served(wholeNode), a.config.Drain.Idle)
	}
	if _, err := a.kept.Count(); err != nil {
		a.log.Debug().Err(err).Msg("a drain may wait for connections that are idle")
	}
	a.keptUntil = now.Add(trackShare * time.Since(now))
}

func ofPool(e *zerolog.Event, pool string) *zerolog.Event {
	if pool != wholeNode {
		e = e.Str("pool", pool)
	}
	return e
}

// reinstate takes a reason to drain away, and ends the drain if it was the last.
// It is false if there was no such reason; else the caller does a round.
func (a *Agent) reinstate(pool, kind string) (lifted bool) {
	if !a.reasons.lift(pool, kind) {
		return false
	}
	if left := a.reasons[pool]; len(left) > 0 {
		ofPool(a.log.Info().Str("no_more", kind).Str("still_by", reasonsInWords(left)), pool).Msg("drain goes on")
	} else {
		delete(a.drains, pool)
		a.drainsAnything.Store(len(a.drains) > 0)
		ofPool(a.log.Info().Str("no_more", kind), pool).Msg("drain lifted")
	}
	return true
}

// served is where the clients of a pool, or of the node, connect to: a VIP, or
// where there is none, the pools.
func (a *Agent) served(pool string) []netip.AddrPort {
	var services []netip.AddrPort
	for _, p := range a.config.Pools {
		if p.Name == pool || pool == wholeNode && a.config.Tunnel.Mode == config.ModeNone {
			services = append(services, p.Address)
		}
	}
	if pool == wholeNode {
		for _, vip := range a.config.VIPs {
			services = append(services, netip.AddrPortFrom(vip, 0))
		}
	}
	return services
}

// stepDrains moves every drain on. It is true when that for the stop is over.
func (a *Agent) stepDrains(now time.Time) (stopped bool) {
	over, waits := false, 0
	for _, pool := range a.reasons.pools() {
		d := a.drains[pool]
		if d.ended.IsZero() && d.step(now, a.audience.heard(pool, d.notice, now), d.census.Count) {
			a.sayDrained(pool, d.drain)
			over = true
		}
		if d.ended.IsZero() {
			waits += d.left.Total()
		}
	}
	a.metrics.DrainConnections(waits)
	if over {
		a.round(health.FromSignal) // "drained" is what the agent-check says
	}
	a.post()
	if node := a.drains[wholeNode]; a.stopping && node != nil {
		if !node.ended.IsZero() {
			return true
		}
		a.tell(a.systemd.extend(node.inWords(now)))
		return false
	}
	a.sayHow(a.report())
	return false
}

// nextDrainStep is how long from now the next step of a drain is due; false if
// none is.
func (a *Agent) nextDrainStep(now time.Time) (wait time.Duration, due bool) {
	for _, d := range a.drains {
		if d.ended.IsZero() {
			if w := d.wait(now); !due || w < wait {
				wait, due = w, true
			}
		}
	}
	return wait, due
}

func (a *Agent) sayDrained(pool string, d *drain) {
	e := a.log.Info()
	if d.unknown != nil {
		e = a.log.Warn().AnErr("uncounted", d.unknown)
	}
	if len(d.heard.waiting) > 0 {
		e = e.Strs("not_told", d.heard.waiting)
	}
	if d.coming {
		e = e.Bool("new_until_the_end", true)
	}
	ofPool(e, pool).Stringer("waited_notice", d.waitedForNotice().Round(time.Millisecond)).
		Stringer("waited_connections", d.waitedForConnections().Round(time.Millisecond)).
		Int("told", d.heard.told).Int("connections_left", d.left.Total()).Int("idle_left", d.left.Idle).Msg("drain ended")
}

// beginStop drains the node for the end of the daemon.
func (a *Agent) beginStop(signal string) {
	a.stopping = true
	a.withdraw(wholeNode, control.Reason{Kind: byStop, Text: signal, Since: time.Now()}, a.config.Drain.Timeout)
	a.round(health.FromSignal)
	a.tell(a.systemd.send(daemon.SdNotifyStopping))
	a.tell(a.systemd.extend(a.drains[wholeNode].inWords(time.Now())))
}

// drainStates is what the conditions see of the drains.
func (a *Agent) drainStates() map[string]DrainState {
	if len(a.drains) == 0 {
		return nil
	}
	states := make(map[string]DrainState, len(a.drains))
	for pool, d := range a.drains {
		states[pool] = DrainState{Why: reasonsInWords(a.reasons[pool]), Over: !d.ended.IsZero()}
	}
	return states
}

// sayHow tells systemd how the node is, unless it stops.
func (a *Agent) sayHow(r health.Report) {
	if a.stopping {
		return
	}
	text := inWords(r, len(a.config.VIPs), len(a.config.Pools))
	for _, pool := range a.reasons.pools() {
		words := a.drains[pool].inWords(time.Now())
		if pool == wholeNode {
			text = words
			break
		}
		text += "; pool " + pool + " " + words
	}
	a.tell(a.systemd.say(text))
}

// post makes the drains visible to those who ask the daemon.
func (a *Agent) post() {
	var list []control.Draining
	for _, pool := range a.reasons.pools() {
		list = append(list, a.drains[pool].shown(pool, a.reasons[pool]))
	}
	a.posted.set(list)
}

// unknownPools are the names that no pool has.
func unknownPools(c config.Config, names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return slices.ContainsFunc(c.Pools, func(p config.Pool) bool { return p.Name == name })
	})
}
