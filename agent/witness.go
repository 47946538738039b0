package agent

import (
	"fmt"
	"strings"
	"sync"

	"rsagent/agent/health"
	"rsagent/tunnel"
)

// witnesses remember who undid what was repaired more than once. They may be
// used concurrently.
type witnesses struct {
	mu  sync.Mutex
	saw map[string]sighting // by what is repaired
}

// sighting is who was seen to undo something; empty: nobody yet.
type sighting struct {
	who   string
	tries int // how often it was tried
}

// mostTries bounds what is spent on somebody who is always gone already.
const mostTries = 8

func newWitnesses() *witnesses { return &witnesses{saw: make(map[string]sighting)} }

// lookOutFor has the authors of changes to it remembered from now on.
func (w *witnesses) lookOutFor(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, known := w.saw[what]; !known {
		w.saw[what] = sighting{}
	}
}

// told takes in word of a change. Who it names may be gone a moment later, so it
// is looked up now; that costs something, but only for what keeps coming back.
func (w *witnesses) told(source string, c tunnel.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.saw) == 0 {
		return
	}
	what := changedName(source, c)
	seen, wanted := w.saw[what]
	if !wanted || seen.who != "" || seen.tries >= mostTries || c.Author == 0 {
		return
	}
	seen.tries++
	if c.Program != "" { // the kernel has said more than a number
		seen.who = fmt.Sprintf("%s (process %d)", c.Program, c.Author)
	} else {
		seen.who = author("/proc", c.Author)
	}
	w.saw[what] = seen
}

// seen is who was seen to undo it; empty: nobody.
func (w *witnesses) seen(what string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.saw[what].who
}

// forget forgets who undid it: it may be another one the next time.
func (w *witnesses) forget(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.saw, what)
}

// rivalOf says who undoes a repair, or who may do it.
func (w *witnesses) rivalOf(s Step) string {
	w.mu.Lock()
	saw := w.saw[s.What].who
	delete(w.saw, s.What) // it may be another one the next time
	w.mu.Unlock()
	if saw != "" {
		return "by " + saw
	}
	if running := likelyRivals("/proc", touchOf(s)); len(running) > 0 {
		return "by somebody who left no trace; known to change such things, and running here: " + strings.Join(running, ", ")
	}
	return "by somebody who left no trace"
}

// touchOf is what of a node a step changes.
func touchOf(s Step) touch {
	switch {
	case s.source == health.FromSettings:
		return touchSettings
	case s.source == health.FromPacketFilter:
		return touchFilter
	case s.add == nil:
		return touchLinks | touchAddresses
	}
	return touchAddresses
}
