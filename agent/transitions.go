package agent

import (
	"rsagent/agent/health"
)

// logTransitions logs what changed from one report to the next. Nothing is
// said of what follows from something else, of what is good at the start, of
// what was not asked yet, nor of the drain, which has lines of its own.
func (a *Agent) logTransitions(before, now health.Report) {
	was := make(map[string]health.Finding, len(before.Findings))
	for _, f := range before.Findings {
		was[f.ID] = f
	}
	for _, f := range now.Findings {
		old, seen := was[f.ID]
		// What failed is told before a repair that may take long, and why that failed
		// after it.
		explained := f.Status == health.Failed && old.Cause == "" && f.Cause != ""
		if f.Status == old.Status && !explained || f.Status == health.Skipped || health.IsDrain(f.ID) {
			continue
		}
		unasked := f.Status == health.Unknown && (health.IsPool(f.ID) || f.Got == notWeighed)
		if !seen && (f.Status == health.OK || unasked) {
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

// lastSaid is an error that was logged last, so that it is logged once while it
// lasts. Empty: there was none.
type lastSaid string

// news tells whether the error is another one than before.
func (l *lastSaid) news(err error) bool {
	text := ""
	if err != nil {
		text = err.Error()
	}
	before := *l
	*l = lastSaid(text)
	return text != "" && lastSaid(text) != before
}
