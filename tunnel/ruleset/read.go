package ruleset

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// looks is how often the rules are listed again when they change meanwhile. The
// waits between add up to about half a second.
const looks = 10

// Read reads every rule that IPv4 packets can meet in the network namespace of
// the calling thread, and changes nothing. It takes CAP_NET_ADMIN, and
// CAP_NET_RAW where there are tables of ip_tables.
func Read() (*Ruleset, error) {
	r := &Ruleset{legacyTool: "iptables"}
	if _, err := exec.LookPath("iptables-legacy"); err == nil {
		r.legacyTool = "iptables-legacy"
	}
	var err error
	for look := range looks {
		time.Sleep(time.Duration(look*look) * 2 * time.Millisecond)
		if r.tables, err = readNFTables(); !errors.Is(err, errInterrupted) {
			break
		}
	}
	if err != nil && !errors.Is(err, errNoNFTables) {
		return nil, fmt.Errorf("cannot read the rules of nf_tables: %w", err)
	}
	legacy, err := readLegacy()
	if err != nil {
		return nil, fmt.Errorf("cannot read the rules of ip_tables: %w", err)
	}
	r.tables = append(r.tables, legacy...)
	return r, nil
}

func readNFTables() ([]*table, error) {
	c, err := converse()
	if err != nil {
		return nil, err
	}
	defer c.close()
	before, err := c.generation()
	if err != nil {
		return nil, err
	}
	tables, err := c.list()
	after, lost := c.generation()
	switch {
	case lost != nil:
		return nil, lost
	case before != after:
		return nil, errInterrupted
	}
	return tables, err
}

// generation is the number of the last change. A kernel without nf_tables does
// not know the request (nfnetlink_rcv_msg, net/netfilter/nfnetlink.c).
func (c *conversation) generation() (number uint32, err error) {
	err = c.ask(unix.NFT_MSG_GETGEN, 0, unix.NFPROTO_UNSPEC, nil, func(_ uint8, b []byte) error {
		a, err := parseAttributes(b)
		number = a.number(unix.NFTA_GEN_ID)
		return err
	})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return 0, errNoNFTables
	}
	return number, err
}

// tableKey finds a table.
type tableKey struct {
	family family
	name   string
}

func (c *conversation) list() ([]*table, error) {
	var tables []*table
	byKey := map[tableKey]*table{}
	const tableHandle, ownerAttribute = 4, 7 // NFTA_TABLE_HANDLE, NFTA_TABLE_OWNER
	for _, f := range []family{familyInet, familyIP, familyNetdev, familyBridge} {
		err := c.each(unix.NFT_MSG_GETTABLE, f, func(a *attributes) error {
			t := &table{
				family: f, name: a.name(unix.NFTA_TABLE_NAME), flags: a.optional(unix.NFTA_TABLE_FLAGS),
				owner: a.optional(ownerAttribute), chains: map[string]*chain{}, sets: map[string]*set{},
				handle: a.number64(tableHandle),
			}
			byKey[tableKey{f, t.name}] = t
			if t.flags&unix.NFT_TABLE_F_DORMANT == 0 {
				tables = append(tables, t)
			}
			return nil
		})
		if err == nil {
			err = c.contents(f, byKey)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, t := range tables {
		t.recognise()
	}
	return tables, nil
}

// each dumps what there is of one kind in a family.
func (c *conversation) each(kind uint16, f family, visit func(*attributes) error) error {
	return c.ask(kind, unix.NLM_F_DUMP, uint8(f), nil, func(got uint8, b []byte) error {
		if family(got) != f {
			return nil
		}
		a, err := parseAttributes(b)
		if err != nil {
			return err
		}
		if err := visit(&a); err != nil {
			return err
		}
		if a.bad {
			return errCut
		}
		return nil
	})
}

func (c *conversation) contents(f family, tables map[tableKey]*table) error {
	in := func(a *attributes) *table { return tables[tableKey{f, a.name(1)}] } // the attribute of all kinds
	err := c.each(unix.NFT_MSG_GETCHAIN, f, func(a *attributes) error {
		t := in(a)
		if t == nil {
			return errInterrupted
		}
		ch := &chain{table: t, name: a.name(unix.NFTA_CHAIN_NAME)}
		ch.base = parseBase(a, f, t.handle<<32|a.number64(unix.NFTA_CHAIN_HANDLE))
		t.chains[ch.name] = ch
		return nil
	})
	if err != nil {
		return err
	}
	var sets []*set
	err = c.each(unix.NFT_MSG_GETSET, f, func(a *attributes) error {
		t := in(a)
		if t == nil {
			return errInterrupted
		}
		s := parseSet(a, t)
		t.sets[s.name] = s
		sets = append(sets, s)
		return nil
	})
	for i := 0; i < len(sets) && err == nil; i++ {
		err = c.elements(f, sets[i])
	}
	if err != nil {
		return err
	}
	return c.each(unix.NFT_MSG_GETRULE, f, func(a *attributes) error {
		t := in(a)
		if t == nil || t.chains[a.name(unix.NFTA_RULE_CHAIN)] == nil {
			return errInterrupted
		}
		ch := t.chains[a.name(unix.NFTA_RULE_CHAIN)]
		r := rule{handle: a.number64(unix.NFTA_RULE_HANDLE), number: len(ch.rules) + 1}
		err := each(a.of[unix.NFTA_RULE_EXPRESSIONS], func(_ uint16, b []byte) error {
			r.expressions = append(r.expressions, t.decode(b))
			return nil
		})
		ch.rules = append(ch.rules, r)
		return err
	})
}

func (c *conversation) elements(f family, s *set) error {
	request := attribute(attribute(nil, unix.NFTA_SET_ELEM_LIST_TABLE, s.table.name), unix.NFTA_SET_ELEM_LIST_SET, s.name)
	err := c.ask(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, uint8(f), request, func(_ uint8, b []byte) error {
		a, err := parseAttributes(b)
		if list := a.of[unix.NFTA_SET_ELEM_LIST_ELEMENTS]; list != nil {
			s.raw = append(s.raw, list)
		}
		return err
	})
	if errors.Is(err, unix.ENOENT) {
		return errInterrupted
	}
	return err
}

func parseSet(a *attributes, t *table) *set {
	s := &set{
		table: t, name: a.name(unix.NFTA_SET_NAME), flags: a.optional(unix.NFTA_SET_FLAGS),
		keyLength: int(a.number(unix.NFTA_SET_KEY_LEN)), objectKind: a.optional(setObjectType),
	}
	desc := a.nested(unix.NFTA_SET_DESC)
	total := 0
	err := each(desc.of[setDescConcat], func(_ uint16, b []byte) error {
		field, err := parseAttributes(b)
		length := int(field.number(setFieldLength))
		if field.bad || length <= 0 || length > registerBytes {
			return errCut
		}
		s.fields = append(s.fields, length)
		total += padded(length)
		return err
	})
	if err != nil || total != padded(s.keyLength) {
		s.fields = []int{s.keyLength}
	}
	return s
}

func parseBase(a *attributes, f family, order uint64) *base {
	if !a.has(unix.NFTA_CHAIN_HOOK) {
		return nil
	}
	const devices, device, prefix = 4, 1, 2 // NFTA_HOOK_DEVS, NFTA_DEVICE_NAME, NFTA_DEVICE_PREFIX
	hook := a.nested(unix.NFTA_CHAIN_HOOK)
	b := &base{
		hook: int(hook.number(unix.NFTA_HOOK_HOOKNUM)), priority: int32(hook.number(unix.NFTA_HOOK_PRIORITY)),
		kind: a.name(unix.NFTA_CHAIN_TYPE), drops: a.has(unix.NFTA_CHAIN_POLICY) && a.number(unix.NFTA_CHAIN_POLICY) == 0, order: order,
	}
	switch f {
	case familyNetdev:
		b.hook += hookIngress
	case familyBridge:
		b.hook += hookBridge
	}
	if hook.has(unix.NFTA_HOOK_DEV) {
		b.devices = append(b.devices, hook.name(unix.NFTA_HOOK_DEV))
	}
	err := each(hook.of[devices], func(kind uint16, v []byte) error {
		if kind == prefix {
			b.prefixes = append(b.prefixes, text(v))
		} else if kind == device && !slices.Contains(b.devices, text(v)) {
			b.devices = append(b.devices, text(v))
		}
		return nil
	})
	a.bad = a.bad || hook.bad || err != nil
	return b
}

// recognise tells a table that iptables-nft or ebtables-nft keeps: its names are
// those of ip_tables or of ebtables, and its chains' are in capitals.
func (t *table) recognise() {
	names := map[family][]string{
		familyIP: {"filter", "nat", "mangle", "raw", "security"}, familyBridge: {"filter", "nat", "broute"},
	}
	if !slices.Contains(names[t.family], t.name) {
		return
	}
	for _, c := range t.chains {
		if c.base != nil && strings.ToUpper(c.name) != c.name {
			return
		}
	}
	t.engine = engineCompat
}
