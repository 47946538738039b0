package agent

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"

	"rsagent/agent/answer"
	"rsagent/agent/control"
)

// audience is everybody who has asked whether the node, or a pool, may have
// traffic, and what each was told. It may be used concurrently.
type audience struct {
	mu       sync.Mutex
	since    time.Time // from when on everybody who asks is seen; zero: nobody yet
	fall     int       // refusals that a director must have seen, if it says nothing else
	askers   map[askerKey]*asker
	director func(netip.Addr) bool // whether an address is declared as a director's; nil: none is
}

// askerKey tells those apart who ask. Different checks of a director from one
// address are one asker, unless they ask in other words.
type askerKey struct {
	from  netip.Addr
	pool  string // empty: the node
	agent bool   // by HAProxy's agent-check
	words uint64 // of answer.Request.Words
}

// asker is what is known of one.
type asker struct {
	last  time.Time
	known bool // it is declared as a director
	fall  int  // refusals after which it says that it acts; 0: it does not say

	gaps     [pastGaps]time.Duration // between answers that were ready, a ring
	count    int                     // of gaps, since ever
	gap      time.Duration           // the last between any two answers; 0: it has asked once
	refusals int                     // answers in a row that were not ready
	readies  int                     // answers in a row that were
}

// maxAskers bounds the memory for strangers; a site has a few directors, with a
// few pools each.
const maxAskers = 4096

func newAudience() *audience { return &audience{askers: make(map[askerKey]*asker)} }

// open says that whoever asks is seen from now on.
func (a *audience) open(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.since = now
}

// declare sets whom the configuration names as directors, and after how many
// refusals one counts as told.
func (a *audience) declare(directors []netip.Prefix, fall int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.director, a.fall = nil, fall
	if len(directors) > 0 {
		a.director = func(from netip.Addr) bool {
			return slices.ContainsFunc(directors, func(p netip.Prefix) bool { return p.Contains(from) })
		}
	}
}

// answered notes an answer that was sent. It is true if somebody has been refused
// often enough now to be told.
func (a *audience) answered(r *answer.Request, w *answer.Answer, agent bool, now time.Time) (told bool) {
	if !w.Readiness {
		return false
	}
	key := askerKey{from: r.From, pool: w.Subject, agent: agent}
	if !agent {
		key.words = r.Words()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	one := a.askers[key]
	if one == nil {
		if len(a.askers) >= maxAskers {
			a.forgetOne()
		}
		one = &asker{known: a.director != nil && a.director(r.From), fall: r.Fall()}
		a.askers[key] = one
	}
	one.hear(w.Refused, now)
	return w.Refused && one.refusals == a.mustRefuse(key, one)
}

// hear notes one answer.
func (s *asker) hear(refused bool, now time.Time) {
	if !s.last.IsZero() {
		s.gap = now.Sub(s.last)
	}
	s.last = now
	if refused {
		s.refusals, s.readies = s.refusals+1, 0
		return
	}
	if s.readies > 0 {
		s.gaps[s.count%len(s.gaps)] = s.gap
		s.count++
	}
	s.refusals, s.readies = 0, s.readies+1
}

// forgetOne makes room: of those that are no directors as far as is known, the
// one that was silent for longest goes, and first one that has asked once only.
func (a *audience) forgetOne() {
	var worst askerKey
	var one *asker
	for key, s := range a.askers {
		if one == nil || s.lessThan(one) {
			worst, one = key, s
		}
	}
	delete(a.askers, worst)
}

// lessThan tells whether the asker is to be forgotten before another.
func (s *asker) lessThan(o *asker) bool {
	switch {
	case s.known != o.known:
		return o.known
	case (s.gap == 0) != (o.gap == 0):
		return s.gap == 0
	}
	return s.last.Before(o.last)
}

const (
	pastGaps  = 32 // are remembered of an asker
	bunchGaps = 16 // of them are looked at for bunches: of 8 each gives a whole one
	lateGaps  = 8  // of them are of late
)

// gapsOfLate copies the gaps of late into a memory for them, the oldest first.
func (s *asker) gapsOfLate(into []time.Duration) []time.Duration {
	n := min(s.count, len(into))
	for i := range n {
		into[i] = s.gaps[(s.count-n+i)%len(s.gaps)]
	}
	return into[:n]
}

// interval is the time between two questions, the longest of late; 0: it has
// asked once.
func (s *asker) interval() time.Duration {
	var memory [lateGaps]time.Duration
	longest := s.gap
	for _, gap := range s.gapsOfLate(memory[:]) {
		longest = max(longest, gap)
	}
	return longest
}

// checks is how many checks seem to stand behind an asker: a director with
// several services on a node may ask for each of them, in the same words. Their
// questions come in bunches, with one long gap for each round.
func (s *asker) checks() int {
	if s.uneven() {
		return 1
	}
	var memory [bunchGaps]time.Duration
	gaps := s.gapsOfLate(memory[:])
	if len(gaps) == 0 {
		return 1
	}
	longest := slices.Max(gaps)
	most, run := 1, 1
	for _, gap := range gaps {
		if gap >= longest/2 {
			run = 0
		}
		run++
		most = max(most, run)
	}
	return most
}

// shortestInterval is of a director that asks for one thing only; but in a bunch,
// questions hardly ever come so far apart.
const shortestInterval = 900 * time.Millisecond

// uneven tells whether the asker is one check that is late now and then, as on a busy
// machine, and not several that come in bunches: its usual gaps are as long as only the
// interval of a check is, and the longer ones come at no regular distance. It takes many
// gaps to tell.
func (s *asker) uneven() bool {
	if s.count < pastGaps {
		return false
	}
	var memory, sorted [pastGaps]time.Duration
	gaps := s.gapsOfLate(memory[:])
	copy(sorted[:], gaps)
	slices.Sort(sorted[:])
	usual := sorted[pastGaps/4]
	if sorted[0] < max(shortestInterval, usual/2) {
		return false
	}
	late := func(i int) bool { return gaps[i] >= 2*usual }
	for period := 2; period <= bunchGaps/2; period++ {
		both, either := 0, 0
		for i := range pastGaps - period {
			switch a, b := late(i), late(i+period); {
			case a && b:
				both++
				either++
			case a || b:
				either++
			}
		}
		if both > 2 && 2*both >= either {
			return false
		}
	}
	return true
}

// gone tells whether an asker has stopped asking. One that has asked once only is
// waited for as long as a director may take, if it may be one.
func (s *asker) gone(key askerKey, strangers bool, notice time.Duration, now time.Time) bool {
	silent := now.Sub(s.last)
	if interval := s.interval(); interval > 0 {
		return silent > interval*5/2+time.Second
	}
	return silent > notice || key.from.IsLoopback() || strangers && !s.known
}

// mustRefuse is how many refusals the asker must have fetched to be told.
func (a *audience) mustRefuse(key askerKey, s *asker) int {
	return s.wanted(key, cmp.Or(s.fall, a.fall))
}

// wanted is how many answers the asker must have fetched to have taken note.
// HAProxy acts on every word of an agent.
func (s *asker) wanted(key askerKey, times int) int {
	if key.agent {
		return 1
	}
	return times * s.checks()
}

// heard says how far the audience knows that a pool, or the node, drains.
func (a *audience) heard(pool string, notice time.Duration, now time.Time) heard {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := heard{sure: !a.since.IsZero() && now.Sub(a.since) >= notice}
	a.each(pool, notice, now, func(key askerKey, s *asker) {
		if s.refusals >= a.mustRefuse(key, s) {
			h.told++
		} else {
			h.waiting = append(h.waiting, key.from.String())
		}
	})
	slices.Sort(h.waiting)
	h.waiting = slices.Compact(h.waiting)
	return h
}

// rise is how many answers that are ready in a row have a director send traffic
// again; keepalived and HAProxy want two.
const rise = 2

// welcoming are those that have yet to see that a pool, or the node, is ready.
func (a *audience) welcoming(pool string, notice time.Duration, now time.Time) (waiting []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.each(pool, notice, now, func(key askerKey, s *asker) {
		if s.readies < s.wanted(key, rise) {
			waiting = append(waiting, key.from.String())
		}
	})
	slices.Sort(waiting)
	return slices.Compact(waiting)
}

// each calls visit for everybody who still asks for the pool, or for the node as
// a whole, which stands for its pools; for all if it is the node. The lock is
// held.
func (a *audience) each(pool string, notice time.Duration, now time.Time, visit func(askerKey, *asker)) {
	for key, s := range a.askers {
		if pool != wholeNode && key.pool != wholeNode && key.pool != pool {
			continue
		}
		if !s.gone(key, a.director != nil, notice, now) {
			visit(key, s)
		}
	}
}

// shown is everybody who still asks, for those who ask the daemon.
func (a *audience) shown(notice time.Duration, now time.Time) []control.Asker {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := []control.Asker{}
	a.each(wholeNode, notice, now, func(key askerKey, s *asker) {
		list = append(list, control.Asker{
			Address: key.from.String(), Pool: key.pool, Agent: key.agent,
			Last: s.last, Interval: s.interval(), Refusals: s.refusals,
		})
	})
	slices.SortFunc(list, func(a, b control.Asker) int {
		return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.Pool, b.Pool), a.Last.Compare(b.Last))
	})
	return list
}
