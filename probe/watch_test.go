package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestJudge(t *testing.T) {
	refused := errors.New("connection refused")
	slow := errors.New("no answer within 1s")
	type step struct {
		outcome error
		state   State
		detail  string
		changed bool
	}
	tests := map[string][]step{
		"the first good one is trusted": {
			{nil, Up, "", true},
			{nil, Up, "", false},
		},
		"the first bad one is trusted": {
			{refused, Down, "connection refused", true},
			{refused, Down, "connection refused", false},
		},
		"two bad ones do not take it down, three do": {
			{nil, Up, "", true},
			{refused, Up, "connection refused", true},
			{refused, Up, "connection refused", false},
			{refused, Down, "connection refused", true},
		},
		"a good one between starts the count anew": {
			{nil, Up, "", true},
			{refused, Up, "connection refused", true},
			{refused, Up, "connection refused", false},
			{nil, Up, "", true},
			{refused, Up, "connection refused", true},
			{refused, Up, "connection refused", false},
			{refused, Down, "connection refused", true},
		},
		"one good one does not bring it up, two do": {
			{refused, Down, "connection refused", true},
			{nil, Down, "answers again, 1 of 2 good attempts", true},
			{nil, Up, "", true},
		},
		"another reason is told": {
			{refused, Down, "connection refused", true},
			{slow, Down, "no answer within 1s", true},
			{nil, Down, "answers again, 1 of 2 good attempts", true},
			{slow, Down, "no answer within 1s", true},
		},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			j := judge{rise: 2, fall: 3}
			for i, want := range steps {
				result, changed := j.hear(want.outcome, time.Unix(int64(i), 0))
				got := step{want.outcome, result.State, result.Detail, changed}
				if got != want {
					t.Fatalf("after step %d: got %+v, want %+v", i+1, got, want)
				}
			}
		})
	}
}

// The state must at all times be what the history of attempts says it is.
func TestJudgeHoldsForEveryHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rise, fall := rapid.IntRange(0, 4).Draw(t, "rise"), rapid.IntRange(0, 4).Draw(t, "fall")
		history := rapid.SliceOfN(rapid.Bool(), 1, 40).Draw(t, "good")
		j := judge{rise: rise, fall: fall}
		before := Result{}
		for i, good := range history {
			var err error
			if !good {
				err = errors.New("bad")
			}
			now := time.Unix(int64(i), 0)
			got, changed := j.hear(err, now)
			run := lastRun(history[:i+1])
			enough := run >= max(rise, 1)
			outcome := Up
			if !good {
				outcome, enough = Down, run >= max(fall, 1)
			}
			switch {
			case i == 0 || enough:
				if got.State != outcome {
					t.Fatalf("attempt %d: %v after %d outcomes in a row that say %v", i, got.State, run, outcome)
				}
			case got.State != before.State:
				t.Fatalf("attempt %d: %v became %v after only %d", i, before.State, got.State, run)
			}
			if got.State != before.State && !got.Since.Equal(now) || got.State == before.State && got.Since != before.Since {
				t.Fatalf("attempt %d: %v since %v, before %v since %v", i, got.State, got.Since, before.State, before.Since)
			}
			if !good && got.Detail == "" || got.State == Down && got.Detail == "" || good && got.State == Up && got.Detail != "" {
				t.Fatalf("attempt %d: good %v, %v, detail %q", i, good, got.State, got.Detail)
			}
			if changed != (got != before) {
				t.Fatalf("attempt %d: %v became %v, changed is %v", i, before, got, changed)
			}
			before = got
		}
	})
}

// lastRun is how many outcomes at the end are the same.
func lastRun(history []bool) int {
	n := 0
	for i := len(history) - 1; i >= 0 && history[i] == history[len(history)-1]; i-- {
		n++
	}
	return n
}

func TestWatchKeepsTime(t *testing.T) {
	tests := map[string]struct {
		took []time.Duration // how long each attempt takes
		want []time.Duration // when each starts
	}{
		"quick attempts start an interval apart": {
			took: []time.Duration{0, 0, 0, 0},
			want: []time.Duration{0, 2 * time.Second, 4 * time.Second, 6 * time.Second},
		},
		"the interval is from start to start": {
			took: []time.Duration{time.Second, 500 * time.Millisecond, 0},
			want: []time.Duration{0, 2 * time.Second, 4 * time.Second},
		},
		"a long attempt is followed at once, never overlapped": {
			took: []time.Duration{5 * time.Second, 3 * time.Second, 0, 0},
			want: []time.Duration{0, 5 * time.Second, 8 * time.Second, 10 * time.Second},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				begin := time.Now()
				var starts []time.Duration
				try := func(context.Context) error {
					starts = append(starts, time.Since(begin))
					time.Sleep(test.took[len(starts)-1])
					if len(starts) == len(test.took) {
						cancel()
					}
					return nil
				}
				watch(ctx, try, 2*time.Second, judge{}, func(Result) {})
				if diff := cmp.Diff(test.want, starts); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
			})
		})
	}
}

// A node that is out of descriptors cannot tell how its services are.
func TestWatchLearnsNothingFromAnAttemptThatCouldNotBeMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		outcomes := []error{syscall.EMFILE, nil, syscall.ENFILE, fmt.Errorf("cannot run the command: %w", syscall.EAGAIN)}
		var got []string
		try := func(context.Context) error {
			if len(outcomes) == 1 {
				cancel()
			}
			defer func() { outcomes = outcomes[1:] }()
			return outcomes[0]
		}
		watch(ctx, try, 2*time.Second, judge{rise: 1, fall: 1}, func(r Result) {
			got = append(got, r.State.String()+" "+r.Detail)
		})
		if diff := cmp.Diff([]string{"up "}, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}

func TestWatchReportsChangesAndStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		begin := time.Now()
		outcomes := []error{nil, nil, errors.New("a"), errors.New("a"), errors.New("b"), nil, nil}
		try := func(ctx context.Context) error {
			if len(outcomes) == 0 {
				time.AfterFunc(time.Second, cancel)
				<-ctx.Done()
				return errors.New("cut short")
			}
			defer func() { outcomes = outcomes[1:] }()
			return outcomes[0]
		}
		type seen struct {
			At     time.Duration
			State  string
			Detail string
			Since  time.Duration
		}
		var got []seen
		watch(ctx, try, 2*time.Second, judge{rise: 2, fall: 3}, func(r Result) {
			got = append(got, seen{time.Since(begin), r.State.String(), r.Detail, r.Since.Sub(begin)})
		})
		want := []seen{
			{0, "up", "", 0},
			{4 * time.Second, "up", "a", 0},
			{8 * time.Second, "down", "b", 8 * time.Second},
			{10 * time.Second, "down", "answers again, 1 of 2 good attempts", 8 * time.Second},
			{12 * time.Second, "up", "", 12 * time.Second},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if took := time.Since(begin); took != 15*time.Second {
			t.Errorf("ended after %v, want at once when its context does", took)
		}
	})
}

// Whoever starts to watch may know the service already: its word counts like
// that of the attempts before it.
func TestWatchGoesOnFromWhatWasThoughtBefore(t *testing.T) {
	bad := errors.New("bad")
	tests := map[string]struct {
		before   State
		outcomes []error
		want     []string
	}{
		"up stays up when nothing changes, which is not reported": {Up, []error{nil, nil}, nil},
		"one bad attempt does not take it down":                   {Up, []error{bad, nil}, []string{"up bad", "up "}},
		"enough bad ones do":                                      {Up, []error{bad, bad, bad}, []string{"up bad", "down bad"}},
		"one good attempt does not bring it up":                   {Down, []error{nil, bad}, []string{"down answers again, 1 of 2 good attempts", "down bad"}},
		"enough good ones do":                                     {Down, []error{nil, nil}, []string{"down answers again, 1 of 2 good attempts", "up "}},
		"nothing known trusts the first":                          {Unknown, []error{bad, nil}, []string{"down bad", "down answers again, 1 of 2 good attempts"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				since := time.Now().Add(-time.Hour)
				outcomes := test.outcomes
				try := func(context.Context) error {
					err := outcomes[0]
					outcomes = outcomes[1:]
					if len(outcomes) == 0 {
						time.AfterFunc(time.Second, cancel)
					}
					return err
				}
				var got []string
				before := Result{State: test.before, Since: since}
				watch(ctx, try, 2*time.Second, judge{rise: 2, fall: 3, result: before}, func(r Result) {
					got = append(got, r.State.String()+" "+r.Detail)
					if r.State == test.before && !r.Since.Equal(since) {
						t.Errorf("%v since %v, want since %v as before", r.State, r.Since, since)
					}
				})
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
			})
		})
	}
}

func TestWatchOfARealService(t *testing.T) {
	noLeaks(t)
	var broken atomic.Bool
	addr := serve(t, func(conn net.Conn) {
		if broken.Load() {
			answer("HTTP/1.1 503 No\r\n\r\n")(conn)
			return
		}
		answer("HTTP/1.1 200 OK\r\n\r\n")(conn)
	})
	ctx, cancel := context.WithCancel(t.Context())
	results := make(chan Result)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		target := Target{Kind: HTTP, Addr: addr, Interval: 10 * time.Millisecond, Timeout: within, Rise: 1, Fall: 1}
		Watch(ctx, target, Result{}, func(r Result) { results <- r })
	}()
	for _, want := range []string{"up", "down: status 503, want 200-399", "up"} {
		r := <-results
		got := r.State.String()
		if r.Detail != "" {
			got += ": " + r.Detail
		}
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		broken.Store(r.State == Up && want == "up" && !broken.Load())
	}
	go func() {
		for range results {
		}
	}()
	cancel()
	<-ended
	close(results)
}

func TestWatchOfARealServiceThatWasUp(t *testing.T) {
	noLeaks(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	target := Target{Kind: TCP, Addr: closedPort(t), Interval: 10 * time.Millisecond, Timeout: within, Fall: 2}
	var got []State
	Watch(ctx, target, Result{State: Up}, func(r Result) {
		got = append(got, r.State)
		if r.State == Down {
			cancel()
		}
	})
	if diff := cmp.Diff([]State{Up, Down}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestWatchIsNotStartedForNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	watch(ctx, func(context.Context) error { t.Error("tried"); return nil }, time.Second, judge{}, func(Result) { t.Error("reported") })
}
