package sysctl

import "strings"

// Line is what one line of a file says, as sysctl.conf(5) and sysctl.d(5) have it.
type Line struct {
	Kind  LineKind
	Key   string // as it is written; it may be a pattern
	Value string // of a line that sets something, without the space around it
}

// LineKind is what a line is there for.
type LineKind int

const (
	LineEmpty    LineKind = iota // nothing, or a comment
	LineSets                     // KEY = VALUE
	LineExcludes                 // -KEY: no pattern sets the key
	LineWrong                    // none of these, and passed over
)

// ParseLine reads a line: "#" and ";" are before comments, and "-" is before a key
// that may be missing.
func ParseLine(text string) Line {
	text = strings.TrimSpace(text)
	if text == "" || text[0] == '#' || text[0] == ';' {
		return Line{}
	}
	key, value, sets := strings.Cut(text, "=")
	key, dash := strings.CutPrefix(strings.TrimSpace(key), "-")
	l := Line{Key: strings.TrimSpace(key), Value: strings.TrimSpace(value)}
	switch {
	case l.Key == "" || !sets && !dash:
		l.Kind = LineWrong
	case sets:
		l.Kind = LineSets
	default:
		l.Kind = LineExcludes
	}
	return l
}
