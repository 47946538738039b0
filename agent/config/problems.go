package config

import (
	"bytes"
	"cmp"
	"slices"
	"sort"
	"unicode/utf8"
)

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
