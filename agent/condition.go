package agent

import (
	"net/netip"

	"rsagent/agent/health"
)

// Condition is one thing that must hold on a node that serves. The list of
// them, from top to bottom, is what makes such a node right.
type Condition struct {
	ID       string
	Title    string
	Effect   string     // what a client sees while it does not hold, in one sentence
	VIP      netip.Addr // the only one that it is about; invalid: all
	Severity health.Severity

	// Needs are the ids of earlier conditions. Unless all of them are ok
	// this one is skipped: neither judged nor repaired.
	Needs []string

	// Fatal says that a daemon must not start while the condition fails.
	Fatal bool

	// Looks are all the sources that Evaluate looks at. While none of them
	// changes the daemon keeps the verdict. None: it is judged every time.
	Looks source

	// Evaluate judges a snapshot and touches nothing.
	Evaluate func(Node) Verdict

	// Repair returns the steps that make a failed condition hold, in the
	// order in which they are safe. Nil: it is reported only.
	Repair func(Node) []Step

	// Withdraw returns the steps that make the node safe while the condition
	// fails and its repair did not help. Nil: it is safe as it is.
	Withdraw func(Node) []Step
}

// Verdict is what a condition says of one snapshot.
type Verdict struct {
	Status health.Status
	Want   string
	Got    string
	Cause  string
	Remedy string // a command, or words
}

// unknown is the verdict of a condition whose source could not be read.
func unknown(want string, err error) Verdict {
	return Verdict{Status: health.Unknown, Want: want, Got: err.Error()}
}
