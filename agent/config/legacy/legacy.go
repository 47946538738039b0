// Package legacy reads the three files by which nodes behind LVS-TUN were set
// up by hand: piranha's lvs.cf, sysctl.conf and ifcfg-tunl0. It makes one
// configuration of them, and names each line that has no place there.
package legacy

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Source is one old file.
type Source struct {
	Name string // as it was named, for messages
	Text []byte
}

// Note says what became of one line.
type Note struct {
	File string // as in Source
	Line int    // from 1
	Text string // what stands there, in short
	Why  string
}

// String gives the note in one line that can be a comment of TOML too:
//
//	lvs.cf:35: persistent = 600: what a director does ...
func (n Note) String() string {
	return fmt.Sprintf("%s:%d: %s: %s", n.File, n.Line, visible(n.Text), visible(n.Why))
}

// Problems is all that keeps files from being imported, in their order. It is
// the error of Import.
type Problems []Note

// Error gives one line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = "cannot import " + p.String()
	}
	return strings.Join(lines, "\n")
}

// Import makes a configuration of old files: its text, which config.Parse takes,
// and a note on each line that does not carry over, in the order of the files.
// The kind of a file is told by what stands in it. Nothing is left out without a
// note but comments, and what rsagent does in any case.
func Import(sources []Source) (toml []byte, left []Note, err error) {
	var d draft
	for _, s := range sources {
		in := input{name: s.Name, text: strings.TrimPrefix(string(s.Text), "\uFEFF"), draft: &d}
		switch kindOf(in.text, s.Name) {
		case lvsFile:
			in.takeLVS(in.parseLVS())
		case sysctlFile:
			in.takeSysctl(in.parseSysctl())
		case ifcfgFile:
			in.takeIfcfg(in.parseIfcfg())
		default:
			d.problem(s.Name, 1, "the whole file",
				"it is none of lvs.cf (virtual NAME { ... }), sysctl.conf (net.ipv4.KEY = VALUE) and ifcfg-tunl0 (DEVICE=tunl0)")
		}
	}
	return d.finish(sources)
}

// input is one file while it is read.
type input struct {
	name  string
	text  string
	draft *draft
}

func (in input) problem(line int, text, why string) { in.draft.problem(in.name, line, text, why) }
func (in input) leave(line int, text, why string)   { in.draft.leave(in.name, line, text, why) }

// eachLine calls f for every line, without the space around it.
func (in input) eachLine(f func(line int, text string)) {
	n := 0
	for text := range strings.Lines(in.text) {
		n++
		f(n, strings.TrimSpace(text))
	}
}

// longest is how many bytes of a line a message shows.
const longest = 120

// visible makes a text fit for one line of a terminal, or of a comment.
func visible(s string) string {
	if len(s) > 3*longest {
		s = s[:3*longest] + "..."
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == utf8.RuneError, r != ' ' && unicode.IsSpace(r):
			b.WriteByte(' ')
		case unicode.IsPrint(r):
			b.WriteRune(r)
		}
	}
	return strings.TrimSpace(b.String())
}

// cut shortens what a message shows of a line.
func cut(s string) string {
	if len(s) <= longest {
		return s
	}
	return strings.ToValidUTF8(s[:longest], "") + "..."
}
