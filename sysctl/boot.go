package sysctl

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Assignment is a line of a file that sets a key, or all that a pattern matches.
type Assignment struct {
	File     string // below the root, with a slash before it
	Line     int    // from 1
	Key      Key    // may be a pattern: see Sets
	Value    string // as it is written
	Excludes bool   // it has no value: no pattern sets the key
}

// String gives the place.
func (a Assignment) String() string { return fmt.Sprintf("%s:%d", a.File, a.Line) }

func (a Assignment) pattern() bool { return strings.ContainsAny(string(a.Key), "*?[") }

// Sets tells whether the line is about a key. A pattern does not match a slash.
func (a Assignment) Sets(k Key) bool {
	if a.Key == k {
		return true
	}
	if !a.pattern() {
		return false
	}
	matches, err := path.Match(string(a.Key), string(k))
	return err == nil && matches
}

// Boot is what the files for systemd-sysctl.service(8) say.
type Boot struct {
	Read   []Assignment // those that count, in their order
	Unread []Unread     // those that do not
}

// Unread is a file that looks as if it should set something at boot, and does not.
type Unread struct {
	Assignments []Assignment
	Why         string // such as "whose name does not end in .conf"
}

// At returns the line by which a key is set at boot, if there is one: the last that
// has the key itself, or else the last pattern that matches it, unless a line keeps
// patterns from the key.
func (b Boot) At(k Key) (Assignment, bool) {
	for _, a := range slices.Backward(b.Read) {
		if a.Key == k {
			return a, !a.Excludes
		}
	}
	for _, a := range slices.Backward(b.Read) {
		if !a.Excludes && a.Sets(k) {
			return a, true
		}
	}
	return Assignment{}, false
}

// assignments are the lines of a file that set something.
func assignments(file, text string) []Assignment {
	var list []Assignment
	n := 0
	for line := range strings.Lines(text) {
		n++
		l := ParseLine(line)
		if l.Kind == LineSets || l.Kind == LineExcludes {
			list = append(list, Assignment{File: file, Line: n, Key: written(l.Key), Value: l.Value, Excludes: l.Kind == LineExcludes})
		}
	}
	return list
}

// written is the path that a key, or a pattern, stands for: the first separator
// decides, as in ParseKey.
func written(s string) Key {
	if i := strings.IndexAny(s, "./"); i >= 0 && s[i] == '.' {
		s = swapSeparators(s)
	}
	return Key(path.Clean(strings.Trim(s, "/")))
}
