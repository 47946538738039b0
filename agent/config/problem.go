package config

import (
	"fmt"
	"strings"
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
	// Found is what is there and Expected what should be. Either may be
	// empty when there is nothing to say.
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
