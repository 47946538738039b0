package control

import (
	"time"
)

// How the node, or a pool, is.
const (
	Ready      = "ready"
	NotReady   = "not ready"
	IsDraining = "draining"
	Drained    = "drained"
)

// State is what the daemon thinks of its node.
type State struct {
	Time    time.Time `json:"time"`
	Version string    `json:"version"`
	Process int       `json:"process"`
	State   string    `json:"state"` // Ready, NotReady, IsDraining or Drained
	Why     string    `json:"why,omitempty"`
	Weight  Weight    `json:"weight"`

	Pools  []Pool     `json:"pools"`
	Drains []Draining `json:"drains"` // of the node first, then of pools by their names
	Asking []Asker    `json:"asking"` // who asks whether the node may have traffic
}

// Pool is one service of the node.
type Pool struct {
	Name   string `json:"name"`
	State  string `json:"state"` // as State.State
	Why    string `json:"why,omitempty"`
	Weight Weight `json:"weight"`
}

// Weight is how much of its full part of the clients the node, or a pool, wants.
type Weight struct {
	Percent int       `json:"percent"`        // now; 0 while it is not ready
	Full    int       `json:"full"`           // what it grows to, percent
	Until   time.Time `json:"until,omitzero"` // when it is full, while it grows
}

// The phases of a drain.
const (
	Telling  = "telling"  // directors have yet to see it
	Settling = "settling" // all have, and new connections have yet to stop
	Emptying = "emptying" // connections have yet to end
	Over     = "over"     // nothing is left to wait for, or it was waited for long enough
)

// Draining is one drain: of the node, or of a pool.
type Draining struct {
	Pool    string    `json:"pool,omitempty"` // empty: the node
	Reasons []Reason  `json:"reasons"`        // the last one lifted ends it
	Phase   string    `json:"phase"`
	Began   time.Time `json:"began"`
	Until   time.Time `json:"until,omitzero"` // when the phase ends at the latest
	Ended   time.Time `json:"ended,omitzero"` // when it was over

	Told      int      `json:"told"`                // directors that have seen it
	Waiting   []string `json:"waiting"`             // those that have not
	Left      int      `json:"left"`                // connections that were waited for last
	Idle      int      `json:"idle"`                // connections without a request, which are not
	New       int      `json:"new"`                 // connections that came since the look before
	Coming    bool     `json:"coming,omitempty"`    // over, and new connections came until the end
	Uncounted string   `json:"uncounted,omitempty"` // why the connections could not be counted
}

// Reason is why a drain was asked for.
type Reason struct {
	Kind  string    `json:"kind"` // hand, file or stop
	Text  string    `json:"text,omitempty"`
	Since time.Time `json:"since"`
}

// Asker is somebody who asks again and again whether the node, or a pool, may
// have traffic: a director, most likely.
type Asker struct {
	Address  string        `json:"address"`
	Pool     string        `json:"pool,omitempty"` // empty: the node
	Agent    bool          `json:"agent_check,omitempty"`
	Last     time.Time     `json:"last"`        // when it was answered last
	Interval time.Duration `json:"interval_ns"` // between its questions, 0: it has asked once
	Refusals int           `json:"refusals"`    // answers in a row that were not "ready"
}
