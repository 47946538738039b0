package path

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"rsagent/packet"
)

// matches tells whether a filter takes a packet, and whether that is known.
func (c classifier) matches(p []byte, tables map[uint32]bool) (hit, known bool) {
	switch {
	case c.foreign:
		return false, false
	case c.kind == "u32" && c.selector == nil:
		return false, true // a table of filters
	case c.kind == "u32" && (c.linked != 0 || tables[c.handle&0xfff00000]):
		return false, false
	case c.kind == "u32":
		return matchesU32(c.selector, p)
	case c.kind == "flower":
		return matchesFlower(c.keys, p)
	case c.kind == "bpf":
		return c.direct, c.direct
	}
	return true, true // matchall
}

// matchesU32 compares words from the network header on: u32_classify in
// net/sched/cls_u32.c.
func matchesU32(sel, p []byte) (hit, known bool) {
	if len(sel) < 16 || len(sel) < 16+16*int(sel[2]) {
		return false, false
	}
	for i := range int(sel[2]) {
		key := sel[16+16*i:]
		at, moves := int(int32(binary.NativeEndian.Uint32(key[8:]))), binary.NativeEndian.Uint32(key[12:])
		if moves != 0 || at < 0 {
			return false, false
		}
		if at+4 > len(p) {
			return false, true
		}
		if (binary.BigEndian.Uint32(p[at:])^binary.BigEndian.Uint32(key[4:]))&binary.BigEndian.Uint32(key) != 0 {
			return false, true
		}
	}
	return true, true
}

// matchesFlower understands the keys for addresses and protocols: the numbers
// are TCA_FLOWER_KEY_... in linux/pkt_cls.h.
func matchesFlower(keys map[uint16][]byte, p []byte) (hit, known bool) {
	h, ok := packet.Parse(p)
	if !ok {
		return false, false
	}
	under := func(field []byte, key, mask uint16) bool {
		for i, b := range keys[key] {
			m := byte(0xff)
			if i < len(keys[mask]) {
				m = keys[mask][i]
			}
			if i >= len(field) || (b^field[i])&m != 0 {
				return false
			}
		}
		return true
	}
	port := func(i int) []byte { return binary.BigEndian.AppendUint16(nil, h.Ports[i]) }
	for key, v := range keys {
		fits := true
		switch key {
		case 8:
			fits = len(v) == 2 && binary.BigEndian.Uint16(v) == protocolIP
		case 9:
			fits = len(v) == 1 && v[0] == h.Protocol
		case 10:
			fits = under(h.From.AsSlice(), 10, 11)
		case 12:
			fits = under(h.To.AsSlice(), 12, 13)
		case 18:
			fits = h.Protocol == unix.IPPROTO_TCP && under(port(0), 18, 35)
		case 19:
			fits = h.Protocol == unix.IPPROTO_TCP && under(port(1), 19, 36)
		case 11, 13, 35, 36:
		default:
			return false, false
		}
		if !fits {
			return false, true
		}
	}
	return true, true
}
