package ruleset

import (
	"bytes"

	"golang.org/x/sys/unix"
)

// decode reads one expression. One that is not known, or has something about it
// that is not, is opaque: nothing is guessed.
func (t *table) decode(b []byte) expression {
	outer, err := parseAttributes(b)
	name := outer.name(unix.NFTA_EXPR_NAME)
	if err != nil {
		return opaque{name: "an expression that does not parse"}
	}
	a := outer.nested(unix.NFTA_EXPR_DATA)
	e := t.decodeAs(name, &a)
	if e == nil || a.bad || outer.bad {
		return opaque{name: "the expression " + name}
	}
	return e
}

// mostKnown is the highest attribute of each expression whose meaning is known:
// a newer kernel may give another one a say.
var mostKnown = map[string]uint16{
	"meta": 3, "payload": 8, "ct": 4, "cmp": 3, "range": 5, "bitwise": 9, "byteorder": 5,
	"immediate": 2, "lookup": 5, "fib": 3, "dynset": 10, "nat": 7, "masq": 3, "redir": 3, "objref": 5, "match": 3, "target": 3,
}

func (t *table) decodeAs(name string, a *attributes) expression {
	if most, ok := mostKnown[name]; ok && a.highest > most {
		return nil
	}
	switch name {
	case "counter", "last":
		return silent(name)
	case "log", "dup":
		return silent(name)
	case "notrack":
		return withdraw{}
	case "reject":
		return decision{kind: reject}
	case "queue", "tproxy", "synproxy", "fwd":
		return opaque{name, true}
	case "meta":
		return decodeMeta(a)
	case "ct":
		if t.family == familyBridge { // only some kernels track connections there
			return decodeCTOfBridge(a)
		}
		return decodeCT(a)
	case "fib":
		return loads(a, unix.NFTA_FIB_DREG)(fibValue(a.number(unix.NFTA_FIB_RESULT), a.number(unix.NFTA_FIB_FLAGS)))
	case "payload":
		return decodePayload(a)
	case "cmp", "range":
		return decodeCompare(name, a)
	case "bitwise":
		return decodeBitwise(a)
	case "byteorder":
		return decodeByteorder(a)
	case "immediate":
		return decodeImmediate(a)
	case "lookup":
		return t.decodeLookup(a)
	case "dynset":
		return t.decodeDynset(a)
	case "nat", "masq", "redir":
		return decodeNAT(name, a)
	case "objref":
		return decodeObject(a)
	case "exthdr":
		const exthdrSreg = 7 // NFTA_EXTHDR_SREG: it writes
		if a.has(exthdrSreg) {
			return silent("tcp option set")
		}
	case "match":
		return decodeMatch(a.name(unix.NFTA_MATCH_NAME), a.number(unix.NFTA_MATCH_REV), a.of[unix.NFTA_MATCH_INFO])
	case "target":
		return decodeTarget(a.name(unix.NFTA_TARGET_NAME), a.number(unix.NFTA_TARGET_REV), a.of[unix.NFTA_TARGET_INFO])
	}
	return nil
}

// loads makes an expression that loads into the register of an attribute.
func loads(a *attributes, destination uint16) func(symbol, func(*run) (unsureValue, step)) expression {
	return func(s symbol, load func(*run) (unsureValue, step)) expression {
		to := register(a.number(destination))
		if load == nil || !fits(to, s.length) {
			return nil
		}
		return source{s, to, load}
	}
}

func decodeMeta(a *attributes) expression {
	key := a.number(unix.NFTA_META_KEY)
	if !a.has(unix.NFTA_META_SREG) {
		return loads(a, unix.NFTA_META_DREG)(metaValue(key))
	}
	from := register(a.number(unix.NFTA_META_SREG))
	switch {
	case key == unix.NFT_META_MARK && fits(from, 4):
		return keepMark{from: from}
	case key == unix.NFT_META_PRIORITY || key == unix.NFT_META_NFTRACE || key == unix.NFT_META_SECMARK:
		return silent("meta set")
	}
	return nil
}

func decodeCT(a *attributes) expression {
	key := a.number(unix.NFTA_CT_KEY)
	if !a.has(unix.NFTA_CT_SREG) {
		return loads(a, unix.NFTA_CT_DREG)(ctValue(key, uint32(first(a.of[unix.NFTA_CT_DIRECTION])), a.has(unix.NFTA_CT_DIRECTION)))
	}
	if from := register(a.number(unix.NFTA_CT_SREG)); key == unix.NFT_CT_MARK && fits(from, 4) {
		return keepMark{from, true}
	}
	return silent("ct set")
}

// decodeCTOfBridge knows nothing of what it loads: that is nothing, unless the
// kernel has nf_conntrack_bridge.
func decodeCTOfBridge(a *attributes) expression {
	if a.has(unix.NFTA_CT_SREG) {
		return silent("ct set")
	}
	return opaque{name: "what bridges know of connections"}
}

func first(b []byte) byte {
	if len(b) == 0 {
		return 0
	}
	return b[0]
}

// etherTypeAt is where the type stands in the header of Ethernet. A packet that is
// followed has no tag of a VLAN: its link has taken it off.
const etherTypeAt = 12

func decodePayload(a *attributes) expression {
	base, at, length := a.number(unix.NFTA_PAYLOAD_BASE), int(a.number(unix.NFTA_PAYLOAD_OFFSET)), int(a.number(unix.NFTA_PAYLOAD_LEN))
	if base == unix.NFT_PAYLOAD_TRANSPORT_HEADER {
		at += networkHeader
	}
	known := base == unix.NFT_PAYLOAD_NETWORK_HEADER || base == unix.NFT_PAYLOAD_TRANSPORT_HEADER
	if at < 0 || at > 1<<16 {
		return nil
	}
	if a.has(unix.NFTA_PAYLOAD_SREG) {
		from := register(a.number(unix.NFTA_PAYLOAD_SREG))
		if !known || !fits(from, length) {
			return nil
		}
		return mangle{from, at, length}
	}
	to := register(a.number(unix.NFTA_PAYLOAD_DREG))
	if !fits(to, length) {
		return nil
	}
	if base == unix.NFT_PAYLOAD_LL_HEADER && at == etherTypeAt && length == 2 {
		return source{symbol{"ether type", 2, nil, nil}, to, constant(0x08, 0x00)}
	}
	if !known {
		return blur{"the link's header, or an inner one,", to, length}
	}
	return source{fieldSymbol(at, length), to, func(r *run) (unsureValue, step) {
		return r.headers.load(at, length), goOn
	}}
}

func fieldSymbol(at, length int) symbol {
	s := symbol{name: "payload", length: length}
	for _, f := range []struct {
		at, length int
		name       string
		show       func([]byte) string
	}{
		{9, 1, "ip protocol", showNumber}, {12, 4, "ip saddr", showAddress}, {16, 4, "ip daddr", showAddress},
		{8, 1, "ip ttl", showNumber}, {1, 1, "ip dscp/ecn", nil}, {2, 2, "ip length", showNumber},
		{networkHeader, 2, "th sport", showNumber}, {networkHeader + 2, 2, "th dport", showNumber}, {networkHeader + 13, 1, "tcp flags", nil},
	} {
		if f.at == at && length <= f.length {
			s.name, s.show, s.length = f.name, f.show, f.length
		}
	}
	return s
}

func decodeCompare(name string, a *attributes) expression {
	c := compare{from: register(a.number(1)), op: a.number(2)} // SREG and OP of both
	var err error
	if name == "cmp" {
		c.a, _, err = parseData(a.of[unix.NFTA_CMP_DATA])
	} else {
		if c.op > 1 {
			return nil
		}
		c.op += opRange
		c.a, _, err = parseData(a.of[unix.NFTA_RANGE_FROM_DATA])
		if err == nil {
			c.b, _, err = parseData(a.of[unix.NFTA_RANGE_TO_DATA])
		}
		if len(c.a) != len(c.b) {
			return nil
		}
	}
	if err != nil || !fits(c.from, len(c.a)) {
		return nil
	}
	return c
}

func decodeBitwise(a *attributes) expression {
	const bitwiseOp, opMaskXor = 6, 0 // NFTA_BITWISE_OP, NFT_BITWISE_MASK_XOR
	from, to, length := register(a.number(unix.NFTA_BITWISE_SREG)), register(a.number(unix.NFTA_BITWISE_DREG)), int(a.number(unix.NFTA_BITWISE_LEN))
	if !fits(from, length) || !fits(to, length) {
		return nil
	}
	op := a.optional(bitwiseOp)
	if op != opMaskXor {
		return blur{"a shifted or joined value", to, length}
	}
	mask, _, err := parseData(a.of[unix.NFTA_BITWISE_MASK])
	flip, _, lost := parseData(a.of[unix.NFTA_BITWISE_XOR])
	if err != nil || lost != nil || len(mask) != length || len(flip) != length {
		return nil
	}
	return bitwise{from, to, mask, flip}
}

func decodeByteorder(a *attributes) expression {
	s := swap{
		register(a.number(unix.NFTA_BYTEORDER_SREG)), register(a.number(unix.NFTA_BYTEORDER_DREG)),
		int(a.number(unix.NFTA_BYTEORDER_LEN)), int(a.number(unix.NFTA_BYTEORDER_SIZE)),
	}
	if !fits(s.from, s.length) || !fits(s.to, s.length) || s.size != 2 && s.size != 4 && s.size != 8 {
		return nil
	}
	return s
}

func decodeImmediate(a *attributes) expression {
	value, v, err := parseData(a.of[unix.NFTA_IMMEDIATE_DATA])
	number := a.number(unix.NFTA_IMMEDIATE_DREG)
	switch to := register(number); {
	case err != nil:
		return nil
	case number == unix.NFT_REG_VERDICT && v != nil:
		return decision(*v)
	case fits(to, len(value)):
		return immediate{to, value}
	}
	return nil
}

func (t *table) decodeLookup(a *attributes) expression {
	in := t.sets[a.name(unix.NFTA_LOOKUP_SET)]
	from := register(a.number(unix.NFTA_LOOKUP_SREG))
	if in == nil || !fits(from, in.keyLength) {
		return nil
	}
	l := lookup{in: in, from: from, to: -1, inverted: a.optional(unix.NFTA_LOOKUP_FLAGS)&1 != 0}
	if a.has(unix.NFTA_LOOKUP_DREG) {
		number := a.number(unix.NFTA_LOOKUP_DREG)
		if l.to = register(number); number == unix.NFT_REG_VERDICT {
			l.to = -2
		} else if l.to < 0 {
			return nil
		}
	}
	return l
}

func (t *table) decodeDynset(a *attributes) expression {
	in := t.sets[a.name(unix.NFTA_DYNSET_SET_NAME)]
	if in == nil {
		return nil
	}
	const several = 10 // NFTA_DYNSET_EXPRESSIONS
	e := remember{in: in}
	if one := a.of[unix.NFTA_DYNSET_EXPR]; one != nil {
		e.unsure = !harmless(one)
	}
	err := each(a.of[several], func(_ uint16, b []byte) error {
		e.unsure = e.unsure || !harmless(b)
		return nil
	})
	if err != nil {
		return nil
	}
	return e
}

func decodeNAT(name string, a *attributes) expression {
	optional := func(kind uint16) int {
		if !a.has(kind) {
			return -1
		}
		at := register(a.number(kind))
		if !fits(at, 4) {
			a.bad = true
		}
		return at
	}
	switch name {
	case "masq":
		return translate{"masquerade", -1, optional(unix.NFTA_MASQ_REG_PROTO_MIN), true}
	case "redir":
		return translate{"redirect", -1, optional(unix.NFTA_REDIR_REG_PROTO_MIN), false}
	}
	t := translate{"dnat", optional(unix.NFTA_NAT_REG_ADDR_MIN), optional(unix.NFTA_NAT_REG_PROTO_MIN), false}
	if a.number(unix.NFTA_NAT_FAMILY) != unix.NFPROTO_IPV4 {
		t.address = -1
	}
	if a.number(unix.NFTA_NAT_TYPE) == unix.NFT_NAT_SNAT {
		t.kind, t.source = "snat", true
	}
	return t
}

func decodeObject(a *attributes) expression {
	if !a.has(unix.NFTA_OBJREF_IMM_TYPE) {
		return nil
	}
	const counter, helper, timeout, secmark, expectation = 1, 3, 7, 8, 9 // NFT_OBJECT_
	switch a.number(unix.NFTA_OBJREF_IMM_TYPE) {
	case counter, helper, timeout, secmark, expectation:
		return silent("object " + a.name(unix.NFTA_OBJREF_IMM_NAME))
	}
	return nil
}

// zero tells a value of zeroes only.
func zero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }
