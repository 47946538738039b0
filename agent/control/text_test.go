package control

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestStatusReads(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	byHand := []Reason{{Kind: "hand", Text: "kernel upgrade", Since: ago(time.Minute)}}
	asking := []Asker{
		{Address: "10.0.0.2", Last: ago(800 * time.Millisecond), Interval: 6*time.Second + 3*time.Millisecond},
		{Address: "10.0.0.3", Pool: "http-pool", Agent: true, Last: ago(12 * time.Second), Refusals: 2},
	}
	full := Weight{Percent: 100, Full: 100}
	pools := []Pool{{Name: "http-pool", State: Ready, Weight: full}, {Name: "ssl-pool", State: NotReady, Why: "pool/ssl-pool failed", Weight: Weight{Full: 100}}}
	for name, s := range map[string]State{
		"ready":      {State: Ready, Weight: full},
		"weighed":    {State: Ready, Weight: Weight{Percent: 30, Full: 30}},
		"weightless": {State: Ready, Weight: Weight{}},
		"growing": {State: Ready, Weight: Weight{Percent: 12, Full: 80, Until: now.Add(34 * time.Second)}, Pools: []Pool{
			{Name: "http-pool", State: Ready, Weight: Weight{Percent: 80, Full: 80}},
			{Name: "ssl-pool", State: Ready, Weight: Weight{Percent: 12, Full: 80, Until: now.Add(34 * time.Second)}},
		}},
		"notready": {State: NotReady, Why: "pool/ssl-pool failed", Pools: pools, Asking: asking},
		"telling": {State: IsDraining, Drains: []Draining{
			{Reasons: append(byHand, Reason{Kind: "file"}), Phase: Telling, Began: ago(3 * time.Second), Until: now.Add(27 * time.Second), Told: 1, Waiting: []string{"10.0.0.2", "10.0.0.3"}},
			{Pool: "ssl-pool", Reasons: byHand, Phase: Telling, Began: ago(3 * time.Second), Until: now.Add(27 * time.Second)},
		}},
		"settling": {State: IsDraining, Drains: []Draining{{Reasons: byHand, Phase: Settling, Began: ago(3 * time.Second), Until: now.Add(27 * time.Second), Told: 2, New: 4}}},
		"emptying": {State: IsDraining, Drains: []Draining{
			{Reasons: byHand, Phase: Emptying, Began: ago(75 * time.Second), Until: now.Add(4 * time.Minute), Told: 2, Left: 1, Idle: 3},
			{Pool: "ssl-pool", Reasons: byHand, Phase: Emptying, Began: ago(75 * time.Second), Until: now.Add(4 * time.Minute), Uncounted: "the kernel has no tcp_diag"},
		}},
		"cut":     {State: Drained, Drains: []Draining{{Reasons: byHand, Phase: Over, Began: ago(time.Hour), Told: 2, Left: 3, Coming: true}}},
		"drained": {State: Drained, Drains: []Draining{{Reasons: byHand, Phase: Over, Began: ago(time.Hour), Told: 2}}},
	} {
		t.Run(name, func(t *testing.T) {
			s.Time = now
			var got strings.Builder
			if err := Text(&got, s); err != nil {
				t.Fatal(err)
			}
			got.WriteString("\nIn brief: " + Brief(s) + "\n")
			file := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("text (-want +got):\n%s", diff)
			}
		})
	}
}
