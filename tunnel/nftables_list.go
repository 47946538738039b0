package tunnel

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// What the attributes of each list mean is in
// include/uapi/linux/netfilter/nf_tables.h.

// attributes calls visit for each attribute in b, and stops at an error.
func attributes(b []byte, visit func(kind uint16, value []byte) error) error {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return fmt.Errorf("the kernel's answer does not parse: %v", err)
	}
	for ad.Next() {
		if err := visit(ad.Type(), ad.Bytes()); err != nil {
			return err
		}
	}
	if err := ad.Err(); err != nil {
		return fmt.Errorf("the kernel's answer does not parse: %v", err)
	}
	return nil
}

func number32(value []byte) (uint32, error) {
	if len(value) != 4 {
		return 0, fmt.Errorf("the kernel's answer has a number of %d bytes, not 4", len(value))
	}
	return binary.BigEndian.Uint32(value), nil
}

func number64(value []byte) (uint64, error) {
	if len(value) != 8 {
		return 0, fmt.Errorf("the kernel's answer has a number of %d bytes, not 8", len(value))
	}
	return binary.BigEndian.Uint64(value), nil
}

func name(value []byte) string { return strings.TrimRight(string(value), "\x00") }

func nameAttribute(kind uint16, name string) netlink.Attribute {
	return netlink.Attribute{Type: kind, Data: append([]byte(name), 0)}
}

// tableFlags asks for the table itself. The error is ENOENT if it is not there.
func (s *nftSocket) tableFlags() (flags uint32, err error) {
	answers, err := s.ask(unix.NFT_MSG_GETTABLE, 0, nameAttribute(unix.NFTA_TABLE_NAME, tableName))
	if err != nil {
		return 0, err
	}
	return parseTableFlags(answers)
}

func parseTableFlags(answers []netlink.Message) (flags uint32, err error) {
	for _, m := range answers {
		err = attributes(m.Data, func(kind uint16, value []byte) error {
			if kind == unix.NFTA_TABLE_FLAGS {
				flags, err = number32(value)
			}
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	return flags, nil
}

// all asks for all of one kind of thing; the kernel may list those of other
// tables too.
func (s *nftSocket) all(request, tableAttribute uint16) ([]netlink.Message, error) {
	return s.ask(request, netlink.Dump, nameAttribute(tableAttribute, tableName))
}

// each calls add with the attributes of each thing that is in the table.
func each(answers []netlink.Message, tableAttribute uint16, add func(attrs map[uint16][]byte) error) error {
	for _, m := range answers {
		attrs := map[uint16][]byte{}
		err := attributes(m.Data, func(kind uint16, value []byte) error {
			attrs[kind] = value
			return nil
		})
		if err == nil && name(attrs[tableAttribute]) == tableName {
			err = add(attrs)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *nftSocket) chains() (map[string]chain, error) {
	answers, err := s.all(unix.NFT_MSG_GETCHAIN, unix.NFTA_CHAIN_TABLE)
	if err != nil {
		return nil, err
	}
	return parseChains(answers)
}

func parseChains(answers []netlink.Message) (map[string]chain, error) {
	chains := map[string]chain{}
	err := each(answers, unix.NFTA_CHAIN_TABLE, func(attrs map[uint16][]byte) error {
		c := chain{kind: name(attrs[unix.NFTA_CHAIN_TYPE])}
		var err error
		if policy, ok := attrs[unix.NFTA_CHAIN_POLICY]; ok {
			if c.policy, err = number32(policy); err != nil {
				return err
			}
		}
		err = attributes(attrs[unix.NFTA_CHAIN_HOOK], func(kind uint16, value []byte) error {
			if kind != unix.NFTA_HOOK_HOOKNUM && kind != unix.NFTA_HOOK_PRIORITY {
				return nil
			}
			number, err := number32(value)
			if kind == unix.NFTA_HOOK_HOOKNUM {
				c.hook = int32(number)
			} else {
				c.priority = int32(number)
			}
			return err
		})
		chains[name(attrs[unix.NFTA_CHAIN_NAME])] = c
		return err
	})
	return chains, err
}

// rules puts the rules into the chains, in their order.
func (s *nftSocket) rules(chains map[string]chain) error {
	answers, err := s.all(unix.NFT_MSG_GETRULE, unix.NFTA_RULE_TABLE)
	if err != nil {
		return err
	}
	return parseRules(answers, chains)
}

func parseRules(answers []netlink.Message, chains map[string]chain) error {
	return each(answers, unix.NFTA_RULE_TABLE, func(attrs map[uint16][]byte) error {
		var text string
		err := attributes(attrs[unix.NFTA_RULE_EXPRESSIONS], func(_ uint16, value []byte) error {
			t, err := expressionText(value)
			text += t
			return err
		})
		in := name(attrs[unix.NFTA_RULE_CHAIN])
		c := chains[in]
		c.rules = append(c.rules, text)
		chains[in] = c
		return err
	})
}

// expressionText is one expression as ruleText has it. One that rsagent's
// rules do not use is only named.
func expressionText(b []byte) (string, error) {
	var kind string
	var data []byte
	err := attributes(b, func(attribute uint16, value []byte) error {
		switch attribute {
		case unix.NFTA_EXPR_NAME:
			kind = name(value)
		case unix.NFTA_EXPR_DATA:
			data = value
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	known := map[string]expr.Any{
		"bitwise": &expr.Bitwise{},
		"cmp":     &expr.Cmp{},
		"exthdr":  &expr.Exthdr{},
		"lookup":  &expr.Lookup{},
		"meta":    &expr.Meta{},
		"objref":  &expr.Objref{},
		"payload": &expr.Payload{},
	}
	e := known[kind]
	if kind == "immediate" {
		value := &expr.Immediate{}
		e = value
		if err := expr.Unmarshal(unix.NFPROTO_IPV4, data, value); err == nil && value.Register == unix.NFT_REG_VERDICT {
			e = &expr.Verdict{}
		}
	}
	if e == nil {
		return "unknown " + kind + " ", nil
	}
	if err := expr.Unmarshal(unix.NFPROTO_IPV4, data, e); err != nil {
		return "", fmt.Errorf("the kernel's answer does not parse: %v", err)
	}
	return ruleText([]expr.Any{e}), nil
}

func (s *nftSocket) sets() (map[string]set, error) {
	answers, err := s.all(unix.NFT_MSG_GETSET, unix.NFTA_SET_TABLE)
	if err != nil {
		return nil, err
	}
	sets, err := parseSets(answers)
	if err != nil {
		return nil, err
	}
	for setName, found := range sets {
		if found.elements, err = s.elements(setName); err != nil {
			return nil, err
		}
		sets[setName] = found
	}
	return sets, nil
}

func parseSets(answers []netlink.Message) (map[string]set, error) {
	sets := map[string]set{}
	err := each(answers, unix.NFTA_SET_TABLE, func(attrs map[uint16][]byte) error {
		var found set
		var err error
		if flags, ok := attrs[unix.NFTA_SET_FLAGS]; ok { // left out if 0
			if found.flags, err = number32(flags); err != nil {
				return err
			}
		}
		found.keyLength, err = number32(attrs[unix.NFTA_SET_KEY_LEN])
		sets[name(attrs[unix.NFTA_SET_NAME])] = found
		return err
	})
	return sets, err
}

// elements is the sorted elements of a set.
func (s *nftSocket) elements(of string) ([]element, error) {
	answers, err := s.ask(unix.NFT_MSG_GETSETELEM, netlink.Dump,
		nameAttribute(unix.NFTA_SET_ELEM_LIST_TABLE, tableName), nameAttribute(unix.NFTA_SET_ELEM_LIST_SET, of))
	if err != nil {
		return nil, err
	}
	return parseElements(answers)
}

func parseElements(answers []netlink.Message) ([]element, error) {
	list := []element{}
	for _, m := range answers {
		err := attributes(m.Data, func(kind uint16, value []byte) error {
			if kind != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				return nil
			}
			return attributes(value, func(_ uint16, value []byte) error {
				e, err := parseElement(value)
				list = append(list, e)
				return err
			})
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(list, element.compare)
	return list, nil
}

// parseElement reads one element. Of a key with another length, in a set that
// is not rsagent's, it takes what there is room for.
func parseElement(b []byte) (e element, err error) {
	err = attributes(b, func(kind uint16, value []byte) error {
		switch kind {
		case unix.NFTA_SET_ELEM_FLAGS:
			e.flags, err = number32(value)
			return err
		case unix.NFTA_SET_ELEM_KEY:
			return attributes(value, func(_ uint16, value []byte) error {
				copy(e.key[:], value)
				return nil
			})
		}
		return nil
	})
	return e, err
}

// counters is the counters of the table by name. Any other object is listed
// under a name that no counter has.
func (s *nftSocket) counters() (map[string]Counter, error) {
	answers, err := s.all(unix.NFT_MSG_GETOBJ, unix.NFTA_OBJ_TABLE)
	if err != nil {
		return nil, err
	}
	return parseCounters(answers)
}

func parseCounters(answers []netlink.Message) (map[string]Counter, error) {
	counters := map[string]Counter{}
	err := each(answers, unix.NFTA_OBJ_TABLE, func(attrs map[uint16][]byte) error {
		kind, err := number32(attrs[unix.NFTA_OBJ_TYPE])
		if err != nil {
			return err
		}
		if kind != unix.NFT_OBJECT_COUNTER {
			counters[fmt.Sprintf("%s of type %d", name(attrs[unix.NFTA_OBJ_NAME]), kind)] = Counter{}
			return nil
		}
		var c Counter
		err = attributes(attrs[unix.NFTA_OBJ_DATA], func(kind uint16, value []byte) error {
			var err error
			switch kind {
			case unix.NFTA_COUNTER_PACKETS:
				c.Packets, err = number64(value)
			case unix.NFTA_COUNTER_BYTES:
				c.Bytes, err = number64(value)
			}
			return err
		})
		counters[name(attrs[unix.NFTA_OBJ_NAME])] = c
		return err
	})
	return counters, err
}
