package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"rsagent/sysctl"
)

const wantSysctl = `a name such as "net.ipv4.tcp_fin_timeout"`

// set is one entry of [sysctl] while it is judged.
type set struct {
	Sysctl
	name  string // its full name in messages
	at    int    // where the key starts
	value *value
}

// sysctls reads [sysctl]. Settings that would break LVS-TUN are refused, but
// not those that this or that kernel may not take.
func (f *file) sysctls() []Sysctl {
	sets := map[sysctl.Key]set{}
	var all []Sysctl
	for _, s := range f.settings(f.top("sysctl"), nil) {
		var ok bool
		if s.Path, ok = f.sysctlPath(s); !ok {
			continue
		}
		if old, twice := sets[s.Path]; twice {
			f.note(s.at, s.name, fmt.Sprintf("the same key again (first on line %d)", f.line(old.at)),
				"each key once (in sysctl.conf the last one counts)")
			continue
		}
		sets[s.Path] = s
		all = append(all, s.Sysctl)
		if f.tunnel.Mode == ModeIPIP {
			f.harmless(s)
		}
	}
	if f.tunnel.Mode == ModeIPIP {
		f.looseEnough(sets)
	}
	return all
}

// settings lists the entries of a table in the order of the file. A key
// without quotes is a nest of tables to TOML, so tables are gone into.
func (f *file) settings(in section, before []string) []set {
	var all []set
	for _, e := range in.table.entries {
		names := append(slices.Clone(before), e.name)
		if len(names) > maxDepth {
			f.note(e.at, in.full(e.name), "a name of too many parts", wantSysctl)
			continue
		}
		if e.value.kind == tableKind {
			all = append(all, f.settings(section{f.problems, in.full(e.name), e.at, e.value.table}, names)...)
			continue
		}
		s := set{Sysctl{Key: joinSysctl(names)}, in.full(e.name), e.at, e.value}
		var ok bool
		if s.Value, ok = sysctlValue(e.value); !ok {
			f.note(e.value.at, s.name, withKind(e.value), `one line of text in quotes, or an integer`)
			continue
		}
		all = append(all, s)
	}
	slices.SortStableFunc(all, func(a, b set) int { return a.at - b.at })
	return all
}

// joinSysctl puts the parts of a key together so that sysctl(8) reads them
// apart again.
func joinSysctl(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	if slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, ".") }) {
		return strings.Join(names, "/")
	}
	return strings.Join(names, ".")
}

// sysctlValue gives the text that goes into the file under /proc/sys. The
// kernel's unsigned numbers go beyond TOML's integers, so digits stay as they
// are.
func sysctlValue(v *value) (string, bool) {
	switch v.kind {
	case textKind:
		return v.text, lineOfText(v.text)
	case integerKind:
		if n, err := strconv.ParseInt(v.text, 0, 64); err == nil {
			return strconv.FormatInt(n, 10), true
		}
		return v.text, strings.Trim(v.text, "0123456789") == ""
	default:
		return "", false
	}
}

var sysctlKey = regexp.MustCompile(`^[A-Za-z0-9_][^*?\[\]{}\s\pC]*$`)

// sysctlPath gives the setting that a key in sysctl(8)'s spelling names.
func (f *file) sysctlPath(s set) (sysctl.Key, bool) {
	if key, err := sysctl.ParseKey(s.Key); err == nil && sysctlKey.MatchString(s.Key) {
		return key, true
	}
	expected := wantSysctl
	switch {
	case strings.HasPrefix(s.Key, "/proc/sys/"):
		expected += ", without /proc/sys"
	case strings.HasPrefix(s.Key, "-"):
		expected += `, without "-": a key that the kernel lacks never stops the node`
	case strings.ContainsAny(s.Key, "*?[]{}"):
		expected += ", one key a line: patterns are not read here"
	}
	f.note(s.at, s.name, short(s.Key), expected)
	return "", false
}

// confKey takes a path apart that is set for each interface.
var confKey = regexp.MustCompile(`^net/ipv4/conf/([^/]+)/(arp_ignore|arp_announce|rp_filter)$`)

// harmless notes a setting that would break LVS-TUN. The kernel takes the
// highest of all and the interface's own for each of these
// (Documentation/networking/ip-sysctl.rst).
func (f *file) harmless(s set) {
	m := confKey.FindStringSubmatch(string(s.Path))
	if m == nil {
		return
	}
	iface, key := m[1], m[2]
	var allowed []string
	var expected string
	switch {
	case key == "arp_ignore" && iface == "all":
		// arp_ignore() in net/ipv4/arp.c: 3 keeps quiet for host scope only,
		// and any other value answers.
		allowed, expected = []string{"1", "2", "8"}, "1, 2 or 8: with any other the node answers ARP for the VIPs"
	case key == "arp_ignore":
		allowed, expected = []string{"0", "1", "2", "8"}, "0, 1, 2 or 8: with 3 to 7 the node answers ARP for the VIPs, whatever all.arp_ignore is"
	case key == "arp_announce" && iface == "all":
		allowed, expected = []string{"2"}, "2: below it the node announces the VIPs in its own ARP requests"
	case key == "arp_announce":
		allowed, expected = []string{"0", "1", "2"}, "0, 1 or 2"
	case iface == f.tunnel.Device:
		allowed, expected = []string{"0", "2"}, "0 or 2: strict reverse path filtering drops every packet out of the tunnel"
	default:
		return
	}
	if !slices.Contains(allowed, strings.TrimSpace(s.Value)) {
		f.note(s.value.at, s.name, describe(s.value), expected)
	}
}

// looseEnough notes a tunnel device without reverse path filtering that all
// brings back: the higher of the two counts.
func (f *file) looseEnough(sets map[sysctl.Key]set) {
	device := sets[sysctl.ConfKey(f.tunnel.Device, "rp_filter")]
	all, given := sets[sysctl.ConfKey("all", "rp_filter")]
	if !given || strings.TrimSpace(device.Value) != "0" || strings.TrimSpace(all.Value) == "0" {
		return
	}
	f.note(device.value.at, device.name, describe(device.value),
		fmt.Sprintf("2: all.rp_filter is %s on line %d, and the higher of the two counts", all.Value, f.line(all.at)))
}
