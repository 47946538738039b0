package ruleset

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// registerBytes is the room of all registers, NFT_REG32_COUNT words.
const registerBytes = 64

// registers hold what a rule has loaded. Bits that known has are as in value;
// value is 0 elsewhere.
type registers struct {
	value, known [registerBytes]byte
	used         bool
}

func (r *registers) clear() {
	if r.used {
		*r = registers{}
	}
}

// register is the first byte of a register, -1 if it is none: nft_parse_register,
// net/netfilter/nf_tables_api.c.
func register(number uint32) int {
	switch {
	case number >= 1 && number <= 4:
		return int(number-1) * 16
	case number >= 8 && number < 8+registerBytes/4:
		return int(number-8) * 4
	}
	return -1
}

// fits tells that length bytes from a register are within the registers.
func fits(at, length int) bool {
	return at >= 0 && length > 0 && at+length <= registerBytes
}

// padded is length as the kernel fills it up with zeroes, to whole words.
func padded(length int) int { return (length + 3) &^ 3 }

func (r *registers) store(at int, b unsureValue) {
	r.used = true
	end := min(at+padded(len(b.value)), registerBytes)
	for i := at; i < end; i++ {
		r.value[i], r.known[i] = 0, 0xff
	}
	copy(r.value[at:], b.value)
	copy(r.known[at:], b.known)
}

func (r *registers) load(at, length int) unsureValue {
	return unsureValue{r.value[at : at+length], r.known[at : at+length]}
}

// unsureValue is a value of which not every bit is known: those that known has
// are as in value, and value is 0 elsewhere.
type unsureValue struct{ value, known []byte }

func sure(value ...byte) unsureValue {
	return unsureValue{value, bytes.Repeat([]byte{0xff}, len(value))}
}

func unknown(length int) unsureValue {
	return unsureValue{make([]byte, length), make([]byte, length)}
}

func sure32(n uint32) unsureValue { return sure(binary.NativeEndian.AppendUint32(nil, n)...) }

func sureName(name string) unsureValue {
	b := make([]byte, 16)
	copy(b[:15], name)
	return sure(b...)
}

func (b unsureValue) whole() bool {
	for _, k := range b.known {
		if k != 0xff {
			return false
		}
	}
	return true
}

// highest is the value with every bit set that is not known; value itself is
// the lowest.
func (b unsureValue) highest() []byte {
	high := make([]byte, len(b.value))
	for i := range high {
		high[i] = b.value[i] | ^b.known[i]
	}
	return high
}

// truth is an answer of which it may not be known what it is.
type truth uint8

const (
	no truth = iota
	yes
	maybe
)

func (t truth) not() truth {
	switch t {
	case no:
		return yes
	case yes:
		return no
	}
	return maybe
}

func (t truth) and(other truth) truth {
	switch {
	case t == no || other == no:
		return no
	case t == yes && other == yes:
		return yes
	}
	return maybe
}

func (t truth) or(other truth) truth { return t.not().and(other.not()).not() }

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

// equal compares b to as many bytes of want.
func (b unsureValue) equal(want []byte) truth {
	answer := yes
	for i := range b.value {
		if (b.value[i]^want[i])&b.known[i] != 0 {
			return no
		}
		if b.known[i] != 0xff {
			answer = maybe
		}
	}
	return answer
}

// within tells whether b is from low to high, both included, in network order.
func (b unsureValue) within(low, high []byte) truth {
	if b.whole() {
		return truthOf(bytes.Compare(b.value, low) >= 0 && bytes.Compare(b.value, high) <= 0)
	}
	if bytes.Equal(low, high) {
		return b.equal(low)
	}
	highest := b.highest()
	switch {
	case bytes.Compare(highest, low) < 0 || bytes.Compare(b.value, high) > 0:
		return no
	case bytes.Compare(b.value, low) >= 0 && bytes.Compare(highest, high) <= 0:
		return yes
	}
	return maybe
}

// word is a number in the machine's order of which not every bit is known.
type word struct{ value, known uint32 }

func sureWord(n uint32) word { return word{n, ^uint32(0)} }

func (w word) bytes() unsureValue {
	return unsureValue{binary.NativeEndian.AppendUint32(nil, w.value), binary.NativeEndian.AppendUint32(nil, w.known)}
}

func wordOf(b unsureValue) word {
	if len(b.value) < 4 {
		return word{}
	}
	return word{binary.NativeEndian.Uint32(b.value), binary.NativeEndian.Uint32(b.known)}
}

// masked is w&mask ^ flip.
func (w word) masked(mask, flip uint32) word {
	known := w.known | ^mask
	return word{(w.value&mask ^ flip) & known, known}
}

// xor flips the bits that are known of both.
func (w word) xor(other word) word {
	known := w.known & other.known
	return word{(w.value ^ other.value) & known, known}
}

// is compares w to want.
func (w word) is(want uint32) truth {
	if (w.value^want)&w.known != 0 {
		return no
	}
	if bits.OnesCount32(w.known) < 32 {
		return maybe
	}
	return yes
}

// any tells whether w has one bit at least of mask.
func (w word) any(mask uint32) truth {
	return w.masked(mask, 0).is(0).not()
}
