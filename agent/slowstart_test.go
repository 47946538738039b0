package agent

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"rsagent/agent/health"
)

// stand is a node with a pool, each of which may be ready, failed, draining or not
// asked yet.
func stand(node, pool string) *health.Standing {
	verdict := func(name, how string) health.Verdict {
		return health.Verdict{Pool: name, Ready: how == "ready", Draining: how == "draining", Unasked: how == "unasked"}
	}
	return &health.Standing{Node: verdict("", node), Pools: map[string]health.Verdict{"web": verdict("web", pool)}}
}

func TestReadinessBeginsWhenItTurns(t *testing.T) {
	at := func(seconds int) time.Time { return hour.Add(time.Duration(seconds) * time.Second) }
	r := make(readySince)
	for i, step := range []struct {
		node, pool string
		news       bool
		want       readySince
	}{
		{"unasked", "unasked", false, readySince{}},
		{"ready", "ready", true, readySince{"": at(1), "web": at(1)}},
		{"ready", "ready", false, readySince{"": at(1), "web": at(1)}},
		{"failed", "ready", true, readySince{"web": at(1)}},
		{"ready", "ready", true, readySince{"": at(4), "web": at(1)}},
		{"draining", "draining", true, readySince{}},
		{"ready", "failed", true, readySince{"": at(6)}},
		{"unasked", "unasked", false, readySince{"": at(6)}}, // as after a reload with another pool
		{"ready", "ready", true, readySince{"": at(6), "web": at(8)}},
	} {
		if news := r.see(stand(step.node, step.pool), at(i)); news != step.news {
			t.Errorf("step %d: news %v, want %v", i, news, step.news)
		}
		if diff := cmp.Diff(step.want, r); diff != "" {
			t.Fatalf("step %d: since (-want +got):\n%s", i, diff)
		}
	}
	if news := r.see(&health.Standing{Node: health.Verdict{Ready: true}}, at(9)); !news || len(r) != 1 {
		t.Errorf("a pool that is gone: %v, news %v", r, news)
	}
}

// While the source stands still, who is ready never gets less than before, who has
// just become so begins small, and who has been so for long enough has it all.
func TestAWeightNeverFallsWhileItsSourceStandsStill(t *testing.T) {
	states := rapid.SampledFrom([]string{"ready", "ready", "ready", "failed", "draining", "unasked"})
	rapid.Check(t, func(t *rapid.T) {
		over := time.Duration(rapid.Int64Range(int64(time.Second), int64(time.Hour)).Draw(t, "slow start"))
		full := rapid.IntRange(0, 100).Draw(t, "full")
		r, now := make(readySince), hour
		before, out := map[string]int{}, map[string]bool{"": true, "web": true}
		began := map[string]time.Time{}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(over)).Draw(t, "step")))
			s := stand(states.Draw(t, "node"), states.Draw(t, "pool"))
			r.see(s, now)
			for _, v := range []health.Verdict{s.Node, s.Pools["web"]} {
				v.Weight = health.Weight{Full: full, Since: r[v.Pool], Over: over}
				got := v.WeightAt(now)
				switch {
				case v.Unasked:
					continue
				case !v.Ready:
					out[v.Pool] = true
					if got != 0 {
						t.Fatalf("%q is not ready at %d%%", v.Pool, got)
					}
					continue
				case out[v.Pool]:
					out[v.Pool], began[v.Pool] = false, now
					if got != min(1, full) {
						t.Fatalf("%q begins at %d%% of %d%%", v.Pool, got, full)
					}
				case got < before[v.Pool]:
					t.Fatalf("%q falls from %d%% to %d%%", v.Pool, before[v.Pool], got)
				}
				if got < 0 || got > full || now.Sub(began[v.Pool]) >= over && got != full {
					t.Fatalf("%q is at %d%% of %d%% after %v of %v", v.Pool, got, full, now.Sub(began[v.Pool]), over)
				}
				before[v.Pool] = got
			}
		}
	})
}

const slowly = "[tunnel]\nmode = \"none\"\n[weight]\nslow_start = \"1h\"\n"

// rememberedWeight makes an agent that has been told what the one before knew.
func rememberedWeight(t *testing.T, text, memory string) (a *Agent, log *syncBuffer) {
	t.Helper()
	directory := t.TempDir()
	if memory != "" {
		if err := os.WriteFile(filepath.Join(directory, "weight.json"), []byte(memory), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	host, err := OpenHost()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(host.Close)
	log = &syncBuffer{}
	a = newAgent(t, host, text, log)
	t.Cleanup(a.follower.close)
	a.Resume(directory)
	return a, log
}

func TestWhatIsRememberedOfTheWeight(t *testing.T) {
	ago := func(d time.Duration) string { return time.Now().Add(-d).Format(time.RFC3339Nano) }
	memory := func(written, ready time.Duration) string {
		return `{"Written":"` + ago(written) + `","Percent":30,"Ready":{"":"` + ago(ready) + `"}}`
	}
	byLoad := strings.Replace(slowly, "slow_start", "from = \"load\"\nslow_start", 1)
	for _, test := range []struct {
		name, config, memory string
		ready                bool // the node counts as ready before its first look
		percent              int
		said                 string // in the log
	}{
		{"nothing", slowly, "", false, 100, ""},
		{"of a moment ago", slowly, memory(0, 2*time.Hour), true, 100, ""},
		{"of a moment ago, with a weight that is not always full", byLoad, memory(0, 2*time.Hour), true, 30, ""},
		{"of the last sweep, for a daemon that was killed before the next", byLoad, memory(19*time.Second, 2*time.Hour), true, 30, ""},
		{"of long ago", byLoad, memory(21*time.Second, 2*time.Hour), false, 100, ""},
		{"of the future", byLoad, memory(-time.Minute, 2*time.Hour), false, 100, ""},
		{"ready after it was written", byLoad, memory(time.Second, 0), false, 100, "the weight begins anew"},
		{"no weight", byLoad, `{"Written":"` + ago(0) + `","Percent":101}`, false, 100, "the weight is 101, want 0 to 100"},
		{"nobody was ready", byLoad, `{"Written":"` + ago(0) + `","Percent":7,"Ready":null}`, false, 7, ""},
		{"nonsense", byLoad, "nonsense", false, 100, "the weight begins anew"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, log := rememberedWeight(t, test.config, test.memory)
			if _, ready := a.ready[wholeNode]; ready != test.ready || a.weights.get().Percent != test.percent {
				t.Errorf("ready %v at %d%%, want %v at %d%%", ready, a.weights.get().Percent, test.ready, test.percent)
			}
			if said := log.String(); (said == "") != (test.said == "") || !strings.Contains(said, test.said) {
				t.Errorf("the log says %q, want %q", said, test.said)
			}
			a.publish(health.NewReport(time.Now(), []health.Finding{{ID: "a", Severity: health.Required, Status: health.OK}}))
			want := test.percent
			if !test.ready {
				want = 1
			}
			if got := a.latest.Load().Node.WeightAt(time.Now()); got != want {
				t.Errorf("at its first look the node is at %d%%, want %d%%", got, want)
			}
		})
	}
}

func TestTheMemoryOfTheWeightIsForItsOwnerAlone(t *testing.T) {
	a, _ := rememberedWeight(t, slowly, "")
	a.publish(health.NewReport(time.Now(), []health.Finding{{ID: "a", Severity: health.Required, Status: health.OK}}))
	info, err := os.Stat(filepath.Join(a.succession.directory, "weight.json"))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("the file is %v, %v", info, err)
	}
	without, _ := rememberedWeight(t, "[tunnel]\nmode = \"none\"\n", "")
	without.publish(health.NewReport(time.Now(), nil))
	without.keepWeight()
	if left, err := os.ReadDir(without.succession.directory); err != nil || len(left) > 0 {
		t.Errorf("without a weight there is something to remember: %v, %v", left, err)
	}
}

// When it is killed nobody writes anything.
func TestTheWeightIsRememberedAtEachSweep(t *testing.T) {
	directory := t.TempDir()
	running(t, slowly+"[repair]\nsweep = \"1s\"\n", directory, io.Discard)
	written := func() (m weightMemory) {
		for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
			text, err := os.ReadFile(weightMemoryFile(directory))
			if err == nil {
				if m, err = parseWeightMemory(text); err != nil {
					t.Error(err)
				}
				return m
			}
			if time.Since(began) > 5*time.Second {
				t.Fatal(err)
			}
		}
	}
	first := written()
	last := first
	for began := time.Now(); last.Written.Sub(first.Written) < 500*time.Millisecond; last = written() {
		if time.Since(began) > 5*time.Second {
			t.Fatalf("written at %v, and last at %v", first.Written, last.Written)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if diff := cmp.Diff(first.Ready, last.Ready); diff != "" || len(first.Ready) != 1 {
		t.Errorf("ready since (-first +last):\n%s", diff)
	}
}

func TestADaemonThatCannotRememberTheWeightSaysSoOnce(t *testing.T) {
	a, log := rememberedWeight(t, slowly, "")
	a.succession.directory = filepath.Join(a.succession.directory, "gone")
	a.keepWeight()
	a.keepWeight()
	if n := strings.Count(log.String(), "a restart of the daemon forgets the weight"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
}
