package agent

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rsagent/agent/config"
	"rsagent/tunnel"
)

func TestDrainWaitsForDirectorsAndThenForConnections(t *testing.T) {
	busy := func() (tunnel.Connections, error) { return tunnel.Connections{Established: 2}, nil }
	idle := func() (tunnel.Connections, error) { return tunnel.Connections{}, nil }
	blind := func() (tunnel.Connections, error) { return tunnel.Connections{}, errors.New("cannot count") }
	type tick struct {
		at    time.Duration
		count func() (tunnel.Connections, error)
	}
	type outcome struct {
		Done                bool
		Notice, Connections time.Duration
		Left                int
	}
	for _, test := range []struct {
		name   string
		config config.Drain
		ticks  []tick
		want   outcome
	}{
		{"an idle node still gives the directors their time", config.Drain{Notice: 4 * time.Second, Timeout: time.Minute},
			[]tick{{3 * time.Second, idle}}, outcome{}},
		{"an idle node ends with the notice", config.Drain{Notice: 4 * time.Second, Timeout: time.Minute},
			[]tick{{3 * time.Second, idle}, {4 * time.Second, idle}}, outcome{Done: true, Notice: 4 * time.Second}},
		{"a busy node goes on", config.Drain{Notice: time.Second, Timeout: time.Minute},
			[]tick{{time.Second, busy}, {60 * time.Second, busy}}, outcome{}},
		{"it ends with the last connection", config.Drain{Notice: time.Second, Timeout: time.Minute},
			[]tick{{time.Second, busy}, {30 * time.Second, idle}},
			outcome{Done: true, Notice: time.Second, Connections: 29 * time.Second}},
		{"it ends at the deadline", config.Drain{Notice: time.Second, Timeout: time.Minute},
			[]tick{{time.Second, busy}, {61 * time.Second, busy}},
			outcome{Done: true, Notice: time.Second, Connections: time.Minute, Left: 2}},
		{"a count that failed is not an empty one", config.Drain{Notice: time.Second, Timeout: time.Minute},
			[]tick{{time.Second, blind}, {30 * time.Second, blind}}, outcome{}},
		{"no notice and no patience ends at once", config.Drain{},
			[]tick{{0, busy}}, outcome{Done: true, Left: 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
			d := newDrain(test.config, began)
			var got outcome
			for _, tick := range test.ticks {
				got.Done = d.step(began.Add(tick.at), tick.count)
			}
			if got.Done {
				got.Notice, got.Connections, got.Left = d.waitedForNotice(), d.waitedForConnections(), d.left.Total()
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
		})
	}
}
