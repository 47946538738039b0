// Package health holds what is known of this node as findings, and every
// rendering of them: text, JSON, the HTTP endpoint and the metrics.
package health

import (
	"slices"
	"strings"
	"time"
)

// Status is the outcome of one finding, or of a whole report.
type Status string

const (
	OK      Status = "ok"
	Failed  Status = "failed"
	Unknown Status = "unknown" // could not look; never treated as broken, never repaired
	Skipped Status = "skipped" // something that it needs is not ok
)

// Severity says what a finding decides.
type Severity string

const (
	Required Severity = "required" // gates readiness
	Advisory Severity = "advisory" // is reported only
)

// DrainID is the id of the finding that fails while the node drains.
const DrainID = "drain"

// What is found of a drain.
const (
	InService = "in service"
	Draining  = "draining"
	Drained   = "drained" // and nothing is left to wait for
)

// drainPrefix begins the ids of findings that fail while one pool drains.
const drainPrefix = DrainID + "/"

// PoolDrainID is the id of the finding that fails while the pool of that name
// drains.
func PoolDrainID(name string) string { return drainPrefix + name }

// IsDrain says whether the id is that of a finding about a drain, of the node or
// of a pool.
func IsDrain(id string) bool { return id == DrainID || strings.HasPrefix(id, drainPrefix) }

const poolPrefix = "pool/"

// servicePrefix begins the ids of findings that tell why a pool does not answer:
// service/WHAT/POOL.
const servicePrefix = "service/"

// PoolID is the id of the finding for the pool of that name.
func PoolID(name string) string { return poolPrefix + name }

// IsPool says whether the id is that of a pool's finding.
func IsPool(id string) bool { return strings.HasPrefix(id, poolPrefix) }

// Finding is what was found of one condition.
type Finding struct {
	ID       string   `json:"id"`
	Title    string   `json:"title"`
	VIP      string   `json:"vip,omitempty"` // the only one that it is about; empty: all
	Severity Severity `json:"severity"`
	Status   Status   `json:"status"`
	Want     string   `json:"want"`
	Got      string   `json:"got"`
	Cause    string   `json:"cause"`
	Effect   string   `json:"effect"` // what a client sees because of it
	Remedy   string   `json:"remedy"`
	Needs    []string `json:"needs"`
	Owned    bool     `json:"owned"` // the daemon repairs it by itself
}

// Report is everything found in one look at the node.
type Report struct {
	Status   Status    `json:"status"` // ok, failed or unknown
	Time     time.Time `json:"time"`   // when the node was looked at
	Findings []Finding `json:"findings"`
}

// NewReport returns the report of findings made at the given time. Its status
// is failed if a required finding is, else unknown if one is, else ok.
func NewReport(at time.Time, findings []Finding) Report {
	r := Report{Status: OK, Time: at, Findings: findings}
	for _, f := range findings {
		if f.Severity != Required {
			continue
		}
		switch f.Status {
		case Failed:
			r.Status = Failed
			return r
		case Unknown:
			r.Status = Unknown
		}
	}
	return r
}

// Count returns how many findings have the status.
func (r Report) Count(s Status) int {
	n := 0
	for _, f := range r.Findings {
		if f.Status == s {
			n++
		}
	}
	return n
}

// AdvisoryFailed says whether a finding that does not gate readiness failed.
func (r Report) AdvisoryFailed() bool {
	for _, f := range r.Findings {
		if f.Severity == Advisory && f.Status == Failed {
			return true
		}
	}
	return false
}

// Draining says whether the node is on its way out of service.
func (r Report) Draining() bool {
	for _, f := range r.Findings {
		if f.ID == DrainID {
			return f.Status == Failed
		}
	}
	return false
}

// Ready says whether the node may have traffic for all its pools. If not,
// why is the id and status of the first required finding that failed, else of
// the first that is unknown.
func (r Report) Ready() (ready bool, why string) {
	return r.gate(func(Finding) bool { return true })
}

// PoolReady is Ready for one pool: the other pools do not count. Known is
// false if there is no such pool.
func (r Report) PoolReady(name string) (ready bool, why string, known bool) {
	id := PoolID(name)
	known = slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.ID == id })
	ready, why = r.gate(func(f Finding) bool {
		pool := poolOf(f.ID)
		return pool == "" || pool == name
	})
	return ready, why, known
}

// poolOf is the name of the pool that a finding is about alone; empty: none.
func poolOf(id string) string {
	name, is := strings.CutPrefix(id, poolPrefix)
	if !is {
		name, is = strings.CutPrefix(id, drainPrefix)
	}
	if !is {
		return ""
	}
	return name
}

// PoolsUnknown says whether a pool is there whose service was not asked yet.
func (r Report) PoolsUnknown() bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool {
		return f.Status == Unknown && IsPool(f.ID)
	})
}

// gate looks at the required findings that count.
func (r Report) gate(counts func(Finding) bool) (ready bool, why string) {
	if len(r.Findings) == 0 {
		return false, "nothing is known yet"
	}
	for _, f := range r.Findings {
		if f.Severity != Required || f.Status == OK || !counts(f) {
			continue
		}
		if IsDrain(f.ID) {
			return false, "draining"
		}
		if f.Status == Failed {
			return false, f.ID + " failed"
		}
		if why == "" {
			why = f.ID + " " + string(f.Status)
		}
	}
	return why == "", why
}
