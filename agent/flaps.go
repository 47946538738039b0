package agent

import (
	"slices"
	"time"

	"rsagent/agent/config"
)

// flaps keeps the agent from fighting for ever. Of the same repair it counts
// how often it was made; one that is needed more often than the limit within
// config.FlapWindow is held back. It is tried again from time to time: once, and
// if that holds for a while, all is well again. It knows no clock: it is told.
type flaps struct {
	limit int              // 0: nothing is ever held back
	of    map[string]*flap // by what is repaired
}

type flap struct {
	condition string
	repairs   []time.Time // the newest ones

	rest  time.Duration // how long the repair is held back this time; 0: it is not
	until time.Time     // when it is tried again
	trial time.Time     // since when it is tried again; zero: it is not
	tried bool          // it was repaired in this trial
	rival string        // who undoes it, in words
}

const (
	firstRest   = 10 * time.Second
	longestRest = 5 * time.Minute
	// trialTime is how long a repair that was held back must hold.
	trialTime = 5 * time.Second
)

// leave is what flaps says to a repair that is needed.
type leave int

const (
	goOn     leave = iota
	heldBack       // not now
	stopped        // from now on not any more
)

// ask tells whether something that needs a repair may have it.
func (f *flaps) ask(what string, now time.Time) leave {
	one := f.of[what]
	switch {
	case one == nil || f.limit == 0:
		return goOn
	case one.rest == 0:
		one.repairs = slices.DeleteFunc(one.repairs, func(t time.Time) bool { return now.Sub(t) > config.FlapWindow })
		if len(one.repairs) < f.limit {
			return goOn
		}
		one.hold(firstRest, now)
		return stopped
	case !one.trial.IsZero() && !one.tried:
		return goOn
	case !one.trial.IsZero():
		one.hold(min(2*one.rest, longestRest), now)
	}
	return heldBack
}

func (o *flap) hold(rest time.Duration, now time.Time) {
	o.rest, o.until, o.trial, o.tried = rest, now.Add(rest), time.Time{}, false
}

// repaired counts a repair that was made.
func (f *flaps) repaired(condition, what string, now time.Time) {
	one := f.of[what]
	if one == nil {
		one = &flap{condition: condition}
		f.of[what] = one
	}
	one.condition = condition
	one.tried = true
	if len(one.repairs) >= max(f.limit, 1) {
		one.repairs = slices.Delete(one.repairs, 0, 1)
	}
	one.repairs = append(one.repairs, now)
}

// often tells whether a repair was made so often that somebody may be undoing it.
func (f *flaps) often(what string) bool {
	one := f.of[what]
	return one != nil && len(one.repairs) > 1
}

// pass lets time pass. It returns what is over: repairs that hold again.
func (f *flaps) pass(now time.Time) (over []string) {
	for what, one := range f.of {
		switch {
		case one.rest == 0:
			if n := len(one.repairs); n == 0 || now.Sub(one.repairs[n-1]) > config.FlapWindow {
				delete(f.of, what)
			}
		case one.trial.IsZero() && !now.Before(one.until):
			one.trial = now
		case !one.trial.IsZero() && now.Sub(one.trial) >= trialTime, f.limit == 0:
			over = append(over, what)
			delete(f.of, what)
		}
	}
	slices.Sort(over)
	return over
}

// next is how long from now something is due that pass has to see; false if
// nothing is.
func (f *flaps) next(now time.Time) (wait time.Duration, due bool) {
	for _, one := range f.of {
		if one.rest == 0 {
			continue
		}
		at := one.until
		if !one.trial.IsZero() {
			at = one.trial.Add(trialTime)
		}
		if w := max(0, at.Sub(now)); !due || w < wait {
			wait, due = w, true
		}
	}
	return wait, due
}

// held is the repairs that are held back or on trial, by what is repaired.
func (f *flaps) held() map[string]*flap {
	var held map[string]*flap
	for what, one := range f.of {
		if one.rest == 0 {
			continue
		}
		if held == nil {
			held = make(map[string]*flap)
		}
		held[what] = one
	}
	return held
}
