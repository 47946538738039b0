package health

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"rsagent/agent/answer"
)

func TestAWeightGrowsEvenly(t *testing.T) {
	const over = 20 * time.Second
	for _, test := range []struct {
		name   string
		weight Weight
		want   []int // at the beginning, after 1 s, 5 s, 10 s, 19.999 s, 20 s and an hour
	}{
		{"full at once", Weight{Full: 100}, []int{100, 100, 100, 100, 100, 100, 100}},
		{"full at once, from some time on", Weight{Full: 100, Since: at}, []int{100, 100, 100, 100, 100, 100, 100}},
		{"to all of it", Weight{100, at, over}, []int{1, 5, 25, 50, 99, 100, 100}},
		{"to a part", Weight{30, at, over}, []int{1, 1, 7, 15, 29, 30, 30}},
		{"to the least", Weight{1, at, over}, []int{1, 1, 1, 1, 1, 1, 1}},
		{"to nothing", Weight{0, at, over}, []int{0, 0, 0, 0, 0, 0, 0}},
		{"not yet begun, as the clock was set back", Weight{100, at.Add(time.Hour), over}, []int{1, 1, 1, 1, 1, 1, 1}},
		{"not yet begun, and not to grow", Weight{Full: 100, Since: at.Add(time.Hour)}, []int{100, 100, 100, 100, 100, 100, 100}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []int
			for _, after := range []time.Duration{0, time.Second, 5 * time.Second, 10 * time.Second, over - time.Millisecond, over, time.Hour} {
				got = append(got, test.weight.At(at.Add(after)))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("weights (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAWeightStaysInItsBoundsAndNeverFallsWhileItGrows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		durations := rapid.OneOf(rapid.Int64Range(0, int64(time.Hour)), rapid.Int64Range(0, math.MaxInt64))
		w := Weight{
			Full:  rapid.IntRange(0, 100).Draw(t, "full"),
			Since: at.Add(time.Duration(rapid.Int64Range(-int64(time.Hour), int64(time.Hour)).Draw(t, "since"))),
			Over:  time.Duration(durations.Draw(t, "over")),
		}
		before := 0
		for now := at; now.Before(at.Add(2 * time.Hour)); now = now.Add(time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "step"))) {
			got := w.At(now)
			if got < before || got < min(lowest, w.Full) || got > w.Full {
				t.Fatalf("%+v is %d %v after it began, and was %d", w, got, now.Sub(w.Since), before)
			}
			if full := !now.Before(w.Since.Add(w.Over)); full && got != w.Full || w.Until(now).IsZero() != (full || w.Over == 0) {
				t.Fatalf("%+v is %d at its end, which is %v", w, got, w.Until(now))
			}
			before = got
		}
	})
}

// halfway is a node half of which is wanted, with a pool that has just begun.
func halfway() *Standing {
	s := NewStanding(NewReport(time.Now(), []Finding{required("pool/web", OK), required("pool/old", OK), required("pool/bad", Failed)}))
	s.Node.Ready = true
	s.Node.Weight.Full = 50
	for name, v := range s.Pools {
		v.Weight.Full = 50
		if name == "web" {
			v.Weight.Since, v.Weight.Over = time.Now(), time.Hour
		}
		s.Pools[name] = v
	}
	return s
}

func TestTheWeightIsToldToWhomMayHaveTraffic(t *testing.T) {
	s := halfway()
	address := start(t, Endpoint{Latest: func() *Standing { return s }})
	for _, test := range []struct{ request, status, weight string }{
		{"GET /ready", "200 OK: ready", "50"},
		{"GET /", "200 OK: ready", "50"},
		{"HEAD /ready", "200 OK:", "50"},
		{"OPTIONS *", "200 OK: ready", "50"},
		{"GET /ready/web", "200 OK: ready", "1"},
		{"GET /ready/old", "200 OK: ready", "50"},
		{"GET /ready/bad", "503 Service Unavailable: not ready: pool/bad failed", ""},
		{"GET /ready/none", "503 Service Unavailable: not ready: no such pool", ""},
		{"GET /live", "200 OK: live", ""},
	} {
		got := ask(t, address, test.request+" HTTP/1.0\r\n\r\n")
		if gist(got)+"|"+header(got, WeightHeader) != test.status+"|"+test.weight {
			t.Errorf("%s: got %q, want %q and the weight %q", test.request, got, test.status, test.weight)
		}
	}
	full := start(t, Endpoint{Latest: fresh(required("a", OK))})
	if got := header(ask(t, full, "GET /ready HTTP/1.0\r\n\r\n"), WeightHeader); got != "100" {
		t.Errorf("with no weight configured it is %q, want 100", got)
	}
}

func TestAnAgentCheckIsToldTheWeight(t *testing.T) {
	s := halfway()
	nothing := halfway()
	nothing.Node.Weight.Full = 0
	for _, test := range []struct {
		standing   *Standing
		said, want string
	}{
		{s, "\n", "up ready 50%\n"},
		{s, "web\n", "up ready 1%\n"},
		{s, "bad\n", "ready down # not ready: pool/bad failed\n"},
		{nothing, "\n", "up ready 0%\n"},
	} {
		address := startAgent(t, Endpoint{Latest: func() *Standing { return test.standing }})
		if got := ask(t, address, test.said); got != test.want {
			t.Errorf("to %q: %q, want %q", test.said, got, test.want)
		}
	}
}

// Thousands of checks a second come without work for the collector.
func TestAnAnswerWithItsWeightTakesNoMemory(t *testing.T) {
	s := halfway()
	e := &Endpoint{Latest: func() *Standing { return s }, StaleAfter: time.Minute}
	r := answer.Request{Method: []byte("GET"), Path: []byte("/ready/web")}
	var a answer.Answer
	if n := testing.AllocsPerRun(100, func() {
		a.Fields, a.Body = a.Fields[:0], a.Body[:0]
		e.Answer(&r, &a)
	}); n != 0 || string(a.Fields) != "Rsagent-Weight: 1\r\n" {
		t.Errorf("%v allocations for %q", n, a.Fields)
	}
}

func TestStatusHasTheWeight(t *testing.T) {
	s := halfway()
	var page struct{ Weight *int }
	for _, want := range []int{50, 0} {
		address := start(t, Endpoint{Latest: func() *Standing { return s }})
		_, body, _ := strings.Cut(ask(t, address, "GET /status HTTP/1.0\r\n\r\n"), "\r\n\r\n")
		if err := json.Unmarshal([]byte(body), &page); err != nil || page.Weight == nil || *page.Weight != want {
			t.Errorf("want the weight %d in %s (%v)", want, body, err)
		}
		s.Node.Ready = false
	}
}

func TestTheWeightIsScraped(t *testing.T) {
	if text := scrape(t, NewMetrics("v1", halfway)); !strings.Contains(text, "\nrsagent_weight 50\n") {
		t.Errorf("no weight of 50 in\n%s", own(text))
	}
}
