package agent

import (
	"slices"

	"rsagent/agent/health"
)

// Condition is one thing that must hold on a node that serves. The list of
// them, from top to bottom, is what makes such a node right.
type Condition struct {
	ID       string
	Title    string
	Severity health.Severity

	// Needs are the ids of earlier conditions. Unless all of them are ok
	// this one is skipped: neither judged nor repaired.
	Needs []string

	// Fatal says that a daemon must not start while the condition fails.
	Fatal bool

	// Evaluate judges a snapshot and touches nothing.
	Evaluate func(Node) Verdict

	// Repair returns the steps that make a failed condition hold, in the
	// order in which they are safe. Nil: it is reported only.
	Repair func(Node) []Step
}

// Verdict is what a condition says of one snapshot.
type Verdict struct {
	Status health.Status
	Want   string
	Got    string
	Cause  string
	Remedy string // a command, or words
}

// evaluate judges every condition, in the order of the list.
func evaluate(conditions []Condition, n Node) []health.Finding {
	findings := make([]health.Finding, 0, len(conditions))
	good := make(map[string]bool, len(conditions))
	for _, c := range conditions {
		f := health.Finding{
			ID: c.ID, Title: c.Title, Severity: c.Severity,
			Needs: c.Needs, Owned: c.Repair != nil,
		}
		if f.Needs == nil {
			f.Needs = []string{}
		}
		lacking := slices.IndexFunc(c.Needs, func(id string) bool { return !good[id] })
		if lacking >= 0 {
			f.Status, f.Cause = health.Skipped, c.Needs[lacking]+" is not ok"
		} else {
			v := c.Evaluate(n)
			f.Status, f.Want, f.Got, f.Cause, f.Remedy = v.Status, v.Want, v.Got, v.Cause, v.Remedy
		}
		good[c.ID] = f.Status == health.OK
		findings = append(findings, f)
	}
	return findings
}

// unknown is the verdict of a condition whose source could not be read.
func unknown(want string, err error) Verdict {
	return Verdict{Status: health.Unknown, Want: want, Got: err.Error()}
}
