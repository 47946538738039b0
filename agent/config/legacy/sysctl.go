package legacy

import (
	"fmt"
	"strconv"
	"strings"

	"rsagent/sysctl"
)

// parseSysctl reads sysctl.conf(5).
func (in input) parseSysctl() []set {
	var sets []set
	in.eachLine(func(line int, text string) {
		switch l := sysctl.ParseLine(text); {
		case l.Kind == sysctl.LineExcludes:
			in.leave(line, text, "it takes keys out of a pattern, and patterns are not read here")
		case l.Kind == sysctl.LineWrong && l.Key == "":
			in.problem(line, text, `expected a key before "="`)
		case l.Kind == sysctl.LineWrong:
			in.problem(line, text, `expected KEY = VALUE; sysctl passes over such a line, so take it out if it is not meant`)
		case l.Kind == sysctl.LineSets:
			sets = append(sets, set{place{in.name, line, cut(text)}, l.Key, spaced(l.Value)})
		}
	})
	return sets
}

// spaced is a value with one space between its words, as the kernel reads it.
func spaced(value string) string { return strings.Join(strings.Fields(value), " ") }

// takeSysctl keeps what can be in force on a kernel of today. What would break
// LVS-TUN, and patterns, are left to config.Parse, whose reasons are better.
func (in input) takeSysctl(sets []set) {
	for _, s := range sets {
		switch key, _ := sysctl.ParseKey(s.key); {
		case s.value == "":
			in.leave(s.line, s.text, "it has no value")
		case key == "net/ipv4/tcp_tw_recycle":
			in.leave(s.line, s.text, "tcp_tw_recycle is gone since Linux 4.12, since it refused clients behind NAT; rsagent turns it off where there is one still")
		case key == "net/ipv4/ip_local_port_range" && wrongPorts(s.value) != "":
			in.leave(s.line, s.text, wrongPorts(s.value))
		default:
			in.draft.sets = append(in.draft.sets, s)
		}
	}
}

// wrongPorts says why the kernel refuses a range of ports (ipv4_local_port_range
// in net/ipv4/sysctl_net_ipv4.c), or nothing.
func wrongPorts(value string) string {
	words := strings.Fields(value)
	if len(words) != 2 {
		return "expected two ports"
	}
	for _, w := range words {
		n, err := strconv.Atoi(w)
		switch {
		case err != nil:
			return fmt.Sprintf("%q is no port", cut(w))
		case n < 1 || n > 65535:
			return fmt.Sprintf("%d is no port, ports end at 65535; the kernel refuses the whole line, so it was never in force: %s",
				n, `write "1024 65535" if that is what is wanted`)
		}
	}
	return ""
}

// lastCounts leaves out the settings that a later line sets again.
func (d *draft) lastCounts() {
	last := map[sysctl.Key]set{}
	for _, s := range d.sets {
		last[keyOf(s)] = s
	}
	var kept []set
	for _, s := range d.sets {
		l := last[keyOf(s)]
		if l.place == s.place {
			kept = append(kept, s)
			continue
		}
		where := fmt.Sprintf("line %d", l.line)
		if l.file != s.file {
			where = fmt.Sprintf("%s:%d", l.file, l.line)
		}
		d.leave(s.file, s.line, s.text, fmt.Sprintf("it is set again on %s, to %s, and the last one counts", where, cut(l.value)))
	}
	d.sets = kept
}

// keyOf is the setting that a line is for, however it is spelled.
func keyOf(s set) sysctl.Key {
	key, err := sysctl.ParseKey(s.key)
	if err != nil {
		return sysctl.Key(s.key)
	}
	return key
}
