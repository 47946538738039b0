package agent

import (
	"path"
	"slices"

	"rsagent/agent/health"
	"rsagent/sysctl"
)

// source is a part of a snapshot that changes by itself. More than one are
// joined by |.
type source uint8

const (
	atLinks         source = 1 << iota // Net, NetErr, IPIP and Facing
	atARPIgnore                        // Sysctl, of each interface
	atARPAnnounce                      // so
	atRPFilter                         // so
	atOtherSettings                    // the rest of Sysctl
	atFirewall                         // Firewall and FirewallErr
	atWays                             // Ways

	atSettings = atARPIgnore | atARPAnnounce | atRPFilter | atOtherSettings
)

// sources are all of them, one by one.
var sources = [...]source{atLinks, atARPIgnore, atARPAnnounce, atRPFilter, atOtherSettings, atFirewall, atWays}

// sourceOf is the source that a setting belongs to. Those that decide whether a
// node serves are sources of their own: a repair of one does not wait until all
// that depends on the others is judged.
func sourceOf(k sysctl.Key) source {
	switch path.Base(string(k)) {
	case "arp_ignore":
		return atARPIgnore
	case "arp_announce":
		return atARPAnnounce
	case "rp_filter":
		return atRPFilter
	}
	return atOtherSettings
}

// looks numbers the looks at each source: while its number stays the same, so
// does all that a Node has of it. 0 is a look without a number, which may differ
// from every other.
type looks [len(sources)]uint64

// next gives the sources another number.
func (l *looks) next(of source) {
	for i, s := range sources {
		if of&s != 0 {
			l[i]++
		}
	}
}

// of is the number of one source.
func (l looks) of(one source) uint64 { return l[slices.Index(sources[:], one)] }

// judge judges one snapshot after the other by a list of conditions. It is for
// one goroutine.
type judge struct {
	conditions []Condition
	vips       []string // by condition, the VIP that it is about
	needs      [][]int  // by condition, where in the list it needs what; -1: nowhere
	kept       []kept   // by condition
}

// kept is the last verdict of a condition, and the looks that it is of.
type kept struct {
	verdict Verdict
	looks   looks
}

func newJudge(conditions []Condition) *judge {
	j := &judge{
		conditions: conditions,
		vips:       make([]string, len(conditions)),
		needs:      make([][]int, len(conditions)),
		kept:       make([]kept, len(conditions)),
	}
	at := make(map[string]int, len(conditions))
	for i, c := range conditions {
		for _, id := range c.Needs {
			need, known := at[id]
			if !known {
				need = -1
			}
			j.needs[i] = append(j.needs[i], need)
		}
		if c.VIP.IsValid() {
			j.vips[i] = c.VIP.String()
		}
		at[c.ID] = i
	}
	return j
}

// evaluate judges every condition once, in the order of the list.
func evaluate(conditions []Condition, n Node) []health.Finding {
	return newJudge(conditions).evaluate(n)
}

// evaluate judges every condition, in the order of the list.
func (j *judge) evaluate(n Node) []health.Finding {
	findings := make([]health.Finding, 0, len(j.conditions))
	for i := range j.conditions {
		c := &j.conditions[i]
		f := health.Finding{
			ID: c.ID, Title: c.Title, Effect: c.Effect, VIP: j.vips[i], Severity: c.Severity,
			Needs: c.Needs, Owned: c.Repair != nil,
		}
		if f.Needs == nil {
			f.Needs = []string{}
		}
		lacking := slices.IndexFunc(j.needs[i], func(need int) bool {
			return need < 0 || findings[need].Status != health.OK
		})
		if lacking >= 0 {
			f.Status, f.Cause = health.Skipped, c.Needs[lacking]+" is not ok"
		} else {
			v := j.verdict(i, n)
			f.Status, f.Want, f.Got, f.Cause, f.Remedy = v.Status, v.Want, v.Got, v.Cause, v.Remedy
			// What is undone again and again does not hold, also in a moment in
			// which it does.
			if why := n.Held[c.ID]; why != "" && f.Status != health.Unknown {
				f.Status, f.Cause = health.Failed, why
			}
		}
		findings = append(findings, f)
	}
	return findings
}

// verdict is what a condition says of the snapshot. It is pure: of sources that
// are as they were it says what it said.
func (j *judge) verdict(i int, n Node) Verdict {
	c, k := &j.conditions[i], &j.kept[i]
	if c.Looks == 0 || !k.looks.same(n.Looks, c.Looks) {
		k.verdict, k.looks = c.Evaluate(n), n.Looks
	}
	return k.verdict
}

// same tells whether all of some sources are certainly as they were.
func (l looks) same(now looks, of source) bool {
	for i, s := range sources {
		if of&s != 0 && (now[i] == 0 || now[i] != l[i]) {
			return false
		}
	}
	return true
}
