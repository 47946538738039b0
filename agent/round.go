package agent

import (
	"errors"

	"rsagent/agent/health"
	"rsagent/tunnel"
)

// outcome is what a round came to.
type outcome struct {
	report health.Report
	steps  []Step           // the changes made, in order
	errs   map[string]error // by the id of a condition whose repair was tried; nil: it was done
}

// converge looks at the node, repairs what failed and looks again, until
// there is nothing left to repair. A condition is repaired once only: one
// that fails again at once has a rival, and is reported.
//
// Each look is a new one: that what a repair needs is in place is seen in the
// kernel, never assumed because it was just written.
func (a *Agent) converge() outcome {
	o := outcome{errs: make(map[string]error)}
	if a.changed {
		// What the kernel takes for one setting can depend on another.
		clear(a.refused)
		a.changed = false
	}
	for {
		n := a.observe()
		findings := evaluate(a.conditions, n)
		repaired := false
		if n.Old {
			a.look() // what was not seen is looked at again
			o.report = health.NewReport(n.Time, findings)
			return o
		}
		for i, c := range a.conditions {
			if !a.mayRepair(c, findings[i], o.errs) {
				continue
			}
			if steps := c.Repair(n); len(steps) > 0 {
				done, err := a.repair(c.ID, steps)
				o.steps, o.errs[c.ID] = append(o.steps, done...), err
				repaired = true
			}
		}
		if repaired {
			continue
		}
		a.explain(findings, o.errs)
		o.report = health.NewReport(n.Time, findings)
		return o
	}
}

// observe takes a snapshot. A look that could not see links, addresses or the
// packet filter, as happens while somebody changes thousands of them, does not
// unmake what the last one saw, until that is stale.
func (a *Agent) observe() Node {
	n := a.host.look(a.config)
	seen := n.NetErr == nil && (n.FirewallErr == nil || errors.Is(n.FirewallErr, tunnel.ErrNoNFTables))
	switch {
	case seen:
		a.lastGood = n
	case n.Time.Sub(a.lastGood.Time) < staleAfter:
		n = a.lastGood
		n.Old = true
	}
	n.Pools = a.pools.all()
	n.Draining = a.draining
	a.sayUnwatched(n.Unwatched)
	a.metrics.Counted(health.Packets{
		NotDirector: n.Firewall.NotDirector.Packets,
		NotVIP:      n.Firewall.NotVIP.Packets,
		Clamped:     n.Firewall.Clamped.Packets,
	})
	return n
}

func (a *Agent) sayUnwatched(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != a.unwatched {
		a.log.Warn().Err(err).Stringer("sweep", sweep).Msg("changes of settings are seen at the next sweep only")
	}
	a.unwatched = text
}

func (a *Agent) mayRepair(c Condition, f health.Finding, tried map[string]error) bool {
	if f.Status != health.Failed || c.Repair == nil {
		return false
	}
	if _, done := tried[c.ID]; done {
		return false
	}
	return a.refused[c.ID] == nil && !a.resting[c.ID]
}

// repair takes the steps of one condition up to the first that fails, and
// returns those taken. One that fails rests until the next sweep: a failure
// may itself be a change that starts a round.
func (a *Agent) repair(id string, steps []Step) ([]Step, error) {
	for i, s := range steps {
		a.ping()
		err := s.do(a.host)
		switch {
		case errors.Is(err, errRefused):
			a.refused[id] = err
			return steps[:i], err
		case err != nil:
			a.resting[id] = true
			return steps[:i], err
		}
		a.metrics.Repaired(id)
		a.log.Info().Str("condition", id).Str("what", s.What).
			Str("old", s.Old).Str("new", s.New).Msg("repaired")
	}
	a.changed = true
	return steps, nil
}

// explain adds to the findings that still fail what came of their repair.
func (a *Agent) explain(findings []health.Finding, errs map[string]error) {
	for i := range findings {
		f := &findings[i]
		if f.Status != health.Failed {
			continue
		}
		err, tried := errs[f.ID]
		if refusal := a.refused[f.ID]; refusal != nil {
			err = refusal
			f.Remedy = "configure the value as the kernel takes it"
		}
		switch {
		case err != nil:
			f.Cause = err.Error()
		case tried && f.Owned:
			f.Cause = "it was repaired, and something undid that at once"
		}
	}
}

// rollBack undoes steps, the last one first.
func (a *Agent) rollBack(steps []Step) {
	for i := len(steps) - 1; i >= 0; i-- {
		s := steps[i]
		if err := s.undo(a.host); err != nil {
			a.log.Error().Str("what", s.What).Err(err).Msg("cannot undo")
			continue
		}
		a.log.Info().Str("what", s.What).Str("old", s.New).Str("new", s.Old).Msg("undone")
	}
}

// logTransitions logs what changed from one report to the next. Nothing is
// said of what follows from something else, of what is good at the start, of
// pools that were not asked yet, nor of the drain, which has lines of its own.
func (a *Agent) logTransitions(before, now health.Report) {
	was := make(map[string]health.Status, len(before.Findings))
	for _, f := range before.Findings {
		was[f.ID] = f.Status
	}
	for _, f := range now.Findings {
		old, seen := was[f.ID]
		if f.Status == old || f.Status == health.Skipped || f.ID == health.DrainID {
			continue
		}
		if !seen && (f.Status == health.OK || health.IsPool(f.ID) && f.Status == health.Unknown) {
			continue
		}
		a.logFinding(f)
	}
	ready, why := now.Ready()
	if wasReady, _ := before.Ready(); ready != wasReady {
		e := a.log.Info().Bool("ready", ready)
		if !ready {
			e = e.Str("why", why)
		}
		e.Msg("readiness changed")
	}
}

func (a *Agent) logFinding(f health.Finding) {
	e := a.log.Info()
	switch {
	case f.Status == health.Failed && (f.Severity == health.Required || a.refused[f.ID] != nil):
		e = a.log.Error()
	case f.Status != health.OK:
		e = a.log.Warn()
	}
	e = e.Str("condition", f.ID).Str("status", string(f.Status))
	if f.Status != health.OK {
		e = e.Str("want", f.Want).Str("got", f.Got)
		if f.Cause != "" {
			e = e.Str("cause", f.Cause)
		}
		if f.Remedy != "" {
			e = e.Str("remedy", f.Remedy)
		}
	}
	e.Msg("condition changed")
}
