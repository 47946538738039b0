package agent

import (
	"fmt"
	"slices"
	"time"

	"rsagent/agent/health"
)

// steadiness keeps the agent from calling a node ready between one repair and
// the next. Each may take moments only, but who sends packets all the while loses
// some at every turn, and TCP waits a second or more before it sends one again.
// A repair that is needed again soon after it was made is unsteady until it has
// held for a while; it is made as often as before. It knows no clock: it is told.
type steadiness map[repairOf]*footing

// repairOf is a repair: the same thing may be repaired for several conditions.
type repairOf struct{ condition, what string }

type footing struct {
	last  time.Time // when it was repaired last; zero: that does not count
	until time.Time // when it will have held long enough; zero: it is steady
}

const (
	// soon is within what time a repair must not be needed again.
	soon = 2 * time.Second
	// steadyTime is how long an unsteady repair must hold.
	steadyTime = trialTime
)

// repaired takes in a repair that was made. It tells whether that is unsteady now.
func (s steadiness) repaired(r repairOf, now time.Time) (unsteady bool) {
	one := s[r]
	if one == nil {
		one = &footing{}
		s[r] = one
	}
	if !one.until.IsZero() || now.Sub(one.last) <= soon {
		one.until = now.Add(steadyTime)
	}
	one.last = now
	return !one.until.IsZero()
}

// pass lets time pass. It returns the repairs that have become steady again.
func (s steadiness) pass(now time.Time) (steady []repairOf) {
	for r, one := range s {
		switch {
		case one.until.IsZero():
			if now.Sub(one.last) > soon {
				delete(s, r)
			}
		case !now.Before(one.until):
			steady = append(steady, r)
			delete(s, r)
		}
	}
	return steady
}

// next is how long from now pass has to see that something is steady again;
// false if nothing is unsteady.
func (s steadiness) next(now time.Time) (wait time.Duration, due bool) {
	for _, one := range s {
		if one.until.IsZero() {
			continue
		}
		if w := max(0, one.until.Sub(now)); !due || w < wait {
			wait, due = w, true
		}
	}
	return wait, due
}

// excuse has the repairs made until now not count: the next ones have a reason
// of their own. What is unsteady stays so.
func (s steadiness) excuse() {
	for _, one := range s {
		one.last = time.Time{}
	}
}

// unsteady is why conditions are unsteady, by their ids.
func (a *Agent) unsteady() map[string]string {
	var why map[string]string
	for r, one := range a.steadiness {
		if one.until.IsZero() {
			continue
		}
		if why == nil {
			why = make(map[string]string)
		}
		text := fmt.Sprintf("%s was repaired and soon undone again", r.what)
		if who := a.witnesses.seen(r.what); who != "" {
			text += ", by " + who
		}
		// Of several, always the same one.
		if before := why[r.condition]; before == "" || text < before {
			why[r.condition] = text
		}
	}
	for id := range why {
		why[id] += fmt.Sprintf("; it is repaired at once each time, and must hold for %v", steadyTime)
	}
	return why
}

// reportOf is what is said of a look. A required condition that is unsteady has
// failed in it, although it holds now: who sends packets does not see it hold.
func reportOf(n Node, findings []health.Finding) health.Report {
	findings = slices.Clone(findings)
	for i := range findings {
		f := &findings[i]
		if why := n.Unsteady[f.ID]; why != "" && f.Severity == health.Required && f.Status == health.OK {
			f.Status, f.Cause = health.Failed, why
		}
	}
	return health.NewReport(n.Time, findings)
}
