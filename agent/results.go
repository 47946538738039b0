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

func (r *results) all() map[string]probe.Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.byPool)
}
