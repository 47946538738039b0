package agent

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rsagent/agent/answer"
)

// hears has somebody be answered: "10.0.0.2 web" asks for the pool web, with
// "agent" behind that by agent-check, and with anything else by such a query.
func (a *audience) hears(who string, refused bool, at time.Time) (told bool) {
	words := strings.Fields(who)
	w := answer.Answer{Readiness: true, Refused: refused}
	if len(words) > 1 && words[1] != "-" {
		w.Subject = words[1]
	}
	r := answer.Request{From: netip.MustParseAddr(words[0])}
	agent := len(words) > 2 && words[2] == "agent"
	if len(words) > 2 && !agent {
		r.Query = []byte(words[2])
	}
	return a.answered(&r, &w, agent, at)
}

func TestDirectorsAreToldWhenTheyHaveFetchedRefusals(t *testing.T) {
	const notice = 30 * time.Second
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	type ask struct {
		who   string
		every time.Duration // from the start on
		until time.Duration
	}
	const s = time.Second
	at := func(who string, every, until time.Duration) ask { return ask{who, every, until} }
	turned := 100 * s
	for _, test := range []struct {
		name      string
		directors string // declared
		pool      string
		asks      []ask // who is refused from the turn on
		now       time.Duration
		want      string // told, and who is waited for
	}{
		{"nobody asks", "", "", nil, 101 * s, "0"},
		{"one has fetched two of three", "", "", []ask{at("10.0.0.2", 2*s, 102*s)}, 102 * s, "0 10.0.0.2"},
		{"and the third", "", "", []ask{at("10.0.0.2", 2*s, 104*s)}, 104 * s, "1"},
		{"the slower of two has not", "", "", []ask{at("10.0.0.2", 2*s, 110*s), at("10.0.0.3", 10*s, 110*s)}, 110 * s, "1 10.0.0.3"},
		{"one that stopped asking long before", "", "", []ask{at("10.0.0.2", 2*s, 60*s)}, 101 * s, "0"},
		{"one that stops asking is waited for a while", "", "", []ask{at("10.0.0.2", 2*s, 100*s)}, 105 * s, "0 10.0.0.2"},
		{"and then no more", "", "", []ask{at("10.0.0.2", 2*s, 100*s)}, 107 * s, "0"},
		{"an agent-check is told by one word", "", "", []ask{at("10.0.0.2 - agent", 2*s, 100*s)}, 101 * s, "1"},
		{"one that says that it acts on the first", "", "", []ask{at("10.0.0.2 - fall=1", 2*s, 100*s)}, 101 * s, "1"},
		{"one that says that it acts on the fifth", "", "", []ask{at("10.0.0.2 - fall=5", 2*s, 106*s)}, 107 * s, "0 10.0.0.2"},
		{"and has had five", "", "", []ask{at("10.0.0.2 - fall=5", 2*s, 108*s)}, 109 * s, "1"},
		{"one that has asked once may be a slow director", "", "", []ask{at("10.0.0.2", 90*s, 90*s)}, 101 * s, "0 10.0.0.2"},
		{"but not if others are declared as directors", "10.0.0.9", "", []ask{at("10.0.0.2", 90*s, 90*s)}, 101 * s, "0"},
		{"nor from this node", "", "", []ask{at("127.0.0.1", 90*s, 90*s)}, 101 * s, "0"},
		{"nor after the time that a director may take", "", "", []ask{at("10.0.0.2", 70*s, 70*s)}, 101 * s, "0"},
		{"one that is declared is waited for", "10.0.0.0/24", "", []ask{at("10.0.0.2", 90*s, 90*s)}, 101 * s, "0 10.0.0.2"},
		{"of a pool, others do not count", "", "web", []ask{at("10.0.0.2 web", 2*s, 104*s), at("10.0.0.3 mail", 2*s, 102*s)}, 104 * s, "1"},
		{"of a pool, who asks for the node counts", "", "web", []ask{at("10.0.0.2 web", 2*s, 104*s), at("10.0.0.3", 2*s, 102*s)}, 104 * s, "1 10.0.0.3"},
		{"of the node, all pools count", "", "", []ask{at("10.0.0.2 web", 2*s, 104*s), at("10.0.0.2 mail", 2*s, 102*s)}, 104 * s, "1 10.0.0.2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newAudience()
			a.open(start)
			var directors []netip.Prefix
			for d := range strings.FieldsSeq(test.directors) {
				if !strings.Contains(d, "/") {
					d += "/32"
				}
				directors = append(directors, netip.MustParsePrefix(d))
			}
			a.declare(directors, 3)
			for _, one := range test.asks {
				for at := one.every; at <= one.until; at += one.every {
					a.hears(one.who, at >= turned, start.Add(at))
				}
			}
			h := a.heard(test.pool, notice, start.Add(test.now))
			got := strings.TrimSpace(fmt.Sprintf("%d %s", h.told, strings.Join(h.waiting, " ")))
			if got != test.want || !h.sure {
				t.Errorf("got %q (sure: %v), want %q", got, h.sure, test.want)
			}
		})
	}
}

// A director with three services on a node may ask for the node three times in a
// row: each of the three must have fetched its refusals.
func TestChecksThatComeInBunchesAreCountedOneByOne(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, test := range []struct {
		name   string
		bunch  []time.Duration // within a round of 6 s
		rounds int             // of refusals until it is told
		asked  int
	}{
		{"one", []time.Duration{0}, 3, 3},
		{"three at once", []time.Duration{0, 100 * time.Millisecond, 200 * time.Millisecond}, 3, 9},
	} {
		a := newAudience()
		a.declare(nil, 3)
		at := start
		told, refusals := false, 0
		for round := range 20 {
			for _, offset := range test.bunch {
				refused := round >= 10
				if refused && !told {
					refusals++
				}
				told = a.hears("10.0.0.2", refused, at.Add(offset)) || told
			}
			at = at.Add(6 * time.Second)
		}
		if !told || refusals != test.asked {
			t.Errorf("%s: told %v after %d refusals, want %d", test.name, told, refusals, test.asked)
		}
	}
}

// lookedAfter is what one director does with a node: it asks for some services in the
// same words, one after the other, rests, and begins again.
type lookedAfter struct {
	services int
	rest     time.Duration // between two rounds
	takes    time.Duration // a check
	// One check in so many is late, by up to so much: the machine is busy.
	lateOne int
	lateBy  time.Duration
}

// drawn is when each question comes, of so many rounds.
func (l lookedAfter) drawn(random *rand.Rand, rounds int) (questions []time.Duration) {
	var at time.Duration
	for range rounds {
		for range l.services {
			at += l.takes
			if l.lateOne > 0 && random.IntN(l.lateOne) == 0 {
				at += time.Duration(random.Int64N(int64(l.lateBy)))
			}
			questions = append(questions, at)
		}
		at += l.rest
	}
	return questions
}

// However a busy director limps, one check is told by hardly more refusals than the
// configuration wants, and of several each has fetched that many.
func TestAnUnevenDirectorIsOneAndABunchIsMany(t *testing.T) {
	const s, ms, fall, before = time.Second, time.Millisecond, 3, 40
	for _, test := range []struct {
		name string
		of   lookedAfter
		most int // refusals that it may take, for 9 in 10
	}{
		{"even", lookedAfter{1, s, 5 * ms, 0, 0}, 3},
		{"late once in a while", lookedAfter{1, s, 5 * ms, 12, 5 * s}, 3},
		{"late often", lookedAfter{1, s, 50 * ms, 4, 3 * s}, 3},
		{"late more often than not", lookedAfter{1, s, 300 * ms, 2, 4 * s}, 3},
		{"slow, and late", lookedAfter{1, 10 * s, 50 * ms, 5, 30 * s}, 3},
		{"three services", lookedAfter{3, s, 5 * ms, 0, 0}, 9},
		{"three services whose checks take long", lookedAfter{3, s, 300 * ms, 0, 0}, 9},
		{"three services, late now and then", lookedAfter{3, 6 * s, 50 * ms, 10, 2 * s}, 24},
		{"three services that each wait for another node", lookedAfter{3, 6 * s, s, 0, 0}, 9},
		{"and late now and then", lookedAfter{3, 6 * s, s, 20, 2 * s}, 24},
		{"six services", lookedAfter{6, 2 * s, 20 * ms, 0, 0}, 18},
		{"six services, late now and then", lookedAfter{6, 10 * s, 100 * ms, 20, 3 * s}, 24},
	} {
		t.Run(test.name, func(t *testing.T) {
			const draws = 400
			long := 0
			for seed := range uint64(draws) {
				random := rand.New(rand.NewPCG(seed, 1))
				a := newAudience()
				a.declare(nil, fall)
				start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
				turned := before*test.of.services + random.IntN(2*before*test.of.services)
				refusals := make([]int, test.of.services)
				for i, at := range test.of.drawn(random, 4*before) {
					refused := i >= turned
					if refused {
						refusals[i%test.of.services]++
					}
					if a.hears("10.0.0.2", refused, start.Add(at)) {
						break
					}
				}
				total := 0
				for _, n := range refusals {
					total += n
				}
				if slices.Min(refusals) < fall {
					t.Fatalf("draw %d: told, when its services have fetched %v refusals", seed, refusals)
				}
				if total > test.most {
					long++
				}
			}
			if long > draws/10 {
				t.Errorf("%d of %d times it took more than %d refusals", long, draws, test.most)
			}
		})
	}
}

// There must have been time to see everybody.
func TestNothingIsSureAtTheStart(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	a := newAudience()
	for want, at := range map[bool]time.Duration{false: 29 * time.Second, true: 30 * time.Second} {
		if got := a.heard("", 30*time.Second, start.Add(at)).sure; got {
			t.Errorf("nobody is answered yet, and after %v it is sure", at)
		}
		a.open(start)
		if got := a.heard("", 30*time.Second, start.Add(at)).sure; got != want {
			t.Errorf("after %v: sure is %v", at, got)
		}
		a.open(time.Time{})
	}
}

// Strangers in great number take no memory, and no director's place.
func TestStrangersDoNotDisplaceDirectors(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	a := newAudience()
	a.open(start)
	a.declare([]netip.Prefix{netip.MustParsePrefix("10.0.0.9/32")}, 1)
	a.hears("10.0.0.9", false, start)                  // declared, and asked once
	a.hears("10.0.0.8", false, start)                  // not declared, and asks
	a.hears("10.0.0.8", false, start.Add(time.Second)) // again and again
	for i := range 3 * maxAskers {
		from := netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)})
		a.hears(from.String(), false, start.Add(time.Second))
	}
	if len(a.askers) > maxAskers {
		t.Errorf("%d are remembered, want %d at most", len(a.askers), maxAskers)
	}
	h := a.heard("", time.Minute, start.Add(2*time.Second))
	if diff := cmp.Diff([]string{"10.0.0.8", "10.0.0.9"}, h.waiting); diff != "" {
		t.Errorf("who is waited for (-want +got):\n%s", diff)
	}
}

// Back in service, a node whose director has not seen it yet is no use to the
// next one that drains.
func TestDirectorsAreBackWhenTheyHaveFetchedReady(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	a := newAudience()
	a.declare(nil, 3)
	for i, want := range []string{"[10.0.0.2]", "[10.0.0.2]", "[10.0.0.2]", "[10.0.0.2]", "[]"} {
		at := start.Add(time.Duration(i) * time.Second)
		a.hears("10.0.0.2", i < 3, at)
		if got := fmt.Sprint(a.welcoming("", time.Minute, at)); got != want {
			t.Errorf("after answer %d: %s, want %s", i, got, want)
		}
	}
}

func TestNotingAnAnswerTakesNoMemory(t *testing.T) {
	a := newAudience()
	a.declare([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, 3)
	r, w := answer.Request{From: netip.MustParseAddr("10.0.0.2")}, answer.Answer{Readiness: true, Subject: "web"}
	now := time.Now()
	a.answered(&r, &w, false, now)
	if n := testing.AllocsPerRun(100, func() { a.answered(&r, &w, false, now) }); n > 0 {
		t.Errorf("%v allocations for each", n)
	}
}
