package selinux

import (
	"encoding/hex"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The kernel numbers its messages where auditd has names: include/uapi/linux/audit.h.
var (
	refusal = regexp.MustCompile(`type=(?:1400|AVC) (?:msg=)?audit\((\d{1,12})\.(\d{3}):\d+\): avc: +denied +\{ ([^}]*) \} for +(.*)`)
	loading = regexp.MustCompile(`type=(?:1403|MAC_POLICY_LOAD) (?:msg=)?audit\((\d{1,12})\.(\d{3}):\d+\): `)
)

// inForce reads the lines of logs. What was refused before the policy was loaded
// that is in force, or before the given time, is left out: it may be allowed now.
func inForce(text string, since time.Time) []Denial {
	var list []Denial
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if m := loading.FindStringSubmatch(line); m != nil {
			if at := moment(m[1], m[2]); at.After(since) {
				since = at
			}
			continue
		}
		if m := refusal.FindStringSubmatch(line); m != nil {
			if d, real := denial(m); real {
				list = append(list, d)
			}
		}
	}
	list = slices.DeleteFunc(list, func(d Denial) bool { return d.At.Before(since) })
	slices.SortStableFunc(list, func(a, b Denial) int { return a.At.Compare(b.At) })
	return list
}

// moment is the time of a message, in seconds and milliseconds.
func moment(seconds, milli string) time.Time {
	s, _ := strconv.ParseInt(seconds, 10, 64)
	ms, _ := strconv.ParseInt(milli, 10, 64)
	return time.Unix(s, ms*int64(time.Millisecond))
}

// denial is what a message says. It is not real if the process was let do it all
// the same, since its domain is permissive.
func denial(m []string) (d Denial, real bool) {
	d.At, d.Permissions, real = moment(m[1], m[2]), strings.Fields(m[3]), true
	for word := range strings.FieldsSeq(m[4]) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "comm":
			d.Program = untrusted(value)
		case "src":
			if port, err := strconv.ParseUint(value, 10, 16); err == nil {
				d.Port = uint16(port)
			}
		case "kmod":
			d.Module = untrusted(value)
		case "scontext":
			d.Domain = typeOf(value)
		case "tcontext":
			d.Type = typeOf(value)
		case "tclass":
			d.Class = value
		case "permissive":
			real = value != "1"
		}
	}
	return d, real
}

// untrusted is a text that somebody else has chosen: in quotes, or in hexadecimal
// if there are characters in it that may not be there (audit_log_untrustedstring in
// kernel/audit.c).
func untrusted(value string) string {
	if quoted, ok := strings.CutPrefix(value, `"`); ok {
		return strings.TrimSuffix(quoted, `"`)
	}
	if text, err := hex.DecodeString(value); err == nil {
		return string(text)
	}
	return value
}

// typeOf is the third part of USER:ROLE:TYPE or USER:ROLE:TYPE:LEVEL.
func typeOf(context string) string {
	parts := strings.SplitN(context, ":", 4)
	if len(parts) < 3 {
		return ""
	}
	return parts[2]
}
