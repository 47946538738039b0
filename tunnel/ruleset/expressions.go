package ruleset

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// What the expressions do is in net/netfilter/nft_*.c, their attributes in
// include/uapi/linux/netfilter/nf_tables.h.

// opaque is an expression whose answer nobody can know beforehand. One that
// ends takes the packet out of the filter's hands.
type opaque struct {
	name string
	ends bool
}

func (o opaque) eval(r *run) step {
	r.what = o.name
	r.regs = registers{} // it may have loaded any of them
	if o.ends {
		r.verdict = verdict{kind: foreign}
		return decided
	}
	return unsure
}
func (o opaque) write(p *printer) { p.say(o.name) }

// silent lets every packet on.
type silent string

func (silent) eval(*run) step     { return goOn }
func (s silent) write(p *printer) { p.say(string(s)) }

// source loads what load says of the packet.
type source struct {
	symbol
	to   int
	load func(*run) (unsureValue, step)
}

func (s source) eval(r *run) step {
	v, answer := s.load(r)
	if answer == goOn || answer == unsure {
		r.regs.store(s.to, v)
	}
	if answer == unsure {
		return goOn // what is not known shows where it is compared
	}
	return answer
}
func (s source) write(p *printer) { p.load(s.to, s.symbol) }

// compare is cmp and range.
type compare struct {
	from int
	op   uint32
	a, b []byte // b of a range
}

const opRange = 100 // beside NFT_CMP_; NFT_RANGE_NEQ is the next

func (c compare) test(v unsureValue) truth {
	lowest, highest := make([]byte, len(c.a)), bytes.Repeat([]byte{0xff}, len(c.a))
	switch c.op {
	case unix.NFT_CMP_EQ:
		return v.equal(c.a)
	case unix.NFT_CMP_NEQ:
		return v.equal(c.a).not()
	case unix.NFT_CMP_LTE:
		return v.within(lowest, c.a)
	case unix.NFT_CMP_GT:
		return v.within(lowest, c.a).not()
	case unix.NFT_CMP_GTE:
		return v.within(c.a, highest)
	case unix.NFT_CMP_LT:
		return v.within(c.a, highest).not()
	case opRange:
		return v.within(c.a, c.b)
	case opRange + 1:
		return v.within(c.a, c.b).not()
	}
	return maybe
}

func (t truth) step() step { return [...]step{no: skip, yes: goOn, maybe: unsure}[t] }

func (c compare) eval(r *run) step { return c.test(r.regs.load(c.from, len(c.a))).step() }

func (c compare) write(p *printer) {
	s := p.symbol(c.from)
	if s.mask != nil && s.name == "ct state" && c.op == unix.NFT_CMP_NEQ {
		p.say(s.name + " " + showState(s.mask))
		return
	}
	op := map[uint32]string{unix.NFT_CMP_NEQ: "!= ", unix.NFT_CMP_LT: "< ", unix.NFT_CMP_LTE: "<= ", unix.NFT_CMP_GT: "> ", unix.NFT_CMP_GTE: ">= ", opRange + 1: "!= "}[c.op]
	value := s.show(c.a)
	if c.b != nil {
		value += "-" + s.show(c.b)
	}
	if s.mask != nil {
		if n, ok := prefixLength(s.mask); ok {
			value += fmt.Sprintf("/%d", n)
		} else {
			op = "& " + hex(s.mask) + " " + strings.Replace(op+"== ", "!= == ", "!= ", 1)
		}
	} else if len(c.a) < s.length && strings.HasSuffix(s.name, "addr") {
		value = showAddress(append(bytes.Clone(c.a), make([]byte, s.length-len(c.a))...)) + fmt.Sprintf("/%d", 8*len(c.a))
	}
	p.say(s.name + " " + op + value)
}

func prefixLength(mask []byte) (int, bool) {
	if len(mask) != 4 {
		return 0, false
	}
	n := binary.BigEndian.Uint32(mask)
	for length := range 33 {
		if n == uint32(uint64(0xffffffff00000000)>>length) {
			return length, true
		}
	}
	return 0, false
}

// bitwise is (from & mask) ^ flip.
type bitwise struct {
	from, to   int
	mask, flip []byte
}

func (b bitwise) eval(r *run) step {
	v := r.regs.load(b.from, len(b.mask))
	out := unknown(len(b.mask))
	for i := range b.mask {
		out.known[i] = v.known[i] | ^b.mask[i]
		out.value[i] = (v.value[i]&b.mask[i] ^ b.flip[i]) & out.known[i]
	}
	r.regs.store(b.to, out)
	return goOn
}

func (b bitwise) write(p *printer) {
	s := p.symbol(b.from)
	s.mask = b.mask
	p.load(b.to, s)
}

// blur makes a value of which nothing is known, of expressions that are not
// worked out.
type blur struct {
	name       string
	to, length int
}

func (b blur) eval(r *run) step { r.regs.store(b.to, unknown(b.length)); return goOn }
func (b blur) write(p *printer) { p.load(b.to, symbol{name: b.name, length: b.length}) }

// swap is byteorder: it turns around each part of a value.
type swap struct{ from, to, length, size int }

func (s swap) eval(r *run) step {
	v := r.regs.load(s.from, s.length)
	out := unsureValue{bytes.Clone(v.value), bytes.Clone(v.known)}
	if binary.NativeEndian.Uint16([]byte{0, 1}) != 1 {
		for at := 0; at+s.size <= s.length; at += s.size {
			slices.Reverse(out.value[at : at+s.size])
			slices.Reverse(out.known[at : at+s.size])
		}
	}
	r.regs.store(s.to, out)
	return goOn
}

func (s swap) write(p *printer) {
	n := p.symbol(s.from)
	n.show = showNumber
	p.load(s.to, n)
}

// immediate is a value.
type immediate struct {
	to    int
	value []byte
}

func (i immediate) eval(r *run) step { r.regs.store(i.to, sure(i.value...)); return goOn }
func (i immediate) write(p *printer) {
	p.load(i.to, symbol{name: hex(i.value), length: len(i.value)})
}

// decision is a verdict.
type decision verdict

func (d decision) eval(r *run) step {
	r.verdict = verdict(d)
	r.what = "a verdict that is not known"
	return decided
}
func (d decision) write(p *printer) { p.say(verdict(d).String()) }

// withdraw is notrack, which works before conntrack only.
type withdraw struct{}

func (withdraw) eval(r *run) step {
	if r.tracking == untold {
		r.tracking = untracked
	}
	return goOn
}
func (withdraw) write(p *printer) { p.say("notrack") }

// keepMark is meta mark set and ct mark set.
type keepMark struct {
	from int
	ct   bool
}

func (k keepMark) eval(r *run) step {
	v := wordOf(r.regs.load(k.from, 4))
	if k.ct {
		r.ctMark = v
	} else {
		r.mark = v
	}
	return goOn
}
func (k keepMark) write(p *printer) {
	p.say(map[bool]string{true: "ct", false: "meta"}[k.ct] + " mark set " + p.symbol(k.from).name)
}

// mangle writes to the packet.
type mangle struct{ from, at, length int }

func (m mangle) eval(r *run) step {
	v := r.regs.load(m.from, m.length)
	before := r.headers
	for i := range m.length {
		if at := m.at + i; at < headerBytes {
			r.headers.value[at], r.headers.known[at] = v.value[i], v.known[i]
		}
	}
	// Addresses, and ports of what has some, are what a packet is found by.
	end := networkHeader
	if transport(r.packet.Protocol) != "" {
		end += 4
	}
	if !bytes.Equal(before.value[12:end], r.headers.value[12:end]) || !bytes.Equal(before.known[12:end], r.headers.known[12:end]) {
		r.what, r.verdict = "another address or port", verdict{kind: rewrite}
		return decided
	}
	return goOn
}
func (m mangle) write(p *printer) {
	p.say(fmt.Sprintf("@nh,%d,%d set %s", 8*m.at, 8*m.length, p.symbol(m.from).name))
}

// translate is nat, masq and redir. Registers are -1 where it has none.
type translate struct {
	kind          string
	address, port int
	source        bool
}

func (t translate) eval(r *run) step {
	addrAt, portAt := 16, networkHeader+2
	if t.source {
		addrAt, portAt = 12, networkHeader
	}
	changes, to := no, ""
	if t.kind == "masquerade" || t.kind == "redirect" {
		changes = maybe
		to = "an address of the link"
	}
	if t.address >= 0 {
		v := r.regs.load(t.address, 4)
		changes = changes.or(v.equal(r.headers.value[addrAt : addrAt+4]).not())
		to = "an address"
		if v.whole() {
			to = showAddress(v.value)
		}
	}
	if t.port >= 0 && transport(r.packet.Protocol) != "" {
		v := r.regs.load(t.port, 2)
		now := unsureValue{r.headers.value[portAt : portAt+2], r.headers.known[portAt : portAt+2]}
		if now.whole() {
			changes = changes.or(v.equal(now.value).not())
		} else {
			changes = changes.or(maybe)
		}
		if v.whole() {
			to += ":" + showNumber(v.value)
		}
	}
	r.what, r.verdict = to, verdict{kind: accept}
	if changes != no {
		r.verdict.kind = rewrite
	}
	return decided
}
func (t translate) write(p *printer) {
	words := t.kind
	if t.address >= 0 {
		words += " to " + p.symbol(t.address).name
	}
	if t.port >= 0 {
		words += " to port " + p.symbol(t.port).name
	}
	p.say(words)
}
