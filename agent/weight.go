package agent

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"rsagent/agent/config"
	"rsagent/agent/health"
)

// fullWeight is all of a node's part of the clients, in percent.
const fullWeight = 100

// Weighed is what is known of the weight of the node.
type Weighed struct {
	Percent int    // the last that could be had; 100 if none could
	Asked   bool   // its source was asked
	Problem string // why its source does not say one now; empty: it does
}

// weights holds the newest of what its source said of the weight.
type weights struct {
	mu  sync.Mutex
	now Weighed
}

func newWeights() *weights { return &weights{now: Weighed{Percent: fullWeight}} }

func (w *weights) get() Weighed {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *weights) set(now Weighed) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = now
}

// hear takes in what the source says. Where that is no weight, the last one counts
// on: nobody loses a node for a file that is missing. It tells whether anything is
// other than before.
func (w *weights) hear(percent int, err error) (news bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.now
	w.now.Asked, w.now.Problem = true, ""
	if err != nil {
		w.now.Problem = err.Error()
	} else {
		w.now.Percent = percent
	}
	return w.now != before
}

// weighing is the source that is followed.
type weighing struct {
	source weightSource
	end    context.CancelFunc
	ended  chan struct{}
}

// followWeight makes the configured source of the weight the one that is followed.
// One that stays as it was goes on undisturbed.
func (a *Agent) followWeight(ctx context.Context) {
	source := weightSourceOf(a.config, a.host.Root)
	if a.weighing != nil && reflect.DeepEqual(a.weighing.source, source) {
		return
	}
	a.endWeight()
	if source.config.From == config.WeightNone {
		a.weights.set(Weighed{Percent: fullWeight})
		return
	}
	ctx, end := context.WithCancel(ctx)
	w := &weighing{source: source, end: end, ended: make(chan struct{})}
	a.weighing = w
	go func() {
		defer close(w.ended)
		w.source.follow(ctx, func(percent int, err error) {
			if a.weights.hear(percent, err) {
				a.word.come(health.FromWeight)
			}
		})
	}()
}

func (a *Agent) endWeight() {
	if a.weighing != nil {
		a.weighing.end()
		<-a.weighing.ended
		a.weighing = nil
	}
}

const weightID = "weight"

// notWeighed is what is found before the source of the weight was asked.
const notWeighed = "not asked yet"

// weightConditions returns what must hold where the weight is not always full.
func weightConditions(c config.Config) []Condition {
	if c.Weight.From == config.WeightNone {
		return nil
	}
	want, remedy := wantedWeight(c.Weight)
	return []Condition{{
		ID:       weightID,
		Title:    "The weight of the node is known",
		Effect:   "Directors that go by the weight are told the last one that was known, or 100% if none was.",
		Severity: health.Advisory,
		Evaluate: func(n Node) Verdict {
			switch w := n.Weight; {
			case !w.Asked:
				return Verdict{Status: health.Unknown, Want: want, Got: notWeighed}
			case w.Problem != "" && c.Weight.From == config.WeightLoad:
				return Verdict{Status: health.Unknown, Want: want, Got: w.Problem}
			case w.Problem != "":
				return Verdict{Status: health.Failed, Want: want, Got: w.Problem, Remedy: remedy}
			default:
				return Verdict{Status: health.OK, Want: want, Got: fmt.Sprintf("%d%%", w.Percent)}
			}
		},
	}}
}

// wantedWeight is what the source of the weight must say, and what to do where it
// does not.
func wantedWeight(w config.Weight) (want, remedy string) {
	const number = "a whole number from 0 to 100"
	switch w.From {
	case config.WeightFile:
		return number + " in " + w.File, "echo 100 > " + w.File
	case config.WeightExec:
		return w.Command[0] + " prints " + number, "run it by hand, as root: " + strings.Join(w.Command, " ")
	}
	return "the load and the number of processors", ""
}

// weightOnce asks the source of the weight once.
func weightOnce(ctx context.Context, c config.Config, root string) Weighed {
	w := newWeights()
	if c.Weight.From != config.WeightNone {
		w.hear(weightSourceOf(c, root).ask(ctx))
	}
	return w.get()
}

// weigh gives each verdict its weight, which grows for who has just become ready.
func (a *Agent) weigh(s *health.Standing) {
	full, was := a.weights.get().Percent, a.latest.Load().Node.Weight.Full
	if (was == 0) != (full == 0) { // a load changes all the time
		a.log.Info().Int("old", was).Int("new", full).Msg("weight changed")
	}
	over := a.config.Weight.SlowStart
	if a.ready.see(s, time.Now()) || was != full {
		a.keepWeight()
	}
	s.Node.Weight = health.Weight{Full: full, Since: a.ready[wholeNode], Over: over}
	for name, v := range s.Pools {
		v.Weight = health.Weight{Full: full, Since: a.ready[name], Over: over}
		s.Pools[name] = v
	}
}

// unweighed tells whether a report is from before the source of the weight was
// asked.
func unweighed(r health.Report) bool {
	return slices.ContainsFunc(r.Findings, func(f health.Finding) bool { return f.ID == weightID && f.Got == notWeighed })
}
