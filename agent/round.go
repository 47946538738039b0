package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/agent/ledger"
	"rsagent/tunnel"
)

// outcome is what a round came to.
type outcome struct {
	report health.Report
	steps  []Step            // the changes made, in order
	errs   map[string]error  // by the id of a condition whose repair was tried; nil: it was done
	done   map[repairOf]bool // the repairs that were made, or tried
	missed map[string]bool   // conditions whose repair came to a device that had gone since the look
}

// planned is a step that is to be taken for a condition.
type planned struct {
	id   string
	step Step
}

// converge looks at the node, repairs what failed and looks again, until
// there is nothing left to repair. A thing is repaired once only for a condition:
// one that is wrong again at once has a rival, and is reported.
//
// Each look is a new one: that what a repair needs is in place is seen in the
// kernel, never assumed because it was just written.
func (a *Agent) converge() outcome {
	o := outcome{errs: make(map[string]error), done: make(map[repairOf]bool), missed: make(map[string]bool)}
	if a.changed {
		// What the kernel takes for one setting can depend on another.
		clear(a.refused)
		a.changed = false
	}
	withdrawn := false
	for {
		n := a.observe()
		findings := a.judge.evaluate(n)
		if n.Old {
			a.word.come(health.FromLinks) // what was not seen is looked at again
			o.report = a.reportOn(n, findings)
			return o
		}
		plan, stopped := a.plan(n, findings, o.done)
		if len(plan) == 0 && stopped {
			continue // the findings have to say so
		}
		if len(plan) == 0 && !withdrawn {
			plan, withdrawn = a.withdrawal(n, findings), true
		}
		if len(plan) > 0 {
			a.admit(n, findings, plan)
			a.repair(plan, &o)
			continue
		}
		a.explain(findings, n.Held, o.errs)
		o.report = a.reportOn(n, findings)
		return o
	}
}

// admit tells what has failed before a repair that may take long: meanwhile the
// node must not be said to be ready. What is mended at once goes without saying.
func (a *Agent) admit(n Node, findings []health.Finding, plan []planned) {
	slow := slices.ContainsFunc(plan, func(p planned) bool { return p.step.slow })
	if slow && !a.report().Time.IsZero() { // at the start nothing was said yet
		a.explain(findings, n.Held, nil)
		a.publish(a.reportOn(n, findings))
	}
}

// plan is the repairs that are due, and whether one was stopped for good.
func (a *Agent) plan(n Node, findings []health.Finding, done map[repairOf]bool) (plan []planned, stops bool) {
	for i, c := range a.judge.conditions {
		if findings[i].Status != health.Failed || c.Repair == nil || a.refused[c.ID] != nil || a.resting[c.ID] {
			continue
		}
		// One that is held back fails also while it holds: then there is nothing to
		// repair, and a trial goes on.
		if n.Held[c.ID] != "" && c.Evaluate(n).Status != health.Failed {
			continue
		}
		for _, s := range c.Repair(n) {
			if done[repairOf{c.ID, s.What}] {
				continue
			}
			switch a.flaps.ask(s.What, n.Time) {
			case goOn:
				plan = append(plan, planned{c.ID, s})
			case stopped:
				stops = true
				a.sayStopped(c.ID, s)
			}
		}
	}
	return plan, stops
}

// withdrawal is what is taken off the node because something that it depends on
// cannot be mended.
func (a *Agent) withdrawal(n Node, findings []health.Finding) []planned {
	var plan []planned
	seen := make(map[string]bool)
	for i, c := range a.judge.conditions {
		if findings[i].Status != health.Failed || c.Withdraw == nil {
			continue
		}
		for _, s := range c.Withdraw(n) {
			if !seen[s.What] {
				seen[s.What] = true
				plan = append(plan, planned{c.ID, s})
			}
		}
	}
	return plan
}

func (a *Agent) sayStopped(id string, s Step) {
	one := a.flaps.of[s.What]
	one.rival = a.witnesses.rivalOf(s)
	a.log.Error().Str("condition", id).Str("what", s.What).Str("rival", one.rival).
		Stringer("again_in", one.rest).Msg("repair stopped")
}

// observe takes a snapshot. A look that could not see links, addresses or the
// packet filter, as happens while somebody changes thousands of them, does not
// unmake what the last one saw, until that is stale.
func (a *Agent) observe() Node {
	n := a.follower.look()
	seen := n.NetErr == nil && (n.FirewallErr == nil || errors.Is(n.FirewallErr, tunnel.ErrNoNFTables))
	switch {
	case seen:
		a.lastGood = n
	case n.Time.Sub(a.lastGood.Time) < a.staleAfter():
		n = a.lastGood
		n.Old, n.Looks = true, looks{}
	}
	n.Pools = a.pools.all()
	n.Weight = a.weights.get()
	n.Draining = a.drainStates()
	n.Held = a.held()
	a.sayUnwatched(n.Unwatched)
	return n
}

// reportOn is what is said of a look, and of what the packet filter had counted
// then. It is made up when nothing waits for a repair any more.
func (a *Agent) reportOn(n Node, findings []health.Finding) health.Report {
	n.Unsteady = a.unsteady()
	if a.config.Tunnel.Mode == config.ModeIPIP && n.FirewallErr == nil {
		wanted, _ := a.filter.on(n)
		holds, _ := a.filter.holds(n)
		a.metrics.Counted(health.Firewall{
			NotDirector: n.Firewall.NotDirector.Packets,
			NotVIP:      n.Firewall.NotVIP.Packets,
			Clamped:     n.Firewall.Clamped.Packets,
			ClampMSS:    wanted.MSS,
			Guarding:    wanted.Guard && holds,
		})
	}
	return reportOf(n, findings)
}

// held is why conditions are held back, by their ids.
func (a *Agent) held() map[string]string {
	var held map[string]string
	for what, one := range a.flaps.held() {
		if held == nil {
			held = make(map[string]string)
		}
		held[one.condition] = one.inWords(what, a.flaps.limit)
	}
	return held
}

func (o *flap) inWords(what string, limit int) string {
	text := fmt.Sprintf("%s was repaired %d times in %s and undone again", what, limit, shortly(config.FlapWindow))
	if o.rival != "" {
		text += ", " + o.rival
	}
	if o.trial.IsZero() {
		return text + fmt.Sprintf("; it is left alone until %s", o.until.Format(time.TimeOnly))
	}
	return text + "; it is on trial now"
}

func shortly(d time.Duration) string { return strings.TrimSuffix(d.String(), "0s") }

func (a *Agent) sayUnwatched(err error) {
	if a.unwatched.news(err) {
		a.log.Warn().Err(err).Stringer("sweep", a.config.Repair.Sweep).Msg("changes of settings are seen at the next sweep only")
	}
}

// repair takes the steps, after they were written down: whatever ends the
// daemon now, the next one knows what was there before. Of one condition those
// up to the first that fails are taken.
func (a *Agent) repair(plan []planned, o *outcome) {
	a.remember(plan)
	for len(plan) > 0 {
		together := additions(plan)
		if together == 0 {
			together = 1
		}
		some := plan[:together]
		for i, err := range a.take(some) {
			if errors.Is(err, syscall.ENODEV) && !o.missed[some[i].id] {
				o.missed[some[i].id] = true // the next look sees what is in its place
				continue
			}
			o.done[repairOf{some[i].id, some[i].step.What}] = true
			if _, failed := o.errs[some[i].id]; !failed || err != nil {
				o.errs[some[i].id] = err
			}
			if err == nil {
				o.steps = append(o.steps, some[i].step)
			}
		}
		plan = slices.DeleteFunc(plan[together:], func(p planned) bool { return o.errs[p.id] != nil })
	}
}

// atOnce is how many addresses are added before the watchdog is told again.
const atOnce = 1000

// additions is how many steps at the start of the plan add an address.
func additions(plan []planned) int {
	n := slices.IndexFunc(plan, func(p planned) bool { return p.step.add == nil })
	if n < 0 {
		n = len(plan)
	}
	return min(n, atOnce)
}

// take takes steps that may be taken at once.
func (a *Agent) take(some []planned) []error {
	a.ping()
	var errs []error
	if some[0].step.add != nil {
		list := make([]tunnel.Address, len(some))
		for i, p := range some {
			list[i] = *p.step.add
		}
		errs = a.host.Net.AddAddresses(list)
	} else {
		errs = []error{some[0].step.do(a.host)}
	}
	now := time.Now()
	for i, err := range errs {
		a.account(some[i], err, now)
	}
	return errs
}

// account notes and logs what came of one step. One that failed rests until the
// next sweep: a failure may itself be a change that starts a round.
func (a *Agent) account(p planned, err error, now time.Time) {
	s := p.step
	switch {
	case errors.Is(err, errRefused):
		a.refused[p.id] = err
		return
	case errors.Is(err, syscall.ENODEV):
		return // the device has gone; there is word of what comes in its place
	case err != nil:
		a.resting[p.id], a.failed[p.id] = true, err
		return
	}
	a.changed = true
	delete(a.failed, p.id)
	a.follower.repaired(s)
	a.flaps.repaired(p.id, s.What, now)
	unsteady := a.steadiness.repaired(repairOf{p.id, s.What}, now)
	if unsteady || a.flaps.limit > 0 && a.flaps.often(s.What) {
		a.witnesses.lookOutFor(s.What)
	}
	a.metrics.Repaired(p.id)
	e := a.log.Info().Str("condition", p.id).Str("what", s.What).Str("old", s.Old).Str("new", s.New)
	if since, known := a.word.sinceWhen(s.source); known {
		wrong := max(0, now.Sub(since)) // the word may come after the change it made
		a.metrics.Mended(s.source, wrong)
		e = e.Stringer("wrong_for", wrong.Round(time.Microsecond))
	}
	e.Msg("repaired")
}

// remember writes down what the steps are about to change.
func (a *Agent) remember(plan []planned) {
	if a.host.Ledger == nil {
		return
	}
	entries := make([]ledger.Entry, 0, len(plan))
	for _, p := range plan {
		entries = append(entries, p.step.entries...)
	}
	a.sayForgetful(a.host.Ledger.Record(entries...))
}

// sayForgetful says that the ledger cannot be written, once.
func (a *Agent) sayForgetful(err error) {
	if a.forgetful.news(err) {
		a.log.Warn().Err(err).Msg("what this node was like before may not be known to the next daemon")
	}
}

// explain adds to the findings that still fail what came of their repair, in this
// round or before it.
func (a *Agent) explain(findings []health.Finding, held map[string]string, errs map[string]error) {
	for i := range findings {
		f := &findings[i]
		if f.Status != health.Failed {
			delete(a.failed, f.ID)
			continue
		}
		if held[f.ID] != "" {
			continue
		}
		err, tried := errs[f.ID]
		if err == nil {
			err = a.failed[f.ID]
		}
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
