package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSpreadOfTakesTheNearestRank(t *testing.T) {
	var all []time.Duration
	for i := range 500 {
		all = append(all, time.Duration(500-i))
	}
	for _, c := range []struct {
		name string
		all  []time.Duration
		want spread
	}{
		{"none", nil, spread{}},
		{"one", []time.Duration{7}, spread{1, 7, 7, 7}},
		{"500, in any order", all, spread{500, 250, 495, 500}},
	} {
		if diff := cmp.Diff(c.want, spreadOf(c.all)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// slow is what an emulated machine under load comes to; quick meets every aim.
func slow() *results {
	s := spread{500, 2345 * time.Millisecond, 34567 * time.Millisecond, time.Minute}
	return &results{
		Kernel: "6.1.0-56-cloud-amd64", CPUs: 2, Device: "ipip",
		Repairs:   []repair{{"arp_ignore", "a flipped arp_ignore", spread{500, 1, 1, 1}, s, spread{500, 1, 1, 1}}},
		Start:     &start{s, spread{20, 1, 1, 1}},
		Converges: []converge{{10_000, s, spread{3, 1, 1, 1}}},
		Sizes:     []size{{"rsagent", 123 << 10, 123 << 10, 12.345, 1234.5, true}, {"keepalived, VIP and check", 123 << 10, 123 << 10, 12.345, 1234.5, false}},
		Storm:     &storm{50_000, 123 * time.Second, s, held{123 << 10, 24, 13}, 234 << 10, held{234 << 10, 124, 113}},
		Endpoint: &endpoint{
			contest{answering{1234, 1, 123456 * time.Microsecond, 1}, answering{12345, 1, 12345 * time.Microsecond, 1}, 0.1, 0.1},
			contest{answering{1234, 1, 123456 * time.Microsecond, 1}, answering{123456, 1000, 12345 * time.Microsecond, 1}, 0.01, 0.1},
			spread{500, 1, 1, 1}, s, 1234,
		},
		Probed: &probed{s, s},
	}
}

func quick() *results {
	s := spread{500, time.Millisecond, 2 * time.Millisecond, 3 * time.Millisecond}
	keepalived := spread{500, 2 * time.Millisecond, 4 * time.Millisecond, 4 * time.Millisecond}
	return &results{
		Repairs:   []repair{{"vip", "a deleted VIP", s, s, keepalived}},
		Start:     &start{s, s},
		Converges: []converge{{100, s, s}},
		Sizes:     []size{{"rsagent", 12 << 10, 12 << 10, 0.05, 4, true}, {"keepalived, VIP only", 12 << 10, 5 << 10, 1, 1, false}},
		Storm:     &storm{50_000, time.Second, s, held{12 << 10, 24, 13}, 14 << 10, held{13 << 10, 24, 12}},
		Endpoint: &endpoint{
			contest{answering{10000, 1, time.Microsecond, 1}, answering{10000, 1, time.Microsecond, 1}, 1, 0.85},
			contest{answering{10000, 9, time.Microsecond, 1}, answering{10000, 9, time.Microsecond, 1}, 1, 1},
			s, s, besieged,
		},
		Probed: &probed{s, s},
	}
}

func TestTheTableSaysWhichAimsAreMet(t *testing.T) {
	for _, c := range []struct {
		name string
		all  everything
		met  bool
		last string
	}{
		{"all missed", everything{Lab: slow()}, false, "0 of 13 aims are met."},
		{"all met", everything{Native: quick()}, true, "13 of 13 aims are met."},
		{"some met", everything{Native: quick(), Lab: slow()}, false, "13 of 26 aims are met."},
	} {
		table := c.all.table()
		if c.all.met() != c.met || !strings.HasSuffix(table, "\n"+c.last+"\n") {
			t.Errorf("%s: met is %v, and the table ends otherwise than with %q:\n%s", c.name, c.all.met(), c.last, table)
		}
		for line := range strings.Lines(table) {
			if len(strings.TrimRight(line, "\n")) > 80 {
				t.Errorf("%s: a line has %d columns: %s", c.name, len(line)-1, line)
			}
		}
	}
}
