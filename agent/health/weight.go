package health

import (
	"strconv"
	"time"

	"rsagent/agent/answer"
)

// WeightHeader is the field of a good answer to /ready in which the node says how
// much of its full part of the clients it wants: package probe/through reads it.
const WeightHeader = "Rsagent-Weight"

// Weight is how much of its full part of the clients the node, or a pool, wants:
// 0 to 100 percent. It may grow, which is worked out when somebody asks, so that
// nothing has to run meanwhile.
type Weight struct {
	Full  int           // percent, where it grows to
	Since time.Time     // when it began to grow
	Over  time.Duration // how long it grows; 0: it does not
}

// lowest is where a weight that grows begins: 0 would have directors send nobody.
const lowest = 1

// At is the weight at a time.
func (w Weight) At(now time.Time) int {
	age := now.Sub(w.Since)
	if w.Over <= 0 || age >= w.Over || w.Full <= lowest {
		return w.Full
	}
	return max(lowest, int(float64(w.Full)*float64(age)/float64(w.Over)))
}

// Until is when it will be full; the zero Time if it is.
func (w Weight) Until(now time.Time) time.Time {
	if end := w.Since.Add(w.Over); w.Over > 0 && end.After(now) {
		return end
	}
	return time.Time{}
}

// WeightAt is the weight at a time: none while there may be no traffic.
func (v Verdict) WeightAt(now time.Time) int {
	if !v.Ready {
		return 0
	}
	return v.Weight.At(now)
}

// weighed says the weight of who is ready.
func (v Verdict) weighed(a *answer.Answer, now time.Time) {
	a.Fields = append(append(a.Fields, WeightHeader...), ": "...)
	a.Fields = append(strconv.AppendInt(a.Fields, int64(v.Weight.At(now)), 10), "\r\n"...)
}
