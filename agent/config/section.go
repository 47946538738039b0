package config

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// section reads the keys of one table. A key that is missing has its default.
// One that is no good is noted and reads as its default, so that reading goes
// on to the next problem.
type section struct {
	*problems
	name  string // as in messages: "tunnel", "pool.http-pool"
	at    int    // where the table starts
	table *table
}

// full is the full name of a key.
func (s section) full(key string) string { return under(s.name, quoteKey(key)) }

// has tells whether the table has the key.
func (s section) has(key string) bool { return s.table.byName[key] != nil }

// bad notes what is wrong with the value of a key.
func (s section) bad(key string, e *entry, expected string) {
	s.note(e.value.at, s.full(key), describe(e.value), expected)
}

// scalar gives the value of a key if it is of the kind, and notes it if it is
// of another.
func (s section) scalar(key string, k kind, expected string) (*entry, bool) {
	e := s.table.byName[key]
	if e == nil {
		return nil, false
	}
	if e.value.kind != k {
		s.note(e.value.at, s.full(key), withKind(e.value), expected)
		return nil, false
	}
	return e, true
}

// text reads a text that good accepts.
func (s section) text(key, fallback, expected string, good func(string) bool) string {
	e, ok := s.scalar(key, textKind, expected)
	if !ok {
		return fallback
	}
	if !good(e.value.text) {
		s.bad(key, e, expected)
		return fallback
	}
	return e.value.text
}

// choice reads one of a few words. It is empty if another word stands there,
// so that nothing is concluded from the default.
func (s section) choice(key, fallback string, words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	expected := quoted[0]
	if last := len(quoted) - 1; last > 0 {
		expected = strings.Join(quoted[:last], ", ") + " or " + quoted[last]
	}
	if !s.has(key) {
		return fallback
	}
	return s.text(key, "", expected, func(w string) bool { return slices.Contains(words, w) })
}

func (s section) boolean(key string, fallback bool) bool {
	e, ok := s.scalar(key, boolKind, "true or false, without quotes")
	if !ok {
		return fallback
	}
	return e.value.text == "true"
}

// integer reads a whole number from low to high; what names it in the message.
func (s section) integer(key string, fallback, low, high int, what string) int {
	expected := fmt.Sprintf("%s from %d to %d", what, low, high)
	if e := s.table.byName[key]; e != nil && e.value.kind == textKind {
		expected += ", without quotes"
	}
	e, ok := s.scalar(key, integerKind, expected)
	if !ok {
		return fallback
	}
	n, err := strconv.ParseInt(e.value.text, 0, 64)
	if err != nil || n < int64(low) || n > int64(high) {
		s.bad(key, e, expected)
		return fallback
	}
	return int(n)
}

// count reads how often something must happen in a row.
func (s section) count(key string, fallback int) int {
	return s.integer(key, fallback, 1, 1000, "a whole number")
}

// duration reads a duration of at least low.
func (s section) duration(key string, fallback, low time.Duration) time.Duration {
	return s.durationWithin(key, fallback, low, math.MaxInt64)
}

// durationWithin reads a duration from low to high.
func (s section) durationWithin(key string, fallback, low, high time.Duration) time.Duration {
	example := fmt.Sprintf("a duration such as %q", shortDuration(cmp.Or(fallback, 30*time.Second)))
	e, ok := s.scalar(key, textKind, example)
	if !ok {
		return fallback
	}
	d, err := time.ParseDuration(e.value.text)
	switch {
	case err != nil:
		s.bad(key, e, example+", with its unit")
	case (d < low || d > high) && high < math.MaxInt64:
		s.bad(key, e, fmt.Sprintf("a duration from %q to %q", shortDuration(low), shortDuration(high)))
	case d < low && low > 0:
		s.bad(key, e, fmt.Sprintf("a duration of at least %q", shortDuration(low)))
	case d < low:
		s.bad(key, e, "a duration that is not below zero")
	default:
		return d
	}
	return fallback
}

// word is a text of a list, or the value of a flag, and where it stands.
type word struct {
	text string
	key  string // the full name, or the flag
	at   int    // nowhere for a flag
}

// words reads a list of texts.
func (s section) words(key, expected string) []word {
	e, ok := s.scalar(key, arrayKind, expected)
	if !ok {
		return nil
	}
	var all []word
	for _, item := range e.value.items {
		if item.kind != textKind {
			s.note(item.at, s.full(key), withKind(item)+" in the list", expected)
			continue
		}
		all = append(all, word{item.text, s.full(key), item.at})
	}
	return all
}

// prefixes reads a list of addresses and prefixes.
func (s section) prefixes(key string) []netip.Prefix {
	const expected = `a list of addresses or prefixes such as ["10.0.0.0/8", "192.0.2.7"]`
	var all []netip.Prefix
	for _, w := range s.words(key, expected) {
		if p, ok := s.prefix(w); ok {
			all = append(all, p)
		}
	}
	return all
}

// top reads one of the tables at the top of the file.
func (s section) top(key string) section { return s.sub(key, "["+key+"] and its keys below it") }

// sub reads the table that stands under a key; without one it is empty.
func (s section) sub(key, expected string) section {
	sub := section{s.problems, s.full(key), s.at, newTable(implied)}
	if e, ok := s.scalar(key, tableKind, expected); ok {
		sub.at, sub.table = e.value.at, e.value.table
	}
	return sub
}

// onlyKnown notes every key of the table that is not among those known.
func (s section) onlyKnown(known []string) {
	for _, e := range s.table.entries {
		if slices.Contains(known, e.name) {
			continue
		}
		if near := nearest(e.name, known); near != "" {
			s.note(e.at, s.full(e.name), "an unknown key, did you mean "+asWritten(near)+"?", "")
			continue
		}
		s.note(e.at, s.full(e.name), "an unknown key", instead(e.name, known))
	}
}

// asWritten shows a known key, with its brackets if it is that of a table.
func asWritten(key string) string {
	for _, table := range tables() {
		if table.name == "["+key+"]" || table.name == "[["+key+"]]" {
			return table.name
		}
	}
	return quote(key)
}

// instead says where an unknown key belongs, or what may stand in its place.
func instead(name string, known []string) string {
	for _, table := range tables() {
		if !slices.Contains(table.keys, name) {
			continue
		}
		if table.name == "" {
			return name + " at the top of the file, before the first [table]"
		}
		return name + " below " + table.name
	}
	return "one of " + strings.Join(known, ", ")
}

// describe shows a value as it stands in the file.
func describe(v *value) string {
	switch v.kind {
	case textKind:
		return short(v.text)
	case arrayKind:
		return "a list"
	case tableKind:
		return "a table"
	default:
		return cut(v.text)
	}
}

// withKind shows a value of the wrong kind.
func withKind(v *value) string {
	switch v.kind {
	case textKind:
		return "the text " + describe(v)
	case integerKind:
		return "the integer " + describe(v)
	case floatKind:
		return "the number " + describe(v)
	case boolKind:
		return "the boolean " + describe(v)
	case dateKind:
		return "the date or time " + describe(v)
	default:
		return describe(v)
	}
}

// shortDuration writes 5m for what time.Duration writes as 5m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-len("0s")]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-len("0m")]
	}
	return s
}

// nearest gives the one word that a name is most likely a slip of, or "".
func nearest(name string, words []string) string {
	best, least, tie := "", math.MaxInt, false
	for _, w := range words {
		switch n := distance(strings.ToLower(name), w); {
		case n < least:
			best, least, tie = w, n, false
		case n == least:
			tie = true
		}
	}
	if tie || least > max(1, len(best)/3) {
		return ""
	}
	return best
}

// distance counts the letters to insert, delete, replace or swap with their
// neighbour to make b of a (optimal string alignment).
func distance(a, b string) int {
	if len(a) > 2*len(b)+2 {
		return len(a)
	}
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
