package agent

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"pgregory.net/rapid"

	"rsagent/agent/health"
)

// shaken plays repairs of one thing at some times, in seconds, and returns what
// of the times to look is unsteady.
func shaken(repairs, looks []float64) []float64 {
	s := make(steadiness)
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var unsteady []float64
	all := slices.Concat(repairs, looks)
	slices.Sort(all)
	for _, seconds := range slices.Compact(all) {
		now := start.Add(time.Duration(seconds * float64(time.Second)))
		s.pass(now)
		if slices.Contains(repairs, seconds) {
			s.repaired(repairOf{"condition", "it"}, now)
		}
		if _, due := s.next(now); due && slices.Contains(looks, seconds) {
			unsteady = append(unsteady, seconds)
		}
	}
	return unsteady
}

func TestWhatIsRepairedAgainSoonIsUnsteadyUntilItHasHeld(t *testing.T) {
	looks := []float64{0, 0.5, 1, 2, 2.5, 4, 5, 5.5, 6, 7, 8, 60, 60.5, 65.5}
	for _, test := range []struct {
		name    string
		repairs []float64
		want    []float64
	}{
		{"one repair", []float64{0}, nil},
		{"another one soon after", []float64{0, 0.5}, []float64{0.5, 1, 2, 2.5, 4, 5}},
		{"another one at the last moment", []float64{0, 2}, []float64{2, 2.5, 4, 5, 5.5, 6}},
		{"another one later", []float64{0, 2.5}, nil},
		{"another one a minute later", []float64{0, 60}, nil},
		{"one more while it is to hold", []float64{0, 0.5, 5}, []float64{0.5, 1, 2, 2.5, 4, 5, 5.5, 6, 7, 8}},
		{"one more after it has held", []float64{0, 0.5, 6}, []float64{0.5, 1, 2, 2.5, 4, 5}},
		{"twice", []float64{0, 0.5, 60, 60.5}, []float64{0.5, 1, 2, 2.5, 4, 5, 60.5}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, shaken(test.repairs, looks)); diff != "" {
				t.Errorf("unsteady at (-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever is repaired when, it is unsteady exactly if a repair of the same was
// made soon before one, until none was made for as long as it must hold. What is
// due is told in time, and nothing is kept that counts no more.
func TestUnsteadyIsOnlyWhatWasRepairedTwiceInARow(t *testing.T) {
	kinds := []repairOf{{"a", "x"}, {"b", "x"}, {"a", "y"}}
	rapid.Check(t, func(t *rapid.T) {
		s := make(steadiness)
		now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		made := make(map[repairOf][]time.Time)
		for range rapid.IntRange(1, 200).Draw(t, "moments") {
			wait, due := s.next(now)
			now = now.Add(time.Duration(rapid.IntRange(0, 4_000).Draw(t, "ms")) * time.Millisecond)
			if due && rapid.Bool().Draw(t, "waits") {
				now = now.Add(wait)
			}
			s.pass(now)
			if rapid.Bool().Draw(t, "repair") {
				r := rapid.SampledFrom(kinds).Draw(t, "of")
				made[r] = append(made[r], now)
				s.repaired(r, now)
			}
			for _, r := range kinds {
				got := s[r] != nil && !s[r].until.IsZero()
				if want := shaky(made[r], now); got != want {
					t.Fatalf("at %v unsteady %t, want %t: %v was repaired at %v", now, got, want, r, made[r])
				}
			}
		}
		s.pass(now.Add(steadyTime))
		if _, due := s.next(now); due || len(s) > 0 {
			t.Fatalf("%d repairs are remembered", len(s))
		}
	})
}

// shaky says in other words what is unsteady.
func shaky(repairs []time.Time, now time.Time) bool {
	var until time.Time
	for i, at := range repairs {
		if i > 0 && (at.Sub(repairs[i-1]) <= soon || at.Before(until)) {
			until = at.Add(steadyTime)
		}
	}
	return now.Before(until)
}

func TestAReloadIsNoRival(t *testing.T) {
	s := make(steadiness)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := repairOf{"condition", "it"}
	for range 3 {
		s.excuse()
		if s.repaired(r, now) {
			t.Error("unsteady although each repair had a reload as its reason")
		}
		now = now.Add(time.Second)
	}
	if !s.repaired(r, now) {
		t.Error("steady although it was repaired again without a reload")
	}
	s.excuse()
	if _, due := s.next(now); !due {
		t.Error("a reload has made it steady")
	}
}

// notReady converges and returns why the node is not ready; empty: it is.
func notReady(a *Agent) string {
	report := a.converge().report
	a.publish(report)
	if ready, why := report.Ready(); !ready {
		return why
	}
	return ""
}

func TestANodeIsNotReadyBetweenTheRepairsOfAFight(t *testing.T) {
	stockNamespaces(t)
	inNamespace(t, func(host Host) {
		stock(t, host)
		var log bytes.Buffer
		a := rememberingAgent(t, host, t.TempDir(), undoConfig, &log)
		wantReady(t, a)
		notReady(a)
		clear(a.flaps.of) // as after the start
		clear(a.steadiness)
		log.Reset()
		tunl0, err := netlink.LinkByName("tunl0")
		if err != nil {
			t.Fatal(err)
		}
		write := func(key, value string) {
			// Not by Write, which would read back what was mended.
			if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+key, []byte(value), 0); err != nil {
				t.Fatal(err)
			}
		}

		// Several things at once, each once.
		write("all/arp_ignore", "0")
		write("all/arp_announce", "0")
		write("all/accept_redirects", "1")
		if err := netlink.LinkSetDown(tunl0); err != nil {
			t.Fatal(err)
		}
		if why := notReady(a); why != "" || strings.Count(log.String(), `"repaired"`) < 4 {
			t.Fatalf("%s after single repairs:\n%s", why, &log)
		}
		// Again, but it is advisory.
		write("all/accept_redirects", "1")
		if why := notReady(a); why != "" {
			t.Errorf("not ready because of what is advisory: %s", why)
		}
		before := allOf(t, host)
		log.Reset()
		for range 3 {
			write("all/arp_ignore", "0")
			if why := notReady(a); why != "sysctl/arp_ignore/all failed" {
				t.Fatalf("not ready: %q", why)
			}
			if diff := cmp.Diff(before, allOf(t, host)); diff != "" {
				t.Errorf("after a repair (-before +after):\n%s", diff)
			}
		}
		statuses := make(map[health.Status]int)
		for _, f := range a.report().Findings {
			if f.Severity == health.Required {
				statuses[f.Status]++
			}
			if f.ID == arpIgnoreAllID && f.Cause != "net.ipv4.conf.all.arp_ignore was repaired and soon undone again; it is repaired at once each time, and must hold for 5s" {
				t.Errorf("the cause is %q", f.Cause)
			}
		}
		if diff := cmp.Diff([]health.Status{health.Failed, health.OK}, slices.Sorted(maps.Keys(statuses))); diff != "" || statuses[health.Failed] != 1 {
			t.Errorf("required conditions are %v, want one failed and none skipped", statuses)
		}

		now := time.Now()
		for due := 0; due < 2; due++ { // what is advisory is first
			wait, is := a.next(now)
			if !is || wait > steadyTime {
				t.Errorf("it is looked at again in %v, want %v at most", wait, steadyTime)
			}
			now = now.Add(wait)
			a.pass(now)
		}
		if why := notReady(a); why != "" {
			t.Errorf("not ready although it has held: %s", why)
		}
		for message, want := range map[string]int{`"repaired"`: 3, `"status":"failed"`: 1, `"status":"ok"`: 1, `"ready":false`: 1, `"ready":true`: 1, "stopped": 0} {
			if got := strings.Count(log.String(), message); got != want {
				t.Errorf("the log has %s %d times, want %d:\n%s", message, got, want, &log)
			}
		}
	})
}

// What is unsteady does not hide what is worse.
func TestOnlyAConditionThatHoldsIsCalledUnsteady(t *testing.T) {
	unsteady := make(map[string]string)
	var findings []health.Finding
	for _, severity := range []health.Severity{health.Required, health.Advisory} {
		for _, status := range []health.Status{health.OK, health.Failed, health.Unknown, health.Skipped} {
			id := fmt.Sprintf("%s %s", severity, status)
			unsteady[id] = "unsteady"
			findings = append(findings, health.Finding{ID: id, Severity: severity, Status: status, Cause: "its own"})
		}
	}
	findings = append(findings, health.Finding{ID: "another", Severity: health.Required, Status: health.OK})
	want := slices.Clone(findings)
	want[0].Status, want[0].Cause = health.Failed, "unsteady"
	before := slices.Clone(findings)
	if diff := cmp.Diff(want, reportOf(Node{Unsteady: unsteady}, findings).Findings); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, findings); diff != "" {
		t.Errorf("what was found has changed (-before +after):\n%s", diff)
	}
}

// The loop does by itself what the agent is due for.
func TestANodeIsReadyAgainByItselfWhenARivalEnds(t *testing.T) {
	if !inOwnNamespace(t) {
		return
	}
	const vip = "10.64.0.1"
	tunl0 := addStandIn(t, "tunl0")
	ready := runWithoutIPIP(t, "vips = [\""+vip+"\"]\n[repair]\nsweep = \"1m\"\n")
	deleteAndAwait(t, tunl0, vip)
	time.Sleep(100 * time.Millisecond)
	if got := get(t, ready); got != "200 ready\n" {
		t.Errorf("after one repair: %q", got)
	}
	deleteAndAwait(t, tunl0, vip)
	ended := time.Now()
	await(t, ready, "503 not ready: tunnel/vip/10.64.0.1 failed\n")
	time.Sleep(time.Until(ended.Add(steadyTime - 500*time.Millisecond)))
	if got := get(t, ready); got == "200 ready\n" {
		t.Errorf("ready after %v", time.Since(ended))
	}
	await(t, ready, "200 ready\n")
	if took := time.Since(ended); took > steadyTime+time.Second {
		t.Errorf("ready after %v only", took)
	}
}
