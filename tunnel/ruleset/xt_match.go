package ruleset

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// What the matches of x_tables look like is in include/uapi/linux/netfilter/xt_*.h
// and ipt_*.h; numbers are in the machine's order but for addresses.

// match is one of x_tables.
type match struct {
	words string
	test  func(*run) truth
}

func (m match) eval(r *run) step { return m.test(r).step() }
func (m match) write(p *printer) { p.say(m.words) }

// decodeMatch reads a match. One that is not known is opaque.
func decodeMatch(name string, revision uint32, b []byte) expression {
	other := opaque{name: "-m " + name}
	least := map[string]int{
		"tcp": 12, "udp": 9, "multiport": 48, "conntrack": 152, "state": 4, "mark": 9, "connmark": 9, "addrtype": 8, "iprange": 65, "pkttype": 8,
		"ip": ebtIPBytes,
	}
	switch size, ok := least[name]; {
	case name == "comment":
		return silent("")
	case !ok || len(b) < size:
		return other
	}
	m := match{words: "-m " + name}
	switch {
	case name == "tcp" || name == "udp":
		return decodePorts(name, b)
	case name == "multiport" && revision == 1:
		return decodeMultiport(b)
	case name == "conntrack" && revision >= 1 && revision <= 3:
		if e := decodeConntrack(revision, b); e != nil {
			return e
		}
		return other
	case name == "state":
		m.words, m.test = "-m state --state "+trackNames(word32(b), 0x40), func(r *run) truth { return truthOf(word32(b)&r.trackBit(0x40) != 0) }
	case (name == "mark" || name == "connmark") && revision == 1:
		want, mask, inverted := word32(b), word32(b[4:]), b[8] != 0
		m.words = fmt.Sprintf("-m %s --mark 0x%x/0x%x", name, want, mask)
		m.test = func(r *run) truth {
			w := r.mark
			if name == "connmark" {
				if !r.connection() {
					return no
				}
				w = r.ctMark
			}
			return invert(w.masked(mask, 0).is(want), inverted)
		}
	case name == "addrtype" && revision == 1:
		return decodeAddrtype(b, other)
	case name == "ip":
		return decodeEbtIP(b, other)
	case name == "iprange" && revision == 1:
		return decodeIPRange(b)
	case name == "pkttype":
		want, inverted := word32(b), word32(b[4:]) != 0
		m.test = func(r *run) truth {
			if r.packet.leaves() {
				return maybe
			}
			return invert(truthOf(want == 0), inverted)
		}
	default:
		return other
	}
	return m
}

func word32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }
func word16(b []byte) uint16 { return binary.NativeEndian.Uint16(b) }

func invert(t truth, inverted bool) truth {
	if inverted {
		return t.not()
	}
	return t
}

// port compares a port of the packet to those from low to high.
func (r *run) port(at int, low, high uint16) truth {
	return r.headers.load(networkHeader+at, 2).within(binary.BigEndian.AppendUint16(nil, low), binary.BigEndian.AppendUint16(nil, high))
}

func decodePorts(name string, b []byte) expression {
	invAt := 8
	if name == "tcp" {
		invAt = 11
	}
	inv := b[invAt]
	sl, sh, dl, dh := word16(b), word16(b[2:]), word16(b[4:]), word16(b[6:])
	words := []string{"-m " + name}
	for _, p := range []struct {
		option    string
		low, high uint16
		inverted  bool
	}{{"--sport", sl, sh, inv&1 != 0}, {"--dport", dl, dh, inv&2 != 0}} {
		if p.low == 0 && p.high == 0xffff {
			continue
		}
		if p.inverted {
			words = append(words, "!")
		}
		words = append(words, p.option, portRange(p.low, p.high))
	}
	flags := name == "tcp" && (b[9] != 0 || b[10] != 0)
	option := name == "tcp" && b[8] != 0
	if flags {
		words = append(words, fmt.Sprintf("--tcp-flags 0x%x 0x%x", b[9], b[10]))
	}
	return match{strings.Join(words, " "), func(r *run) truth {
		t := invert(r.port(0, sl, sh), inv&1 != 0).and(invert(r.port(2, dl, dh), inv&2 != 0))
		if flags {
			v := r.headers.load(networkHeader+13, 1)
			v.value[0] &= b[9]
			v.known[0] |= ^b[9]
			t = t.and(invert(v.equal(b[10:11]), inv&4 != 0))
		}
		if option {
			t = t.and(maybe)
		}
		return t
	}}
}

func portRange(low, high uint16) string {
	if low == high {
		return fmt.Sprint(low)
	}
	return fmt.Sprintf("%d:%d", low, high)
}

func decodeMultiport(b []byte) expression {
	const ports = 15
	side, count := b[0], min(int(b[1]), ports)
	inverted := b[47] != 0
	type span struct{ low, high uint16 }
	var spans []span
	var words []string
	for i := 0; i < count; i++ {
		s := span{word16(b[2+2*i:]), word16(b[2+2*i:])}
		if b[32+i] != 0 && i+1 < count {
			i++
			s.high = word16(b[2+2*i:])
		}
		spans, words = append(spans, s), append(words, portRange(s.low, s.high))
	}
	option := map[byte]string{0: "--sports", 1: "--dports", 2: "--ports"}[side]
	return match{"-m multiport " + option + " " + strings.Join(words, ","), func(r *run) truth {
		t := no
		for _, s := range spans {
			if side != 1 {
				t = t.or(r.port(0, s.low, s.high))
			}
			if side != 0 {
				t = t.or(r.port(2, s.low, s.high))
			}
		}
		return invert(t, inverted)
	}}
}

// trackBit is the state of the packet as state and conntrack have it:
// XT_STATE_BIT, XT_CONNTRACK_STATE_BIT.
func (r *run) trackBit(untrackedBit uint32) uint32 {
	switch r.stateBits() {
	case stateUntracked:
		return untrackedBit
	case stateInvalid:
		return 1
	case stateEstablished:
		return 2
	case stateRelated:
		return 4
	}
	return 8
}

func trackNames(mask, untrackedBit uint32) string {
	var names []string
	for _, s := range []struct {
		bit  uint32
		name string
	}{{1, "INVALID"}, {8, "NEW"}, {4, "RELATED"}, {2, "ESTABLISHED"}, {untrackedBit, "UNTRACKED"}} {
		if mask&s.bit != 0 {
			names = append(names, s.name)
		}
	}
	return strings.Join(names, ",")
}

// decodeConntrack knows the state, the status and the direction.
func decodeConntrack(revision uint32, b []byte) expression {
	const stateFlag, statusFlag, directionFlag, alias = 0x1, 0x40, 0x1000, 0x2000
	const untrackedBit, natBits = 0x100, 0x40 | 0x80
	flags, inverted := word16(b[146:]), word16(b[148:])
	states, statuses := uint32(b[150]), uint32(b[151])
	if revision > 1 {
		if len(b) < 154 {
			return nil
		}
		states, statuses = uint32(word16(b[150:])), uint32(word16(b[152:]))
	}
	if flags&^(stateFlag|statusFlag|directionFlag|alias) != 0 {
		return nil
	}
	words := "-m conntrack"
	if flags&stateFlag != 0 {
		if inverted&stateFlag != 0 {
			words += " !"
		}
		words += " --ctstate " + trackNames(states, untrackedBit)
		if states&natBits != 0 {
			words += ",SNAT/DNAT"
		}
	}
	if flags&statusFlag != 0 {
		words += fmt.Sprintf(" --ctstatus 0x%x", statuses)
	}
	return match{words, func(r *run) truth {
		t := yes
		if flags&stateFlag != 0 {
			t = invert(truthOf(states&r.trackBit(untrackedBit) != 0), inverted&stateFlag != 0)
		}
		if !r.connection() {
			return t.and(truthOf(flags&stateFlag != 0))
		}
		if flags&directionFlag != 0 {
			original := !r.packet.leaves() || r.packet.State != Established
			t = t.and(invert(truthOf(original), inverted&directionFlag != 0))
		}
		if flags&statusFlag != 0 {
			some := r.status().any(statuses)
			if statuses == 0 {
				some = r.status().is(0)
			}
			t = t.and(invert(some, inverted&statusFlag != 0))
		}
		return t
	}}
}

func decodeAddrtype(b []byte, other opaque) expression {
	const invertSource, invertDest, interfaces = 1, 2, 4 | 8
	source, dest, flags := word16(b), word16(b[2:]), word32(b[4:])
	if flags&interfaces != 0 {
		return other
	}
	return match{fmt.Sprintf("-m addrtype 0x%x 0x%x", source, dest), func(r *run) truth {
		const unicast, local = 1 << 1, 1 << 2
		from, to := uint16(unicast), uint16(local)
		if r.packet.leaves() {
			from, to = to, from
		}
		t := yes
		if source != 0 {
			t = t.and(truthOf((source&from != 0) != (flags&invertSource != 0)))
		}
		if dest != 0 {
			t = t.and(truthOf((dest&to != 0) != (flags&invertDest != 0)))
		}
		return t
	}}
}

func decodeIPRange(b []byte) expression {
	const source, dest, notSource, notDest = 1, 2, 0x10, 0x20
	flags := b[64]
	words := "-m iprange"
	if flags&source != 0 {
		words += " --src-range " + showAddress(b[:4]) + "-" + showAddress(b[16:20])
	}
	if flags&dest != 0 {
		words += " --dst-range " + showAddress(b[32:36]) + "-" + showAddress(b[48:52])
	}
	return match{words, func(r *run) truth {
		t := yes
		if flags&source != 0 {
			t = t.and(invert(r.headers.load(12, 4).within(b[:4], b[16:20]), flags&notSource != 0))
		}
		if flags&dest != 0 {
			t = t.and(invert(r.headers.load(16, 4).within(b[32:36], b[48:52]), flags&notDest != 0))
		}
		return t
	}}
}
