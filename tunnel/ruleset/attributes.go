package ruleset

import (
	"encoding/binary"
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// attributes is the attributes of a netlink message by their kind: struct
// nlattr of include/uapi/linux/netlink.h. Reading one that is of the wrong
// length, or not there, marks them as bad; a look for one that may be absent
// asks has first.
type attributes struct {
	of      [attributeKinds][]byte
	highest uint16 // the highest kind of all
	bad     bool
}

const attributeKinds = 32

var errCut = errors.New("the kernel's answer does not parse: an attribute ends too early")

// nextAttribute takes the first attribute off b.
func nextAttribute(b []byte) (kind uint16, value, rest []byte, err error) {
	if len(b) < unix.SizeofNlAttr {
		return 0, nil, nil, errCut
	}
	length := int(binary.NativeEndian.Uint16(b))
	kind = binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
	if length < unix.SizeofNlAttr || length > len(b) {
		return 0, nil, nil, errCut
	}
	aligned := (length + unix.NLA_ALIGNTO - 1) &^ (unix.NLA_ALIGNTO - 1)
	return kind, b[unix.SizeofNlAttr:length:length], b[min(aligned, len(b)):], nil
}

func parseAttributes(b []byte) (a attributes, err error) {
	for len(b) > 0 {
		kind, value, rest, err := nextAttribute(b)
		if err != nil {
			return a, err
		}
		b = rest
		a.highest = max(a.highest, kind)
		if kind < attributeKinds {
			a.of[kind] = value
		}
	}
	return a, nil
}

// nested is the attributes within one of a.
func (a *attributes) nested(kind uint16) attributes {
	n, err := parseAttributes(a.of[kind])
	if err != nil {
		a.bad = true
	}
	return n
}

func (a *attributes) has(kind uint16) bool { return a.of[kind] != nil }

// number is an attribute of 4 bytes, in network order as all of nf_tables.
func (a *attributes) number(kind uint16) uint32 {
	if len(a.of[kind]) != 4 {
		a.bad = true
		return 0
	}
	return binary.BigEndian.Uint32(a.of[kind])
}

// optional is a number that is 0 if it is not there.
func (a *attributes) optional(kind uint16) uint32 {
	if !a.has(kind) {
		return 0
	}
	return a.number(kind)
}

func (a *attributes) number64(kind uint16) uint64 {
	if len(a.of[kind]) != 8 {
		a.bad = true
		return 0
	}
	return binary.BigEndian.Uint64(a.of[kind])
}

func (a *attributes) name(kind uint16) string { return text(a.of[kind]) }

// text is a string that ends at its first zero byte.
func text(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

// each calls visit for every attribute in b.
func each(b []byte, visit func(kind uint16, value []byte) error) error {
	for len(b) > 0 {
		kind, value, rest, err := nextAttribute(b)
		if err != nil {
			return err
		}
		if err := visit(kind, value); err != nil {
			return err
		}
		b = rest
	}
	return nil
}
