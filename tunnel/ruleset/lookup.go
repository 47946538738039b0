package ruleset

import (
	"bytes"
	"slices"
	"strings"
)

// lookup looks up a key in a set, and for a map what it has for it.
type lookup struct {
	in       *set
	from, to int // to is -1 of a set, and -2 for verdicts
	inverted bool
}

func (l lookup) eval(r *run) step {
	f := l.in.look(r.regs.load(l.from, l.in.keyLength))
	if f.there == no && (r.touched == l.in || r.manyTouched) {
		f.there = maybe
	}
	if l.inverted {
		return f.there.not().step()
	}
	if f.there == no || l.to == -1 {
		return f.there.step()
	}
	if len(f.of) == 0 {
		r.what, r.verdict = "what is in the map "+l.in.name, verdict{kind: foreign}
		return decided
	}
	if l.to >= 0 {
		return l.data(r, f)
	}
	r.verdicts = r.verdicts[:0]
	for _, e := range f.of {
		v := verdict{kind: foreign}
		if e.verdict != nil {
			v = *e.verdict
		}
		if !slices.Contains(r.verdicts, v) {
			r.verdicts = append(r.verdicts, v)
		}
	}
	if f.there == yes && len(r.verdicts) == 1 {
		r.verdict = r.verdicts[0]
		return decided
	}
	return several
}

func (l lookup) data(r *run, f found) step {
	v := unknown(len(f.of[0].data))
	if len(f.of) == 1 {
		v = sure(f.of[0].data...)
	}
	if !fits(l.to, len(v.value)) {
		r.what, r.verdict = "what is in the map "+l.in.name, verdict{kind: foreign}
		return decided
	}
	r.regs.store(l.to, v)
	return f.there.step()
}

func (l lookup) write(p *printer) {
	var names []string
	var parts []symbol
	for at, left := l.from, l.in.fields; len(left) > 0 && at < registerBytes; left = left[1:] {
		s := p.symbol(at)
		parts, names = append(parts, s), append(names, s.name)
		at += padded(left[0])
	}
	words := strings.Join(names, " . ")
	switch {
	case l.inverted:
		words += " !="
	case l.to == -2:
		words += " vmap"
	case l.to >= 0:
		words += " map"
	}
	words += " " + l.in.show(parts)
	if l.to >= 0 {
		p.load(l.to, symbol{name: words})
		return
	}
	p.say(words)
}

// show is the set by its name, or some of the elements of one that has none.
func (s *set) show(parts []symbol) string {
	if !strings.HasPrefix(s.name, "__") {
		return "@" + s.name
	}
	s.once.Do(s.index)
	const most = 6
	var list []string
	for i := range s.elements[:min(len(s.elements), most)] {
		list = append(list, s.elements[i].show(s.fields, parts))
	}
	if len(s.elements) > most {
		list = append(list, "...")
	}
	return "{ " + strings.Join(list, ", ") + " }"
}

func (e *element) show(fields []int, parts []symbol) string {
	var words []string
	at := 0
	for i, length := range fields {
		if i >= len(parts) {
			break
		}
		low, high := e.low[at:at+length], e.high[at:at+length]
		word := parts[i].show(low)
		if !bytes.Equal(low, high) {
			word += "-" + parts[i].show(high)
		}
		words = append(words, word)
		at += padded(length)
	}
	s := strings.Join(words, " . ")
	if e.verdict != nil {
		s += " : " + e.verdict.String()
	}
	return s
}

// remember is dynset: it adds to a set, and goes on.
type remember struct {
	in     *set
	unsure bool // with a condition for each element
}

func (e remember) eval(r *run) step {
	r.manyTouched = r.manyTouched || r.touched != nil && r.touched != e.in
	r.touched = e.in
	if e.unsure {
		return unsure
	}
	return goOn
}
func (e remember) write(p *printer) { p.say("update @" + e.in.name) }
