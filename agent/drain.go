package agent

import (
	"fmt"
	"strings"
	"time"

	"rsagent/agent/control"
	"rsagent/tunnel"
)

// drain follows the node, or one of its pools, on the way out of service: first
// the directors are told, then new connections must stop, then the rest gets time
// to end. It knows no clock, no socket and no director: it is told.
type drain struct {
	notice  time.Duration
	timeout time.Duration
	asked   bool // directors ask at the ports of the services, as Apache does: new connections may be no clients

	began   time.Time // when readiness turned
	told    time.Time // when all directors had been told, or the notice was over; zero: not yet
	settled time.Time // when new connections had stopped, or the notice was over; zero: not yet
	ended   time.Time // when it was over; zero: it is not

	heard   heard              // of the directors, the last time
	quiet   time.Time          // since when no new connection has come: the last look that saw one, or could not tell
	left    tunnel.Connections // the last time
	unknown error              // why the connections could not be counted the last time
	coming  bool               // it ended while new connections came
}

// heard is what directors know of a drain.
type heard struct {
	told    int      // how many know
	waiting []string // who has yet to be told
	sure    bool     // there has been time to see everybody who asks
}

func newDrain(notice, timeout time.Duration, now time.Time) *drain {
	return &drain{notice: notice, timeout: timeout, began: now, quiet: now}
}

const (
	// drainTick is the longest wait between two steps: how often connections are
	// counted, and systemd is asked for more time.
	drainTick = 250 * time.Millisecond
	// settleTick is the same while new connections have yet to stop. One may come
	// between the last refusal and what the director makes of it; the quiet counts
	// from the look that sees it.
	settleTick = 100 * time.Millisecond
	// quietTime is how long no new connection may come for them to have stopped.
	quietTime = 500 * time.Millisecond
)

// wait is how long from now the next step is due.
func (d *drain) wait(now time.Time) time.Duration {
	if !d.settled.IsZero() {
		return drainTick
	}
	tick := drainTick
	if !d.told.IsZero() {
		tick = settleTick
	}
	return min(tick, max(0, d.notice-now.Sub(d.began)))
}

// step moves the drain on. A count that failed is not an empty one: the drain
// then goes on until its bounds.
func (d *drain) step(now time.Time, of heard, count func() (tunnel.Connections, error)) (done bool) {
	if !d.ended.IsZero() {
		return true
	}
	d.heard = of
	d.left, d.unknown = count()
	if d.unknown != nil || d.left.New > 0 {
		d.quiet = now
	}
	noticed := now.Sub(d.began) >= d.notice
	if d.told.IsZero() {
		if !noticed && (!of.sure || len(of.waiting) > 0) {
			return false
		}
		d.told = now
	}
	if d.settled.IsZero() {
		// What was quiet before all were told says nothing. A look that sees no new
		// connection tells that none has come since the look before.
		if !noticed && !d.quietSince(d.told, now) {
			return false
		}
		d.settled = now
	}
	// The notice may have been over before they stopped.
	stopped := d.quietSince(d.began, now) || d.asked && d.left.New == 0
	empty := d.unknown == nil && d.left.Total() == 0 && stopped
	if !empty && now.Sub(d.settled) < d.timeout {
		return false
	}
	d.ended, d.coming = now, d.unknown == nil && !stopped && now.Sub(d.began) >= quietTime
	return true
}

// quietSince tells whether no new connection has come for long enough, counted from
// some moment at the earliest.
func (d *drain) quietSince(from, now time.Time) bool {
	return now.Sub(later(d.quiet, from)) >= quietTime
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// waitedForNotice and waitedForConnections are how long the two parts took.
func (d *drain) waitedForNotice() time.Duration      { return d.settled.Sub(d.began) }
func (d *drain) waitedForConnections() time.Duration { return d.ended.Sub(d.settled) }

// phase is how far the drain is, and until when that lasts at most.
func (d *drain) phase() (phase string, until time.Time) {
	switch {
	case !d.ended.IsZero():
		return control.Over, time.Time{}
	case !d.settled.IsZero():
		return control.Emptying, d.settled.Add(d.timeout)
	case !d.told.IsZero():
		return control.Settling, d.began.Add(d.notice)
	}
	return control.Telling, d.began.Add(d.notice)
}

// inWords says how far the drain is.
func (d *drain) inWords(now time.Time) string {
	phase, until := d.phase()
	left := until.Sub(now).Round(time.Second)
	switch phase {
	case control.Telling:
		text := fmt.Sprintf("draining: the directors have %s more to notice", left)
		if len(d.heard.waiting) > 0 {
			text += "; not told yet: " + someOf(d.heard.waiting)
		}
		return text
	case control.Settling:
		return fmt.Sprintf("draining: new connections have %s more to stop", left)
	case control.Emptying:
		return fmt.Sprintf("draining: %s left, for %s more at most", counted(d.left.Total(), "connection"), left)
	}
	return "drained"
}

// someOf names the first few.
func someOf(names []string) string {
	const most = 3
	if more := len(names) - most; more > 0 {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(names, ", ")
}

// shown is the drain for those who ask the daemon.
func (d *drain) shown(pool string, why []control.Reason) control.Draining {
	phase, until := d.phase()
	s := control.Draining{
		Pool: pool, Reasons: why, Phase: phase, Began: d.began, Until: until, Ended: d.ended,
		Told: d.heard.told, Waiting: d.heard.waiting,
		Left: d.left.Total(), Idle: d.left.Idle, New: d.left.New, Coming: d.coming,
	}
	if s.Waiting == nil {
		s.Waiting = []string{}
	}
	if d.unknown != nil {
		s.Uncounted = d.unknown.Error()
	}
	return s
}
