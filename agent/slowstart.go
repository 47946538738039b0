package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"rsagent/agent/config"
	"rsagent/agent/health"
)

// readySince is since when the node and its pools have been ready, by pool. It is
// kept whether they are to start slowly or not: a reload that wants it must not
// find a node that has served for weeks to have just begun. It knows no clock: it
// is told.
type readySince map[string]time.Time

// see takes in how the node and its pools stand. News says that some have become
// ready, or are so no more.
func (r readySince) see(s *health.Standing, now time.Time) (news bool) {
	news = r.take(s.Node, now)
	for _, v := range s.Pools {
		news = r.take(v, now) || news
	}
	for pool := range r {
		if _, there := s.Pools[pool]; !there && pool != wholeNode {
			delete(r, pool)
			news = true
		}
	}
	return news
}

func (r readySince) take(v health.Verdict, now time.Time) (news bool) {
	_, was := r[v.Pool]
	switch {
	case v.Ready == was:
		return false
	case v.Ready:
		r[v.Pool] = now
	case v.Unasked: // as after a start: nothing speaks against it
		return false
	default:
		delete(r, v.Pool)
	}
	return true
}

// weightMemory is what the next daemon must know of the weight for its start not
// to be seen. It is written at each change and at each sweep, so that it is at hand
// after a crash too: when that was nobody knows, but that it was later than this.
type weightMemory struct {
	Written time.Time
	Percent int        // what counted
	Ready   readySince // those that were ready then
}

func weightMemoryFile(directory string) string { return filepath.Join(directory, "weight.json") }

// weightMemoryLasts is the age from which it says nothing any more: directors may
// have taken out a node that was silent for longer, and have to send it clients
// slowly again.
func weightMemoryLasts(c config.Config) time.Duration { return c.Repair.Sweep + memoryLasts }

// keepWeight writes down what the next daemon must know of the weight.
func (a *Agent) keepWeight() {
	w := a.config.Weight
	if a.succession.directory == "" || w.From == config.WeightNone && w.SlowStart == 0 {
		return
	}
	m := weightMemory{Written: time.Now(), Percent: a.weights.get().Percent, Ready: a.ready}
	if err := writeWhole(weightMemoryFile(a.succession.directory), m); a.unkept.news(err) {
		a.log.Warn().Err(err).Msg("a restart of the daemon forgets the weight, and starts slowly")
	}
}

// resumeWeight goes on with the weight of the daemon before, if it was there a
// moment ago.
func (a *Agent) resumeWeight(directory string) {
	text, err := readMemory(weightMemoryFile(directory))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var m weightMemory
	if err == nil {
		m, err = parseWeightMemory(text)
	}
	if err != nil {
		a.log.Warn().Err(err).Msg("the weight begins anew")
		return
	}
	if age := time.Since(m.Written); age < 0 || age > weightMemoryLasts(a.config) {
		return
	}
	a.ready = m.Ready
	if a.config.Weight.From != config.WeightNone {
		a.weights.set(Weighed{Percent: m.Percent, Asked: true})
	}
}

func parseWeightMemory(text []byte) (weightMemory, error) {
	var m weightMemory
	if err := decodeWhole(text, &m); err != nil {
		return m, err
	}
	if m.Percent < 0 || m.Percent > fullWeight {
		return m, fmt.Errorf("the weight is %d, want 0 to %d", m.Percent, fullWeight)
	}
	if m.Ready == nil {
		m.Ready = make(readySince)
	}
	for pool, since := range m.Ready {
		if since.After(m.Written) {
			return m, fmt.Errorf("%q was ready after that was written", pool)
		}
	}
	return m, nil
}
