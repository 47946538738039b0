package config

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// kind is the type of a TOML value.
type kind int

const (
	textKind kind = iota
	integerKind
	floatKind
	boolKind
	dateKind
	arrayKind
	tableKind
)

// value is one TOML value and the byte of the file at which it starts.
type value struct {
	kind  kind
	at    int
	text  string   // what a text says; what the file has for any other scalar
	items []*value // of an array
	table *table   // of a table
}

// entry is one key of a table with its value.
type entry struct {
	name  string
	at    int // the byte at which the key starts
	value *value
}

// table holds entries in the order of the file.
type table struct {
	entries []*entry
	byName  map[string]*entry
	how     origin
}

// origin is how a table came to be, which decides what may still be added to
// it (TOML 1.0, "Table" and "Keys").
type origin int

const (
	implied origin = iota // a step on the way to a longer [header]
	header                // its own [header], or the start of the file
	dotted                // a step of a dotted key
	closed                // { ... }
)

func newTable(how origin) *table {
	return &table{byName: map[string]*entry{}, how: how}
}

func (t *table) add(name string, at int, v *value) {
	e := &entry{name: name, at: at, value: v}
	t.entries = append(t.entries, e)
	t.byName[name] = e
}

// maxDepth is how many parts a dotted key or header may have.
const maxDepth = 32

// planter builds the tree of a file, expression by expression.
type planter struct {
	*problems
	source  []byte
	parser  unstable.Parser
	root    *table
	current *table // that of the last header; nil if the header was no good
	prefix  string // the last header's name
}

// plant parses TOML into a tree. What breaks TOML's rules on keys is noted and
// left out, and the rest goes on; a syntax error ends it, and ok is false.
func plant(source []byte, ps *problems) (root *table, ok bool) {
	root = newTable(header)
	p := planter{problems: ps, source: source, root: root, current: root}
	p.parser.Reset(source)
	for p.parser.NextExpression() {
		switch node := p.parser.Expression(); node.Kind {
		case unstable.Table, unstable.ArrayTable:
			p.header(node)
		case unstable.KeyValue:
			if p.current != nil {
				p.keyValue(p.current, p.prefix, node)
			}
		}
	}
	if err := p.parser.Error(); err != nil {
		p.syntax(err)
		return nil, false
	}
	return root, true
}

// header makes the table of a [header] or [[header]] the current one.
func (p *planter) header(node *unstable.Node) {
	parts := keyParts(node)
	p.prefix = joinKey(parts)
	p.current = nil
	last := parts[len(parts)-1]
	parent := p.descend(p.root, "", parts, implied)
	if parent == nil {
		return
	}
	at := p.headerStart(parts[0].at)
	old := parent.byName[last.name]
	if node.Kind == unstable.ArrayTable {
		p.current = p.element(parent, last.name, at, old)
		return
	}
	switch {
	case old == nil:
		p.current = newTable(header)
		parent.add(last.name, at, &value{kind: tableKind, at: at, table: p.current})
	case old.value.kind == tableKind && old.value.table.how == implied:
		p.current = old.value.table
		p.current.how = header
	case old.value.kind == tableKind && old.value.table.how == header:
		p.again(at, "table", p.prefix, old, "each table once")
		p.current = old.value.table
	case isArrayOfTables(old.value):
		p.again(at, "name", p.prefix, old, "[["+p.prefix+"]] here, too")
	default:
		p.again(at, "name", p.prefix, old, "one or the other")
	}
}

// element starts the next element of an array of tables.
func (p *planter) element(parent *table, name string, at int, old *entry) *table {
	t := newTable(header)
	v := &value{kind: tableKind, at: at, table: t}
	switch {
	case old == nil:
		parent.add(name, at, &value{kind: arrayKind, at: at, text: "[[", items: []*value{v}})
	case isArrayOfTables(old.value):
		old.value.items = append(old.value.items, v)
	default:
		p.again(at, "name", p.prefix, old, "one or the other")
		return nil
	}
	return t
}

// isArrayOfTables tells an array that [[headers]] made from one in brackets.
func isArrayOfTables(v *value) bool { return v.kind == arrayKind && v.text == "[[" }

// descend follows the parts of a key but the last, from a table on, and makes
// what is missing: implied tables for a header, dotted ones for a dotted key.
// It gives nil if there is no way.
func (p *planter) descend(t *table, prefix string, parts []part, missing origin) *table {
	if len(parts) > maxDepth {
		p.note(parts[0].at, "", fmt.Sprintf("a key of %d parts", len(parts)), fmt.Sprintf("at most %d", maxDepth))
		return nil
	}
	for i, step := range parts[:len(parts)-1] {
		old := t.byName[step.name]
		if old == nil {
			next := newTable(missing)
			t.add(step.name, step.at, &value{kind: tableKind, at: step.at, table: next})
			t = next
			continue
		}
		if t = missing.onward(old.value); t == nil {
			p.again(step.at, "name", under(prefix, joinKey(parts[:i+1])), old, "one or the other")
			return nil
		}
	}
	return t
}

// onward gives the table in which a key that makes tables of this origin goes
// on below a value, or nil: a dotted key keeps to what dotted keys made, a
// header goes on anywhere but in { ... }, and in the last of [[...]].
func (o origin) onward(v *value) *table {
	switch {
	case o == implied && isArrayOfTables(v):
		return v.items[len(v.items)-1].table
	case v.kind != tableKind:
		return nil
	case v.table.how == dotted, o == implied && v.table.how != closed:
		return v.table
	default:
		return nil
	}
}

// keyValue adds KEY = VALUE, whose key may be dotted, to a table.
func (p *planter) keyValue(t *table, prefix string, node *unstable.Node) {
	parts := keyParts(node)
	t = p.descend(t, prefix, parts, dotted)
	if t == nil {
		return
	}
	last := parts[len(parts)-1]
	name := under(prefix, joinKey(parts))
	if old := t.byName[last.name]; old != nil {
		expected := "each key once"
		if strings.HasPrefix(name, "sysctl.") {
			expected += " (in sysctl.conf the last one counts)"
		}
		p.again(last.at, "key", name, old, expected)
		return
	}
	t.add(last.name, parts[0].at, p.value(node.Value(), p.valueStart(last.end), name))
}

// value copies a value out of the parser, which reuses its nodes. An array
// does not know where it starts, so the caller says.
func (p *planter) value(node *unstable.Node, at int, name string) *value {
	if node.Raw.Length > 0 {
		at = int(node.Raw.Offset)
	}
	v := &value{kind: kindOf(node.Kind), at: at}
	switch node.Kind {
	case unstable.Array:
		for it := node.Children(); it.Next(); {
			v.items = append(v.items, p.value(it.Node(), at, name))
		}
	case unstable.InlineTable:
		// Dotted keys inside may add to it, nothing outside.
		v.table = newTable(closed)
		for it := node.Children(); it.Next(); {
			p.keyValue(v.table, name, it.Node())
		}
	default:
		v.text = string(node.Data)
	}
	return v
}

func kindOf(k unstable.Kind) kind {
	switch k {
	case unstable.String:
		return textKind
	case unstable.Integer:
		return integerKind
	case unstable.Float:
		return floatKind
	case unstable.Bool:
		return boolKind
	case unstable.Array:
		return arrayKind
	case unstable.InlineTable:
		return tableKind
	default:
		return dateKind
	}
}

// valueStart finds where the value starts after a key that ends at end.
func (p *planter) valueStart(end int) int {
	for end < len(p.source) && bytes.IndexByte([]byte(" \t="), p.source[end]) >= 0 {
		end++
	}
	return end
}

// headerStart finds the bracket before a header's first part.
func (p *planter) headerStart(at int) int {
	for bracket := at; bracket > 0 && bytes.IndexByte([]byte(" \t["), p.source[bracket-1]) >= 0; {
		bracket--
		if p.source[bracket] == '[' {
			at = bracket
		}
	}
	return at
}

// again notes that a name is taken.
func (p *planter) again(at int, what, name string, old *entry, expected string) {
	p.note(at, name, fmt.Sprintf("the same %s again (first on line %d)", what, p.line(old.at)), expected)
}

// syntax notes what ended the parser.
func (p *planter) syntax(err error) {
	perr, ok := err.(*unstable.ParserError)
	if !ok {
		p.note(0, "", fmt.Sprintf("text that is not TOML: %v", err), "")
		return
	}
	at := len(p.source)
	if n := len(perr.Highlight); n > 0 {
		at = int(p.parser.Range(perr.Highlight).Offset)
	}
	p.note(at, "", "text that is not TOML: "+perr.Message, p.instead(perr.Message, at))
}

// instead says what should stand where the parser ended with a message that
// does not; it is empty if there is nothing to add.
func (p *planter) instead(message string, at int) string {
	switch {
	case strings.HasPrefix(message, "array is incomplete"):
		return `a closing "]"`
	case strings.HasPrefix(message, "inline table is incomplete"):
		return `a closing "}"`
	case strings.Contains(message, "new lines"), strings.HasPrefix(message, "unterminated"):
		return "a closing quote"
	case p.afterEquals(at):
		return `a value: text stands in quotes (level = "info"), numbers, true and false do not`
	default:
		return ""
	}
}

// afterEquals tells whether a byte is in the value of its line.
func (p *planter) afterEquals(at int) bool {
	start := bytes.LastIndexByte(p.source[:at], '\n') + 1
	line := p.source[start:at]
	return bytes.IndexByte(line, '=') >= 0 && !bytes.ContainsAny(line, "\"'#")
}

// part is one part of a dotted key, and the bytes from at to end that hold it.
type part struct {
	name    string
	at, end int
}

func keyParts(node *unstable.Node) []part {
	var parts []part
	for it := node.Key(); it.Next(); {
		n := it.Node()
		at := int(n.Raw.Offset)
		parts = append(parts, part{name: string(n.Data), at: at, end: at + int(n.Raw.Length)})
	}
	return parts
}

// joinKey writes a dotted key as one would in the file.
func joinKey(parts []part) string {
	names := make([]string, len(parts))
	for i, p := range parts {
		names[i] = quoteKey(p.name)
	}
	return strings.Join(names, ".")
}

// under puts a table's name before a key's.
func under(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}
