package ruleset

import (
	"bytes"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// Flags of sets and elements that golang.org/x/sys lacks:
// include/uapi/linux/netfilter/nf_tables.h.
const (
	setConcat       = 0x80 // NFT_SET_CONCAT
	elementCatchAll = 2    // NFT_SET_ELEM_CATCHALL

	setObjectType      = 15 // NFTA_SET_OBJ_TYPE
	setDescConcat      = 2  // NFTA_SET_DESC_CONCAT
	setFieldLength     = 1  // NFTA_SET_FIELD_LEN
	elementKeyEnd      = 10 // NFTA_SET_ELEM_KEY_END
	elementExpressions = 11 // NFTA_SET_ELEM_EXPRESSIONS
)

// set is a set or a map. Its elements are read when a packet first asks for
// one: most sets are never asked.
type set struct {
	table      *table
	name       string
	flags      uint32
	keyLength  int
	fields     []int // the lengths of the parts of a key, each without what fills it up
	objectKind uint32
	raw        [][]byte // lists of elements as the kernel told

	once     sync.Once
	elements []element
	others   *element         // what any other key finds
	exact    map[string]int32 // elements by key, of a set without intervals
	unread   error
}

// element is one of a set: keys from low to high, both included.
type element struct {
	low, high []byte
	data      []byte
	verdict   *verdict
	object    string
	unsure    bool // it has a limit, or the like, of its own
	end       bool // no element: the first key behind one
}

func (s *set) intervals() bool { return s.flags&unix.NFT_SET_INTERVAL != 0 }

// found is what a lookup in a set comes to.
type found struct {
	there truth
	of    []*element // each that it may be
}

// index reads the elements.
func (s *set) index() {
	count := 0
	for _, list := range s.raw {
		s.unread = each(list, func(uint16, []byte) error { count++; return nil })
		if s.unread != nil {
			return
		}
	}
	s.elements = make([]element, 0, count)
	for _, list := range s.raw {
		s.unread = each(list, func(_ uint16, value []byte) error {
			return s.add(value)
		})
		if s.unread != nil {
			return
		}
	}
	switch {
	case s.intervals() && s.flags&setConcat == 0:
		s.join()
	case !s.intervals():
		s.exact = make(map[string]int32, len(s.elements))
		for i := range s.elements {
			s.exact[string(s.elements[i].low)] = int32(i)
		}
	}
}

func (s *set) add(b []byte) error {
	e, flags, err := parseElement(b)
	switch {
	case err != nil:
		return err
	case flags&elementCatchAll != 0:
		s.others = &e
		return nil
	case len(e.low) != s.keyLength || e.high != nil && len(e.high) != s.keyLength:
		return errCut
	}
	e.end = flags&unix.NFT_SET_ELEM_INTERVAL_END != 0
	if e.high == nil {
		e.high = e.low
	}
	s.elements = append(s.elements, e)
	return nil
}

// join makes closed intervals of the keys where one begins or ends: the kernel
// finds the last of them that is not above the key asked for
// (nft_rbtree_lookup, net/netfilter/nft_set_rbtree.c).
func (s *set) join() {
	slices.SortStableFunc(s.elements, func(a, b element) int {
		if order := bytes.Compare(a.low, b.low); order != 0 || a.end == b.end {
			return order
		}
		if a.end {
			return -1
		}
		return 1
	})
	joined := s.elements[:0]
	for i, e := range s.elements {
		if e.end {
			continue
		}
		e.high = bytes.Repeat([]byte{0xff}, s.keyLength)
		if i+1 < len(s.elements) {
			e.high = before(s.elements[i+1].low)
		}
		joined = append(joined, e)
	}
	s.elements = joined
}

// before is the number before one that is not 0; 0 stays as it is.
func before(key []byte) []byte {
	b := bytes.Clone(key)
	for i := len(b) - 1; i >= 0; i-- {
		b[i]--
		if b[i] != 0xff {
			return b
		}
	}
	return key
}

// look looks a key up.
func (s *set) look(key unsureValue) found {
	s.once.Do(s.index)
	if s.unread != nil {
		return found{there: maybe}
	}
	f := s.among(key)
	if s.others != nil && f.there != yes {
		f.of = append(f.of, s.others)
		f.there = yes
	}
	if f.there == yes && slices.ContainsFunc(f.of, func(e *element) bool { return e.unsure }) {
		f.there = maybe
	}
	return f
}

func (s *set) among(key unsureValue) found {
	if key.whole() {
		switch {
		case s.exact != nil:
			i, ok := s.exact[string(key.value)]
			if !ok {
				return found{}
			}
			return found{yes, []*element{&s.elements[i]}}
		case s.flags&setConcat == 0:
			return s.search(key.value)
		}
	}
	var f found
	for i := range s.elements {
		switch s.holds(&s.elements[i], key) {
		case yes:
			return found{yes, []*element{&s.elements[i]}}
		case maybe:
			f.there = maybe
			f.of = append(f.of, &s.elements[i])
		}
	}
	return f
}

// search finds the interval of a key.
func (s *set) search(key []byte) found {
	i, exact := slices.BinarySearchFunc(s.elements, key, func(e element, key []byte) int {
		return bytes.Compare(e.low, key)
	})
	if !exact {
		i--
	}
	if i < 0 || bytes.Compare(key, s.elements[i].high) > 0 {
		return found{}
	}
	return found{yes, []*element{&s.elements[i]}}
}

func (s *set) holds(e *element, key unsureValue) truth {
	if !s.intervals() {
		return key.equal(e.low)
	}
	answer, at := yes, 0
	for _, length := range s.fields {
		part := unsureValue{key.value[at : at+length], key.known[at : at+length]}
		answer = answer.and(part.within(e.low[at:at+length], e.high[at:at+length]))
		at += padded(length)
	}
	return answer
}

func parseElement(b []byte) (e element, flags uint32, err error) {
	for len(b) > 0 {
		kind, value, rest, err := nextAttribute(b)
		if err != nil {
			return e, 0, err
		}
		b = rest
		switch kind {
		case unix.NFTA_SET_ELEM_KEY:
			e.low, _, err = parseData(value)
		case elementKeyEnd:
			e.high, _, err = parseData(value)
		case unix.NFTA_SET_ELEM_DATA:
			e.data, e.verdict, err = parseData(value)
		case unix.NFTA_SET_ELEM_FLAGS:
			var a attributes
			a.of[kind] = value
			if flags = a.number(kind); a.bad {
				err = errCut
			}
		case unix.NFTA_SET_ELEM_OBJREF:
			e.object = text(value)
		case unix.NFTA_SET_ELEM_EXPR:
			e.unsure = e.unsure || !harmless(value)
		case elementExpressions:
			err = each(value, func(_ uint16, value []byte) error {
				e.unsure = e.unsure || !harmless(value)
				return nil
			})
		}
		if err != nil {
			return e, 0, err
		}
	}
	return e, flags, nil
}

// harmless tells an expression of an element that lets every packet on.
func harmless(b []byte) bool {
	a, err := parseAttributes(b)
	if err != nil {
		return false
	}
	name := a.name(unix.NFTA_EXPR_NAME)
	return name == "counter" || name == "last"
}

// parseData reads a value or a verdict.
func parseData(b []byte) (value []byte, v *verdict, err error) {
	err = each(b, func(kind uint16, b []byte) error {
		switch kind {
		case unix.NFTA_DATA_VALUE:
			value = b
		case unix.NFTA_DATA_VERDICT:
			parsed, err := parseVerdict(b)
			v = &parsed
			return err
		}
		return nil
	})
	return value, v, err
}

func parseVerdict(b []byte) (verdict, error) {
	a, err := parseAttributes(b)
	if err != nil {
		return verdict{}, err
	}
	code := int32(a.number(unix.NFTA_VERDICT_CODE))
	if a.bad {
		return verdict{}, errCut
	}
	to := a.name(unix.NFTA_VERDICT_CHAIN)
	switch code {
	case unix.NFT_CONTINUE:
		return verdict{}, nil
	case unix.NFT_JUMP:
		return verdict{jumpTo, to}, nil
	case unix.NFT_GOTO:
		return verdict{goTo, to}, nil
	case unix.NFT_RETURN:
		return verdict{kind: goBack}, nil
	}
	const netfilterDrop, netfilterAccept = 0, 1
	switch code {
	case netfilterDrop:
		return verdict{kind: drop}, nil
	case netfilterAccept:
		return verdict{kind: accept}, nil
	}
	return verdict{kind: foreign}, nil
}
