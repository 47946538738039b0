package manual

import (
	"strings"

	"rsagent/agent/config"
)

// Configuration is rsagent.toml(5): every table and key as the example documents
// them.
func Configuration(tables []config.TableHelp, h Header) []byte {
	p := newPage("RSAGENT.TOML", "5", "File Formats", h)
	p.section("NAME")
	p.line(`rsagent.toml \- configuration of rsagent`)
	p.section("SYNOPSIS")
	p.line(italic(config.File))
	p.section("DESCRIPTION")
	p.paragraphs(`The configuration of one web node behind Linux Virtual Server in tunnelling mode: TOML, version 1.0. vips and directors alone make a whole file. Beside each key below stands its default, or in italics an example where it has none.

An unknown key, a wrong type and an impossible value are errors, and "rsagent config validate" names all of them with line and column. "systemctl reload rsagent" puts a changed file in force, and refuses a bad one: the old one stays in force then. Only mode, device and listen take a restart.

"rsagent config example" prints a file with every key, "rsagent config show" the one in use with every default.`)
	for _, t := range tables {
		name := t.Name
		if name == "" {
			name = "AT THE TOP"
		}
		p.section(name)
		if t.Name != "" && t.Text != "" {
			p.paragraphs(t.Text)
		}
		p.keys(t.Keys)
	}
	p.section("EXAMPLE")
	p.example(`vips      = ["203.0.113.10"]
directors = ["10.179.109.69", "10.179.119.61"]

[[pool]]
name  = "http-pool"
vip   = "203.0.113.10"
port  = 80
probe = { type = "http", path = "/", host = "www.example.org" }`)
	p.section("SEE ALSO")
	p.line(`\fBrsagent\fR(8), \fBsysctl\fR(8)`)
	return []byte(p.text.String())
}

// keys writes the keys of a table. Those that share a text stand above it.
func (p *page) keys(keys []config.KeyHelp) {
	begun := false
	for _, k := range keys {
		switch begun {
		case true:
			p.macro("TQ")
		case false:
			p.macro("TP")
		}
		term := bold(k.Name) + " = " + escape(k.Value)
		if k.Example {
			term = bold(k.Name) + " = " + italic(k.Value)
		}
		p.line(term)
		begun = k.Text == ""
		if !begun {
			p.filled(escape(sentence(k.Text)))
		}
	}
}

// sentence ends a text with a full stop.
func sentence(s string) string {
	s = strings.ToUpper(s[:1]) + s[1:]
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}
