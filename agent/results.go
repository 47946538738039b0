package agent

import (
	"maps"
	"sync"

	"rsagent/probe"
)

// results holds the newest result of each pool's probe.
type results struct {
	mu     sync.Mutex
	byPool map[string]probe.Result
}

func (r *results) set(pool string, result probe.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byPool[pool] = result
}

// of is the newest result of one pool; the zero Result if there is none.
func (r *results) of(pool string) probe.Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byPool[pool]
}

func (r *results) all() map[string]probe.Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.byPool)
}

func (r *results) forget(pool string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.byPool, pool)
}
