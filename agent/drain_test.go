package agent

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"rsagent/agent/control"
	"rsagent/tunnel"
)

func TestDrainEndsAsSoonAsNothingIsLostAndNoSooner(t *testing.T) {
	all := heard{told: 2, sure: true}
	some := heard{told: 1, waiting: []string{"10.0.0.2"}, sure: true}
	unsure := heard{}
	type count func() (tunnel.Connections, error)
	counts := func(c tunnel.Connections) count { return func() (tunnel.Connections, error) { return c, nil } }
	idle, busy := counts(tunnel.Connections{Idle: 3}), counts(tunnel.Connections{Established: 2})
	fresh := counts(tunnel.Connections{New: 1})
	blind := func() (tunnel.Connections, error) { return tunnel.Connections{}, errors.New("cannot count") }
	type tick struct {
		at    time.Duration
		heard heard
		count count
	}
	const s, ms, notice, timeout = time.Second, time.Millisecond, 4 * time.Second, time.Minute
	type outcome struct {
		Phase               string
		Notice, Connections time.Duration
		Left                int
		Coming              bool
	}
	over := func(notice, connections time.Duration, left int) outcome {
		return outcome{control.Over, notice, connections, left, false}
	}
	stillCome := func(o outcome) outcome { o.Coming = true; return o }
	telling, settling, emptying := outcome{Phase: control.Telling}, outcome{Phase: control.Settling}, outcome{Phase: control.Emptying}
	for _, test := range []struct {
		name            string
		notice, timeout time.Duration
		ticks           []tick
		want            outcome
	}{
		{"all are told, and nothing comes any more", notice, timeout,
			[]tick{{0, some, idle}, {s, all, idle}, {1250 * ms, all, idle}, {1500 * ms, all, idle}}, over(1500*ms, 0, 0)},
		{"a director has not been told", notice, timeout,
			[]tick{{0, some, idle}, {3999 * ms, some, idle}}, telling},
		{"a director is not told, and its time is over", notice, timeout,
			[]tick{{0, some, idle}, {4 * s, some, idle}}, over(4*s, 0, 0)},
		{"nobody has been seen, and there was no time to", notice, timeout,
			[]tick{{0, unsure, idle}, {3 * s, unsure, idle}}, telling},
		{"nobody asks", notice, timeout,
			[]tick{{0, heard{sure: true}, idle}, {500 * ms, heard{sure: true}, idle}}, over(500*ms, 0, 0)},
		{"what was quiet before all were told says nothing", notice, timeout,
			[]tick{{0, some, idle}, {s, some, idle}, {2 * s, all, idle}, {2400 * ms, all, idle}}, settling},
		{"new connections come on", notice, timeout,
			[]tick{{0, all, fresh}, {s, all, fresh}, {1400 * ms, all, idle}}, settling},
		{"none has come since the look that saw the last", notice, timeout,
			[]tick{{0, all, fresh}, {s, all, fresh}, {1250 * ms, all, idle}, {1500 * ms, all, idle}}, over(1500*ms, 0, 0)},
		{"new connections come on until the time is over", notice, timeout,
			[]tick{{0, all, fresh}, {4 * s, all, fresh}}, emptying},
		{"they come at every look, and are gone at once", notice, timeout,
			[]tick{{0, all, fresh}, {4 * s, all, fresh}, {10 * s, all, fresh}, {10250 * ms, all, idle}, {10500 * ms, all, idle}}, over(4*s, 6500*ms, 0)},
		{"they come at every other look until the end", notice, timeout,
			[]tick{{0, all, fresh}, {4 * s, all, fresh}, {4250 * ms, all, idle}, {4500 * ms, all, fresh}, {63750 * ms, all, fresh}, {64 * s, all, idle}}, stillCome(over(4*s, 60*s, 0))},
		{"a request is under way until the end, and others come", notice, timeout,
			[]tick{{0, all, busy}, {4 * s, all, fresh}, {64 * s, all, counts(tunnel.Connections{Established: 1, New: 1})}}, stillCome(over(4*s, 60*s, 1))},
		{"a request is under way", notice, timeout,
			[]tick{{0, all, busy}, {500 * ms, all, busy}, {60 * s, all, busy}}, emptying},
		{"the last request ends", notice, timeout,
			[]tick{{0, all, busy}, {500 * ms, all, busy}, {30 * s, all, idle}}, over(500*ms, 29500*ms, 0)},
		{"the last request ends before all are told", notice, timeout,
			[]tick{{0, some, busy}, {s, some, idle}, {2 * s, some, idle}}, telling},
		{"requests take too long", notice, timeout,
			[]tick{{0, all, busy}, {500 * ms, all, busy}, {60500 * ms, all, busy}}, over(500*ms, 60*s, 2)},
		{"a count that failed is not an empty one", notice, timeout,
			[]tick{{0, all, blind}, {4 * s, all, blind}, {60 * s, all, blind}}, emptying},
		{"nor does it tell that new connections have stopped", notice, timeout,
			[]tick{{0, all, blind}, {3 * s, all, blind}}, settling},
		{"no notice and no patience", 0, 0, []tick{{0, some, busy}}, over(0, 0, 2)},
	} {
		t.Run(test.name, func(t *testing.T) {
			began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
			d := newDrain(test.notice, test.timeout, began)
			done := false
			for _, tick := range test.ticks {
				if done {
					t.Fatalf("it was over before %v", tick.at)
				}
				done = d.step(began.Add(tick.at), tick.heard, tick.count)
			}
			phase, _ := d.phase()
			got := outcome{Phase: phase}
			if done {
				got.Notice, got.Connections, got.Left, got.Coming = d.waitedForNotice(), d.waitedForConnections(), d.left.Total(), d.coming
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever directors and clients do: the drain ends, within its bounds, and
// before them only with everybody told, and nothing left or on its way.
func TestDrainKeepsItsPromise(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		notice := time.Duration(rapid.IntRange(0, 5000).Draw(t, "notice")) * time.Millisecond
		timeout := time.Duration(rapid.IntRange(0, 5000).Draw(t, "timeout")) * time.Millisecond
		began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		d := newDrain(notice, timeout, began)
		d.asked = rapid.Bool().Draw(t, "asked")
		now := began
		for {
			h := heard{sure: rapid.Bool().Draw(t, "sure")}
			if rapid.Bool().Draw(t, "waits") {
				h.waiting = []string{"10.0.0.1"}
			}
			c := tunnel.Connections{Established: rapid.IntRange(0, 1).Draw(t, "busy"), New: rapid.IntRange(0, 1).Draw(t, "new")}
			var err error
			if rapid.IntRange(0, 5).Draw(t, "blind") == 0 {
				err = errors.New("cannot count")
			}
			done := d.step(now, h, func() (tunnel.Connections, error) { return c, err })
			took := now.Sub(began)
			if !done && took >= notice+timeout+drainTick {
				t.Fatalf("after %v it is not over", took)
			}
			if done {
				stopped := c.New == 0 && (d.asked || now.Sub(d.quiet) >= quietTime)
				empty := err == nil && c.Total() == 0 && stopped
				if took < notice && d.told.IsZero() || !empty && now.Sub(d.settled) < timeout {
					t.Fatalf("after %v it is over with %+v, %v and %+v", took, c, err, h)
				}
				if settled := d.settled.Sub(began); settled < notice && d.settled.Sub(d.told) < quietTime {
					t.Fatalf("told after %v, settled after %v", d.told.Sub(began), settled)
				}
				return
			}
			wait := d.wait(now)
			if wait <= 0 && now.Sub(began) < notice {
				t.Fatalf("after %v the next step is due at once", took)
			}
			now = now.Add(max(wait, time.Millisecond))
		}
	})
}

// A proxy's checks may never leave the services quiet for as long as a drain wants.
func TestADrainBehindAProxyEndsBetweenTwoChecks(t *testing.T) {
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, asked := range []bool{true, false} {
		d := newDrain(4*time.Second, time.Minute, began)
		d.asked = asked
		step := func(at time.Duration, c tunnel.Connections) bool {
			return d.step(began.Add(at), heard{told: 1, sure: true}, func() (tunnel.Connections, error) { return c, nil })
		}
		if step(0, tunnel.Connections{New: 1}) || step(4*time.Second, tunnel.Connections{New: 1}) {
			t.Fatal("it is over while new connections come")
		}
		if done := step(4250*time.Millisecond, tunnel.Connections{}); done != asked {
			t.Errorf("between two of them it is over: %t, want %t", done, asked)
		}
	}
}

func TestADrainWithSomethingLeftIsNotReached(t *testing.T) {
	for want, d := range map[string]control.Draining{
		"": {Phase: control.Over},
		"2 connections left at the end of the time for them, on the node":                 {Phase: control.Over, Left: 2},
		stillComing + ", on the node":                                                     {Phase: control.Over, Coming: true},
		"2 connections left at the end of the time for them, on the node; " + stillComing: {Phase: control.Over, Left: 2, Coming: true},
		"cannot count": {Phase: control.Over, Uncounted: "cannot count"},
	} {
		done, ended := drainReached(control.Request{Do: control.Drain}, control.State{Drains: []control.Draining{d}})
		if ended != want || done != (want == "") {
			t.Errorf("%+v: got %t, %q, want %q", d, done, ended, want)
		}
	}
}

func TestDrainIsPutInWords(t *testing.T) {
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(s float64) time.Time { return began.Add(time.Duration(s * float64(time.Second))) }
	for want, d := range map[string]*drain{
		"draining: the directors have 28s more to notice; not told yet: 10.0.0.1, 10.0.0.2, 10.0.0.3 and 1 more": {heard: heard{waiting: []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"}}},
		"draining: new connections have 28s more to stop":                                                        {told: at(1)},
		"draining: 1 connection left, for 59s more at most":                                                      {settled: at(1), left: tunnel.Connections{Established: 1, Idle: 4}},
		"drained": {ended: at(1)},
	} {
		d.notice, d.timeout, d.began = 30*time.Second, time.Minute, began
		if got := d.inWords(at(2)); got != want {
			t.Errorf("want %q, got %q", want, got)
		}
	}
}
