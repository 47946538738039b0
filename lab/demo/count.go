package main

import (
	"time"

	"rsagent/lab/network"
)

// count is what came of the requests of a step.
type count struct {
	sent, failed int
	broken       int // failed, although none of these may
}

// span is a time in which requests may fail.
type span struct{ from, to time.Time }

// excuses tells whether the request was under way at any time of the span.
func (s span) excuses(a network.Answer) bool {
	return a.Sent.Before(s.to) && a.Sent.Add(a.Took).After(s.from)
}

// counted counts answers. None may fail but those under way in one of the spans.
func counted(answers network.Answers, spans ...span) count {
	c := count{sent: len(answers)}
failures:
	for _, a := range answers.Failed() {
		c.failed++
		for _, s := range spans {
			if s.excuses(a) {
				continue failures
			}
		}
		c.broken++
	}
	return c
}

func (c count) plus(other count) count {
	return count{c.sent + other.sent, c.failed + other.failed, c.broken + other.broken}
}

// slowest is how long the slowest answer took.
func slowest(answers network.Answers) time.Duration {
	var most time.Duration
	for _, a := range answers {
		if a.Error == "" {
			most = max(most, a.Took)
		}
	}
	return most
}

// patience is how long anything may take that takes a moment.
const patience = 15 * time.Second

// until waits until it is so, and tells whether it ever was.
func until(so func() bool) bool {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if so() {
			return true
		}
		time.Sleep(20 * time.Millisecond)
	}
	return so()
}

// untilServes waits until the node has answered a request sent after a moment.
func untilServes(load *network.Load, node *network.Host, since time.Time) bool {
	return until(func() bool {
		return load.SoFar().Between(since, time.Now()).ByNode()[node.Name] > 0
	})
}
