// Package manual makes the man pages out of what the program itself has: its
// commands, the keys of its configuration, and its conditions.
package manual

import (
	"strings"
)

// page writes man(7), which groff and mandoc both take.
type page struct{ text strings.Builder }

// Header is what stands around every page.
type Header struct {
	Date    string // such as 2026-11-24
	Version string // as in rsagent version
}

func newPage(title, section, manual string, h Header) *page {
	p := &page{}
	p.text.WriteString(`.TH "` + title + `" "` + section + `" "` + h.Date + `" "rsagent ` + escape(h.Version) + `" "` + manual + "\"\n")
	return p
}

// macro writes a request with its arguments, each in quotes.
func (p *page) macro(name string, args ...string) {
	p.text.WriteString("." + name)
	for _, a := range args {
		p.text.WriteString(` "` + strings.ReplaceAll(escape(a), `"`, `\(dq`) + `"`)
	}
	p.text.WriteByte('\n')
}

func (p *page) section(title string)    { p.macro("SH", title) }
func (p *page) subsection(title string) { p.macro("SS", title) }

// columns is how long a line of the source is at most, where it can be broken.
const columns = 79

// filled writes roff that may be broken at any space.
func (p *page) filled(roff string) {
	line := ""
	for word := range strings.FieldsSeq(roff) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > columns:
			p.line(line)
			line = word
		default:
			line += " " + word
		}
	}
	p.line(line)
}

// line writes one line of text that is roff already.
func (p *page) line(roff string) {
	if strings.HasPrefix(roff, ".") || strings.HasPrefix(roff, "'") {
		roff = `\&` + roff
	}
	p.text.WriteString(roff + "\n")
}

// paragraphs writes text as programs print it: an empty line ends a paragraph.
func (p *page) paragraphs(text string) {
	for i, paragraph := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if i > 0 {
			p.macro("PP")
		}
		p.filled(escape(paragraph))
	}
}

// example writes lines as they are.
func (p *page) example(text string) {
	p.macro("EX")
	for line := range strings.Lines(text) {
		p.line(escape(strings.TrimRight(line, "\n")))
	}
	p.macro("EE")
}

// item writes a term and what is said of it.
func (p *page) item(term, text string) {
	p.macro("TP")
	p.line(term)
	p.filled(escape(text))
}

func bold(text string) string   { return `\fB` + escape(text) + `\fR` }
func italic(text string) string { return `\fI` + escape(text) + `\fR` }

// escape keeps a text from being read as roff. Each of these would come out as
// another character than the one that is to be typed.
var escape = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace
