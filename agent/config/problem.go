package config

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	// File is the file as it was named to Load or Parse; empty for a flag.
	File string
	// Line and Column count from 1; a column is a character, not a byte. Both
	// are 0 for a flag.
	Line, Column int
	// Key is the full name of the key, such as pool.http-pool.port; a flag
	// with its dashes; or empty when the text is no TOML.
	Key string
	// Found is what is there, and for a slip what may have been meant;
	// Expected is what should be there. Either may be empty when there is
	// nothing to say.
	Found, Expected string
}

// Problems is everything that is wrong with a configuration, in the order of
// the file. It is the error of Parse and FromFlags.
type Problems []Problem

// Error gives one line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// String gives the problem in one line:
//
//	rsagent.toml:3:9: pool.http-pool.port: found 70000, expected a port from 1 to 65535
func (p Problem) String() string {
	var parts []string
	if p.File != "" {
		parts = append(parts, fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column))
	}
	if p.Key != "" {
		parts = append(parts, p.Key)
	}
	var what []string
	if p.Found != "" {
		what = append(what, "found "+p.Found)
	}
	if p.Expected != "" {
		what = append(what, "expected "+p.Expected)
	}
	return strings.Join(append(parts, strings.Join(what, ", ")), ": ")
}

// OnlyVIPs tells whether nothing is wrong but that there is no VIP yet.
func (ps Problems) OnlyVIPs() bool {
	return len(ps) == 1 && ps[0].Key == "vips" && ps[0].Found == noVIP
}

// noVIP is what is found where VIPs should be.
const noVIP = "no VIP"

// nowhere is the place of what does not stand in a file.
const nowhere = -1

// problems collects what is wrong with one file, or with flags.
type problems struct {
	file   string
	source []byte
	starts []int // the byte at which each line starts
	noted  []noted
}

// noted is a problem whose place is still a byte of the file.
type noted struct {
	at int
	Problem
}

func newProblems(file string, source []byte) *problems {
	ps := &problems{file: file, source: source, starts: []int{0}}
	for at := 0; ; {
		n := bytes.IndexByte(source[at:], '\n')
		if n < 0 {
			return ps
		}
		at += n + 1
		ps.starts = append(ps.starts, at)
	}
}

func (ps *problems) note(at int, key, found, expected string) {
	ps.noted = append(ps.noted, noted{at, Problem{File: ps.file, Key: key, Found: found, Expected: expected}})
}

// line is the line of a byte, counted from 1.
func (ps *problems) line(at int) int {
	return sort.SearchInts(ps.starts, at+1)
}

// err gives the problems in the order of the file, or nil.
func (ps *problems) err() error {
	if len(ps.noted) == 0 {
		return nil
	}
	slices.SortStableFunc(ps.noted, func(a, b noted) int { return cmp.Compare(a.at, b.at) })
	all := make(Problems, len(ps.noted))
	// Columns are counted on from the problem before, so that a very long
	// line with many problems does not take for ever.
	from, column := 0, 1
	for i, n := range ps.noted {
		all[i] = n.Problem
		if n.at == nowhere {
			continue
		}
		line := ps.line(n.at)
		if start := ps.starts[line-1]; start > from {
			from, column = start, 1
		}
		column += utf8.RuneCount(ps.source[from:n.at])
		from = n.at
		all[i].Line, all[i].Column = line, column
	}
	return all
}
