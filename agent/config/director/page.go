package director

import (
	"fmt"
	"strings"
)

// page is a file in the making. In every format a line that begins with # is a
// comment.
type page struct {
	text     strings.Builder
	warnings []string
}

func (p *page) line(format string, args ...any) { fmt.Fprintf(&p.text, format+"\n", args...) }

// width is how long the lines of a comment are at most, where words allow it.
const width = 78

// comment writes a paragraph of its own.
func (p *page) comment(text string) {
	line := "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > width && line != "#" {
			p.line("%s", line)
			line = "#"
		}
		line += " " + word
	}
	p.line("%s", line)
}

func (p *page) warn(text string) {
	p.warnings = append(p.warnings, text)
	p.comment("WARNING: " + text + ".")
}

// head begins a file: what it is, and where it goes.
func (p *page) head(name, text string) {
	p.comment("For " + name + ", written by rsagent config director. " + text)
}

// start is head for a file with nodes in it.
func (p *page) start(s site, name, text string) {
	p.head(name, text)
	if s.alone {
		p.comment("This node alone is in it: --real gives the real servers, all of them.")
	}
	p.line("#")
}
