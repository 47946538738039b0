package agent

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"rsagent/agent/config"
)

// disputed plays a repair that is needed at each of the times, in seconds, and
// returns what was answered, with what was over before.
func disputed(limit int, at ...float64) []string {
	f := flaps{limit: limit, of: make(map[string]*flap)}
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var said []string
	for _, seconds := range at {
		now := start.Add(time.Duration(seconds * float64(time.Second)))
		text := ""
		if over := f.pass(now); len(over) > 0 {
			text = "holds again, "
		}
		switch f.ask("it", now) {
		case goOn:
			f.repaired("condition", "it", now)
			text += "repaired"
		case stopped:
			text += "stopped"
		case heldBack:
			text += "held back"
		}
		said = append(said, text)
	}
	return said
}

func TestARepairThatIsUndoneAgainAndAgainIsStoppedAndTriedAgain(t *testing.T) {
	for _, test := range []struct {
		name  string
		limit int
		at    []float64
		want  []string
	}{
		{"as often as the limit", 3, []float64{0, 1, 2}, []string{"repaired", "repaired", "repaired"}},
		{"once more", 3, []float64{0, 1, 2, 3}, []string{"repaired", "repaired", "repaired", "stopped"}},
		{"once more, but much later", 3, []float64{0, 1, 2, 302}, []string{"repaired", "repaired", "repaired", "repaired"}},
		{"while it rests nothing is done", 1, []float64{0, 1, 5, 10}, []string{"repaired", "stopped", "held back", "held back"}},
		{"it is tried once when it has rested", 1, []float64{0, 1, 11, 11.1}, []string{"repaired", "stopped", "repaired", "held back"}},
		{"then it rests twice as long", 1, []float64{0, 1, 11, 12, 31, 32}, []string{"repaired", "stopped", "repaired", "held back", "held back", "repaired"}},
		{"one that holds on trial is as before", 1, []float64{0, 1, 11, 17, 18}, []string{"repaired", "stopped", "repaired", "holds again, repaired", "stopped"}},
		{"no limit", 0, []float64{0, 0, 0, 0, 0, 0}, []string{"repaired", "repaired", "repaired", "repaired", "repaired", "repaired"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, disputed(test.limit, test.at...)); diff != "" {
				t.Errorf("answers (-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever the rival does, no more is repaired than the limit allows, and one
// that is held back is tried again some time.
func TestNoRivalMakesTheAgentRepairWithoutEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 20).Draw(t, "limit")
		f := flaps{limit: limit, of: make(map[string]*flap)}
		now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		var repairs []time.Time
		for range rapid.IntRange(1, 300).Draw(t, "rounds") {
			now = now.Add(time.Duration(rapid.IntRange(1, 20_000).Draw(t, "ms")) * time.Millisecond)
			f.pass(now)
			if rapid.Bool().Draw(t, "undone") && f.ask("it", now) == goOn {
				f.repaired("condition", "it", now)
				repairs = append(repairs, now)
			}
			if wait, due := f.next(now); due && wait > longestRest {
				t.Fatalf("it is tried again in %v only", wait)
			}
		}
		for i, first := range repairs {
			n := 0
			for _, r := range repairs[i:] {
				if r.Sub(first) < config.FlapWindow {
					n++
				}
			}
			// A trial that holds for its time begins the count anew, which a rival
			// can have once in each rest and trial.
			if most := (limit + 1) * (1 + int(config.FlapWindow/(firstRest+trialTime))); n > most {
				t.Fatalf("%d repairs within %v, with a limit of %d", n, config.FlapWindow, limit)
			}
		}
	})
}

func TestWhatIsForgottenTakesNoMemory(t *testing.T) {
	f := flaps{limit: 10, of: make(map[string]*flap)}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range 1000 {
		f.repaired("condition", fmt.Sprint(i), now)
	}
	f.pass(now.Add(config.FlapWindow + time.Second))
	if len(f.of) != 0 {
		t.Errorf("%d repairs are remembered", len(f.of))
	}
}
