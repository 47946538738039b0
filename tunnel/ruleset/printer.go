package ruleset

import (
	"fmt"
	"net/netip"
	"strings"
)

// printer puts the expressions of a rule into the words of nft or iptables.
type printer struct {
	words []string
	last  string // what the last expression is about
	names [registerBytes / 4]symbol
}

// symbol is what a register holds.
type symbol struct {
	name   string
	length int
	show   func([]byte) string
	mask   []byte
}

func (p *printer) say(words string) {
	p.last = words
	if words != "" {
		p.words = append(p.words, words)
	}
}

func (p *printer) load(at int, s symbol) {
	p.last = s.name
	p.names[at/4] = s
}

func (p *printer) symbol(at int) symbol {
	s := p.names[at/4]
	if s.name == "" {
		s.name = "a value"
	}
	if s.show == nil {
		s.show = hex
	}
	return s
}

func hex(b []byte) string { return fmt.Sprintf("0x%x", b) }

func showAddress(b []byte) string {
	if a, ok := netip.AddrFromSlice(b); ok {
		return a.String()
	}
	return hex(b)
}

// showNumber shows one in network order.
func showNumber(b []byte) string {
	if len(b) > 8 {
		return hex(b)
	}
	n := uint64(0)
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return fmt.Sprint(n)
}

func showName(b []byte) string {
	s := text(b)
	if len(s) == len(b) {
		s += "*"
	}
	return fmt.Sprintf("%q", s)
}

func showState(b []byte) string {
	var names []string
	n := wordOf(sure(b...)).value
	for _, s := range []struct {
		bit  uint32
		name string
	}{{1, "invalid"}, {2, "established"}, {4, "related"}, {8, "new"}, {64, "untracked"}} {
		if n&s.bit != 0 {
			names = append(names, s.name)
		}
	}
	return strings.Join(names, ",")
}

// text is the rule in words.
func (r rule) text() string {
	var p printer
	for _, e := range r.expressions {
		e.write(&p)
	}
	const most = 200
	s := strings.Join(p.words, " ")
	if len(s) > most {
		s = s[:most] + "..."
	}
	return s
}
