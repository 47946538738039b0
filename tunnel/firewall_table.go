package tunnel

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// table is a table of nf_tables, without the handles and the order that the
// kernel chose.
type table struct {
	flags    uint32
	chains   map[string]chain
	sets     map[string]set
	counters []string // sorted names
}

type chain struct {
	kind           string // empty if no packet comes here by itself
	hook, priority int32
	policy         uint32
	rules          []string // expressions as text, see ruleText
}

type set struct {
	flags, keyLength uint32
	elements         []element // sorted
}

// element is a member of a set, or with a flag of NFT_SET_ELEM_ something else:
// the first address behind a range, or everything (include/uapi/linux/netfilter/nf_tables.h).
type element struct {
	key   [4]byte
	flags uint32
}

func (e element) compare(f element) int {
	if c := slices.Compare(e.key[:], f.key[:]); c != 0 {
		return c
	}
	return int(e.flags) - int(f.flags)
}

func (e element) String() string {
	text := netip.AddrFrom4(e.key).String()
	switch {
	case e.flags&setElemCatchAll != 0:
		return "*"
	case e.flags&unix.NFT_SET_ELEM_INTERVAL_END != 0:
		return "a range to below " + text
	}
	return text
}

// differences says in words how t differs from what is wanted.
func (t table) differences(want table) []string {
	var list []string
	if t.flags != want.flags {
		list = append(list, fmt.Sprintf("the table has the flags %#x (1: dormant)", t.flags))
	}
	list = append(list, strangers("chain", t.chains, want.chains)...)
	for _, name := range slices.Sorted(maps.Keys(want.chains)) {
		if got, ok := t.chains[name]; ok {
			list = append(list, got.differences(name, want.chains[name])...)
		}
	}
	list = append(list, strangers("set", t.sets, want.sets)...)
	for _, name := range slices.Sorted(maps.Keys(want.sets)) {
		if got, ok := t.sets[name]; ok {
			list = append(list, got.differences(name, want.sets[name])...)
		}
	}
	if !slices.Equal(t.counters, want.counters) {
		list = append(list, fmt.Sprintf("the counters are %q, not %q", t.counters, want.counters))
	}
	return list
}

// strangers names what is there and should not be, and what is not and should.
func strangers[V any](kind string, got, want map[string]V) []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if _, ok := got[name]; !ok {
			list = append(list, fmt.Sprintf("%s %s is not there", kind, name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[name]; !ok {
			list = append(list, fmt.Sprintf("%s %s is there", kind, name))
		}
	}
	return list
}

func (c chain) differences(name string, want chain) []string {
	if c.kind != want.kind || c.hook != want.hook || c.priority != want.priority {
		return []string{fmt.Sprintf("chain %s is elsewhere: type %q hook %d priority %d", name, c.kind, c.hook, c.priority)}
	}
	var list []string
	if c.policy != want.policy {
		list = append(list, fmt.Sprintf("chain %s does not let through what it does not name", name))
	}
	if len(c.rules) != len(want.rules) {
		return append(list, fmt.Sprintf("the number of rules in chain %s is %d, not %d", name, len(c.rules), len(want.rules)))
	}
	for i, r := range c.rules {
		if r != want.rules[i] {
			list = append(list, fmt.Sprintf("rule %d of chain %s is another one", i+1, name))
		}
	}
	return list
}

func (s set) differences(name string, want set) []string {
	var list []string
	if s.flags != want.flags || s.keyLength != want.keyLength {
		list = append(list, fmt.Sprintf("set %s is of another kind", name))
	}
	lacks, has := beyond(want.elements, s.elements), beyond(s.elements, want.elements)
	if len(lacks) > 0 {
		list = append(list, fmt.Sprintf("set %s lacks %s", name, some(lacks)))
	}
	if len(has) > 0 {
		list = append(list, fmt.Sprintf("set %s has %s", name, some(has)))
	}
	return list
}

// beyond is what a has and b has not; both are sorted.
func beyond(a, b []element) []element {
	var list []element
	for _, e := range a {
		for len(b) > 0 && b[0].compare(e) < 0 {
			b = b[1:]
		}
		if len(b) == 0 || b[0] != e {
			list = append(list, e)
		}
	}
	return list
}

// some names the first elements and the number of the others.
func some(list []element) string {
	if len(list) == 1 {
		return list[0].String()
	}
	return fmt.Sprintf("%s and %d more", list[0], len(list)-1)
}
