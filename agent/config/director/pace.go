package director

import (
	"fmt"
	"time"

	"rsagent/agent/config"
)

// pace is how often a director asks, in whole seconds, and how often it must be
// refused. It follows from drain.notice and drain.fall, so that a director has
// acted before a drain goes on.
type pace struct {
	interval int // seconds from one question to the next
	fails    int // refusals after which the director acts
	told     int // refusals after which the node counts it as told, unless it says another number
	notice   time.Duration
}

// A director need not ask more often than every 2 s, nor be more patient than 3
// refusals.
const (
	slowest = 2
	most    = 3
)

func newPace(d config.Drain) pace {
	fits := int(d.Notice / time.Second / time.Duration(d.Fall+1))
	return pace{interval: min(max(fits, 1), slowest), fails: min(d.Fall, most), told: d.Fall, notice: d.Notice}
}

// ready is where a director that acts after so many refusals asks for a pool. It
// says so itself, if that is not what the node takes it for.
func (s site) ready(one pool, fails int) string {
	path := "/ready/" + one.name
	if fails != s.pace.told {
		path += fmt.Sprintf("?fall=%d", fails)
	}
	return path
}

// pace tells how fast a drained node gets out of a director that acts after so many
// refusals, and warns if the node does not wait for that.
func (p *page) pace(s site, fails int) {
	p.comment(fmt.Sprintf("Each node is asked every %d s and is out after %s, %d s after a drain began at most; the drain goes on after %s, or after drain.notice (%v).",
		s.pace.interval, refusals(fails), s.pace.interval*fails, refusals(fails), s.pace.notice))
	if need := time.Duration(s.pace.interval*fails) * time.Second; need > s.pace.notice {
		p.warn(fmt.Sprintf("drain.notice is %v, but it may take %v until a director has had %s: a drain would lose requests", s.pace.notice, need, refusals(fails)))
	}
	if len(s.refused) > 0 {
		p.warn(fmt.Sprintf("health.allow has no place for %s, so the node hangs up on it", list(s.refused)))
	}
}

func refusals(n int) string {
	if n == 1 {
		return "1 refusal"
	}
	return fmt.Sprintf("%d refusals", n)
}
