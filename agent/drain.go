package agent

import (
	"fmt"
	"time"

	"rsagent/agent/config"
	"rsagent/tunnel"
)

// drain follows a node on its way out of service: first the directors get
// time to notice, then the connections get time to end. It knows no clock and
// no socket: it is told.
type drain struct {
	notice  time.Duration
	timeout time.Duration

	began   time.Time // when readiness turned
	noticed time.Time // when the notice period ended; zero: it has not
	ended   time.Time // when it was over; zero: it is not

	left    tunnel.Connections
	unknown error // why the connections could not be counted the last time
}

func newDrain(c config.Drain, now time.Time) *drain {
	return &drain{notice: c.Notice, timeout: c.Timeout, began: now}
}

// drainTick is the longest wait between two steps: how often connections are
// counted, and systemd is asked for more time.
const drainTick = 250 * time.Millisecond

// wait is how long from now the next step is due.
func (d *drain) wait(now time.Time) time.Duration {
	if !d.noticed.IsZero() {
		return drainTick
	}
	return min(drainTick, max(0, d.notice-now.Sub(d.began)))
}

// step moves the drain on. A count that failed is not an empty one: the drain
// then goes on until its deadline.
func (d *drain) step(now time.Time, count func() (tunnel.Connections, error)) (done bool) {
	if !d.ended.IsZero() {
		return true
	}
	if d.noticed.IsZero() {
		if now.Sub(d.began) < d.notice {
			return false
		}
		d.noticed = now
	}
	d.left, d.unknown = count()
	empty := d.unknown == nil && d.left.Total() == 0
	if !empty && now.Sub(d.noticed) < d.timeout {
		return false
	}
	d.ended = now
	return true
}

// waitedForNotice and waitedForConnections are how long the two parts took.
func (d *drain) waitedForNotice() time.Duration      { return d.noticed.Sub(d.began) }
func (d *drain) waitedForConnections() time.Duration { return d.ended.Sub(d.noticed) }

// inWords says how far the drain is.
func (d *drain) inWords(now time.Time) string {
	if d.noticed.IsZero() {
		left := d.notice - now.Sub(d.began)
		return fmt.Sprintf("draining: the directors have %s more to notice", left.Round(time.Second))
	}
	left := d.timeout - now.Sub(d.noticed)
	return fmt.Sprintf("draining: %s left, for %s more at most",
		counted(d.left.Total(), "connection"), left.Round(time.Second))
}
