package agent

import (
	"sync"
	"time"
)

// word is what has come in since the last round: of which kind, and since when.
// It may be used concurrently.
type word struct {
	kick chan struct{} // has one token while there is word
	slow chan struct{} // has one while there is word that is no hurry

	mu    sync.Mutex
	since map[string]time.Time
}

func newWord() *word {
	return &word{kick: make(chan struct{}, 1), slow: make(chan struct{}, 1), since: make(map[string]time.Time)}
}

// come notes word of a kind. It never waits: one round to come sees everything
// that has happened before it.
func (w *word) come(kind string) {
	w.mu.Lock()
	if _, known := w.since[kind]; !known {
		w.since[kind] = time.Now()
	}
	w.mu.Unlock()
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// comeSlowly notes word that is no hurry.
func (w *word) comeSlowly() {
	select {
	case w.slow <- struct{}{}:
	default:
	}
}

// first is the kind that came first, or otherwise.
func (w *word) first(otherwise string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var earliest time.Time
	for kind, at := range w.since {
		if earliest.IsZero() || at.Before(earliest) {
			otherwise, earliest = kind, at
		}
	}
	return otherwise
}

// sinceWhen is when word of a kind came that no round has heard yet.
func (w *word) sinceWhen(kind string) (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at, known := w.since[kind]
	return at, known
}

// heard forgets what came before the given time: a look has seen it.
func (w *word) heard(before time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for kind, at := range w.since {
		if at.Before(before) {
			delete(w.since, kind)
		}
	}
}
