package legacy

import (
	"fmt"
	"regexp"
	"strings"
)

// block is { ... } of lvs.cf: the whole file, a virtual, a server or a failover.
type block struct {
	place
	kind, name string
	end        int // its last line
	settings   []setting
	blocks     []*block
}

// setting is one KEY = VALUE of lvs.cf.
type setting struct {
	place
	key, value string
}

// get gives the last setting with this key, or an empty one.
func (b *block) get(key string) setting {
	for i := len(b.settings) - 1; i >= 0; i-- {
		if b.settings[i].key == key {
			return b.settings[i]
		}
	}
	return setting{place: b.place}
}

// String names a block in a message.
func (b *block) String() string { return strings.TrimSpace(b.kind + " " + b.name) }

// lvsParser reads lvs.cf(5) of piranha.
type lvsParser struct {
	input
	open   []*block // those that are not closed yet, the file first
	header *block   // a block whose "{" is still to come
}

var blockHeader = regexp.MustCompile(`^(virtual|server|failover)(?:\s+([^={}]*?))?\s*(\{|$)`)

// parseLVS reads the whole file. Where a brace is missing it says so and goes on
// as if it were there.
func (in input) parseLVS() *block {
	p := &lvsParser{input: in, open: []*block{{place: place{file: in.name, line: 1}}}}
	last := 0
	in.eachLine(func(line int, text string) {
		last = line
		for rest := text; rest != "" && rest[0] != '#'; {
			rest = strings.TrimSpace(p.statement(line, text, rest))
		}
	})
	if p.header != nil {
		p.noBrace(p.header)
	}
	for _, b := range p.open[1:] {
		p.problem(b.line, b.text, fmt.Sprintf(`the "}" of %s is missing: the file ends on line %d`, b, last))
		b.end = last
	}
	return p.open[0]
}

func (p *lvsParser) noBrace(b *block) {
	p.problem(b.line, b.text, fmt.Sprintf(`expected a "{" after %s`, b))
	p.header = nil
}

// statement reads what a line has next, and returns the rest of it.
func (p *lvsParser) statement(line int, text, rest string) string {
	if p.header != nil {
		if rest[0] == '{' {
			p.push(p.header)
			return rest[1:]
		}
		h := p.header
		p.noBrace(h)
		p.push(h) // as if it were there
	}
	if rest[0] == '}' {
		p.close(line, text)
		return rest[1:]
	}
	if m := blockHeader.FindStringSubmatch(rest); m != nil {
		b := &block{place: place{p.name, line, cut(text)}, kind: m[1], name: strings.Trim(m[2], `" `)}
		p.begin(b)
		if m[3] == "{" {
			p.push(b)
		} else {
			p.header = b
		}
		return rest[len(m[0]):]
	}
	key, value, found := strings.Cut(rest, "=")
	if !found || strings.ContainsAny(key, "{}") {
		p.problem(line, text, `expected KEY = VALUE, "virtual NAME {", "server NAME {" or "}"`)
		return ""
	}
	return p.setting(line, text, key, strings.TrimSpace(value))
}

// begin sees to it that a block stands where it may.
func (p *lvsParser) begin(b *block) {
	for b.kind == "server" && p.top().kind == "server" || b.kind != "server" && p.top().kind != "" {
		p.problem(b.line, b.text, fmt.Sprintf(`the "}" of %s is missing: that begins on line %d`, p.top(), p.top().line))
		p.pop(b.line - 1)
	}
	if b.kind == "server" && p.top().kind == "" {
		p.problem(b.line, b.text, `a server outside a virtual: a "}" too many before it, or a "virtual NAME {" is missing`)
	}
}

func (p *lvsParser) top() *block { return p.open[len(p.open)-1] }

func (p *lvsParser) push(b *block) {
	p.header = nil
	p.top().blocks = append(p.top().blocks, b)
	p.open = append(p.open, b)
}

func (p *lvsParser) pop(line int) {
	p.top().end = line
	p.open = p.open[:len(p.open)-1]
}

func (p *lvsParser) close(line int, text string) {
	if len(p.open) == 1 {
		p.problem(line, text, `a "}" too many: nothing is open here`)
		return
	}
	p.pop(line)
}

// setting reads a value, in quotes or up to a comment or a brace. "serial no" and
// "serial_no" are the same key.
func (p *lvsParser) setting(line int, text, key, value string) (rest string) {
	s := setting{place: place{p.name, line, cut(text)}, key: strings.Join(strings.Fields(strings.ToLower(key)), "_")}
	if s.key == "" {
		p.problem(line, text, `expected a key before "="`)
		return ""
	}
	if value != "" && (value[0] == '"' || value[0] == '\'') {
		end := closingQuote(value)
		if end < 0 {
			p.problem(line, text, "a quote is never closed")
			return ""
		}
		s.value, rest = unescape(value[1:end]), value[end+1:]
	} else {
		end := len(value)
		for i := range len(value) {
			if value[i] == '}' || value[i] == '#' && i > 0 && (value[i-1] == ' ' || value[i-1] == '\t') {
				end = i
				break
			}
		}
		s.value, rest = strings.TrimSpace(value[:end]), value[end:]
	}
	p.top().settings = append(p.top().settings, s)
	return rest
}

// closingQuote is where a text in quotes ends, of the kind that it begins with, or -1.
func closingQuote(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case s[0]:
			return i
		}
	}
	return -1
}

var escapes = strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\r`, "\r", `\n`, "\n", `\t`, "\t")

// unescape reads what nanny(8) knows of backslashes.
func unescape(s string) string { return escapes.Replace(s) }
