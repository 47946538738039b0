package ruleset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of include/uapi/linux/netfilter_ipv4/ip_tables.h.
const (
	getInfo, getEntries = 64, 65 // IPT_SO_GET_INFO, IPT_SO_GET_ENTRIES
	infoBytes           = 84     // struct ipt_getinfo
	entriesHeader       = 40     // struct ipt_get_entries, before its entries
	entryBytes          = 112    // struct ipt_entry
	partBytes           = 32     // struct xt_entry_match, xt_entry_target
	tableNameBytes      = 32
	hooks               = 5
)

// readLegacy reads the tables that are there. To ask for another would make it.
func readLegacy() ([]*table, error) {
	names, err := os.ReadFile("/proc/thread-self/net/ip_tables_names")
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("%w; it takes root, or CAP_DAC_OVERRIDE and CAP_NET_RAW", err)
	}
	if err != nil {
		return nil, err
	}
	list := strings.Fields(string(names))
	if len(list) == 0 {
		return nil, nil
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return nil, fmt.Errorf("cannot open a raw socket: %w", err)
	}
	defer unix.Close(fd)
	var tables []*table
	for _, name := range list {
		t, err := readLegacyTable(fd, name)
		for look := 0; errors.Is(err, unix.EAGAIN) && look < looks; look++ {
			t, err = readLegacyTable(fd, name)
		}
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", name, err)
		}
		tables = append(tables, t)
	}
	return tables, nil
}

func readLegacyTable(fd int, name string) (*table, error) {
	info, entries, err := legacyBytes(fd, name)
	if err != nil {
		return nil, err
	}
	return parseLegacy(name, info, entries)
}

// legacyBytes is the table as the kernel has it: a struct ipt_getinfo, and its
// entries. The error is EAGAIN if it changed between the two.
func legacyBytes(fd int, name string) (info, entries []byte, err error) {
	info = make([]byte, infoBytes)
	copy(info[:tableNameBytes-1], name)
	if err := getsockopt(fd, getInfo, info); err != nil {
		return nil, nil, err
	}
	size := binary.NativeEndian.Uint32(info[80:])
	entries = make([]byte, entriesHeader+int(size))
	copy(entries[:tableNameBytes-1], name)
	binary.NativeEndian.PutUint32(entries[tableNameBytes:], size)
	if err := getsockopt(fd, getEntries, entries); err != nil {
		return nil, nil, err
	}
	return info, entries[entriesHeader:], nil
}

func getsockopt(fd, option int, b []byte) error {
	length := uint32(len(b))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_IP, uintptr(option),
		uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&length)), 0)
	runtime.KeepAlive(b)
	if errno != 0 {
		return errno
	}
	return nil
}

// legacyPriorities are those of the tables' hooks, by hook.
var legacyPriorities = map[string]map[int]int32{
	"raw":      {hookPrerouting: -300, hookOutput: -300},
	"mangle":   {hookPrerouting: -150, hookInput: -150, hookForward: -150, hookOutput: -150, hookPostrouting: -150},
	"nat":      {hookPrerouting: priorityDNAT, hookInput: prioritySNAT, hookOutput: priorityDNAT, hookPostrouting: prioritySNAT},
	"filter":   {hookInput: 0, hookForward: 0, hookOutput: 0},
	"security": {hookInput: 50, hookForward: 50, hookOutput: 50},
}

var hookNames = [hooks]string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}

// entry is one rule of ip_tables, or what marks the start of a chain.
type entry struct {
	at      int
	ip      []byte
	matches []byte
	target  []byte // from its struct xt_entry_target on
}

func (e entry) name() string { return text(e.target[2:31]) }

// verdict is what a standard target says.
func (e entry) verdict() (int32, bool) {
	if e.name() != "" || len(e.target) < partBytes+4 {
		return 0, false
	}
	return int32(binary.NativeEndian.Uint32(e.target[partBytes:])), true
}

// parseLegacy makes chains of the entries of a table.
func parseLegacy(name string, info, b []byte) (*table, error) {
	if len(info) < infoBytes {
		return nil, errCut
	}
	entries, err := splitEntries(b)
	if err != nil {
		return nil, err
	}
	t := &table{engine: engineLegacy, family: familyIP, name: name, chains: map[string]*chain{}}
	starts, ends := map[int]int{}, map[int]int{} // hooks by the offsets of their first rule and their policy
	valid := binary.NativeEndian.Uint32(info[32:])
	for hook := range hooks {
		if valid&(1<<hook) != 0 {
			starts[int(binary.NativeEndian.Uint32(info[36+4*hook:]))] = hook
			ends[int(binary.NativeEndian.Uint32(info[56+4*hook:]))] = hook
		}
	}
	owners := t.legacyChains(entries, starts)
	var c *chain
	for i, e := range entries {
		if owner := owners[e.at]; owner != nil {
			c = owner
		}
		if c == nil || e.name() == "ERROR" {
			continue
		}
		if hook, ok := ends[e.at]; ok && c.base != nil && c.base.hook == hook {
			v, _ := e.verdict()
			c.base.drops = v == -1
			c = nil
			continue
		}
		if c.base == nil && zero(e.ip) && len(e.matches) == 0 && i+1 < len(entries) && entries[i+1].name() == "ERROR" {
			if v, ok := e.verdict(); ok && v == -5 {
				continue // the end of every chain
			}
		}
		c.rules = append(c.rules, t.legacyRule(e, len(c.rules)+1, owners))
	}
	return t, nil
}

// legacyChains are the chains by the offset of their first entry.
func (t *table) legacyChains(entries []entry, starts map[int]int) map[int]*chain {
	owners := map[int]*chain{}
	for i, e := range entries {
		if hook, ok := starts[e.at]; ok {
			kind := "filter"
			if t.name == "nat" {
				kind = "nat"
			}
			priority := legacyPriorities[t.name][hook]
			owners[e.at] = &chain{table: t, name: hookNames[hook], base: &base{hook: hook, priority: priority, kind: kind}}
		} else if e.name() == "ERROR" && len(e.target) > partBytes && i+1 < len(entries) && entries[i+1].name() != "ERROR" {
			owners[entries[i+1].at] = &chain{table: t, name: text(e.target[partBytes:])}
		}
	}
	for _, c := range owners {
		t.chains[c.name] = c
	}
	return owners
}

func splitEntries(b []byte) ([]entry, error) {
	var list []entry
	for at := 0; at < len(b); {
		if len(b)-at < entryBytes {
			return nil, errCut
		}
		e := b[at:]
		target, next := int(word16(e[88:])), int(word16(e[90:]))
		if target < entryBytes || next < target+partBytes || next > len(e) {
			return nil, errCut
		}
		list = append(list, entry{at, e[:84], e[entryBytes:target], e[target:next]})
		at += next
	}
	return list, nil
}

func (t *table) legacyRule(e entry, number int, chains map[int]*chain) rule {
	r := rule{number: number}
	if !zero(e.ip[:82]) || e.ip[83] != 0 {
		r.expressions = append(r.expressions, decodeIP(e.ip))
	}
	for rest := e.matches; len(rest) > 0; {
		if len(rest) < partBytes {
			r.expressions = append(r.expressions, opaque{name: "a match that does not parse"})
			break
		}
		size := int(word16(rest))
		if size < partBytes || size > len(rest) {
			r.expressions = append(r.expressions, opaque{name: "a match that does not parse"})
			break
		}
		r.expressions = append(r.expressions, decodeMatch(text(rest[2:31]), uint32(rest[31]), rest[partBytes:size]))
		rest = rest[size:]
	}
	if v, ok := e.verdict(); ok {
		const goFlag = 2 // IPT_F_GOTO
		if d, ok := legacyVerdict(v, e, e.ip[82]&goFlag != 0, chains); ok {
			r.expressions = append(r.expressions, d)
		}
		return r
	}
	r.expressions = append(r.expressions, decodeTarget(e.name(), uint32(e.target[31]), e.target[partBytes:]))
	return r
}

// legacyVerdict reads a verdict of ipt_do_table, net/ipv4/netfilter/ip_tables.c:
// from 0 on the offset to jump to. A jump to the next rule is none.
func legacyVerdict(v int32, e entry, goes bool, chains map[int]*chain) (decision, bool) {
	switch v {
	case -1:
		return decision{kind: drop}, true
	case -2:
		return decision{kind: accept}, true
	case -5:
		return decision{kind: goBack}, true
	}
	if v < 0 {
		return decision{kind: foreign}, true
	}
	to := chains[int(v)]
	if to == nil {
		if int(v) == e.at+entryBytes+len(e.matches)+len(e.target) {
			return decision{}, false
		}
		return decision{kind: foreign}, true
	}
	if goes {
		return decision{kind: goTo, chain: to.name}, true
	}
	return decision{kind: jumpTo, chain: to.name}, true
}

// decodeIP reads a struct ipt_ip.
func decodeIP(b []byte) expression {
	const viaIn, viaOut, source, dest, fragment, protocol = 0x1, 0x2, 0x8, 0x10, 0x20, 0x40 // IPT_INV_
	const wantsFragment = 1                                                                 // IPT_F_FRAG
	number, flags, inv := byte(word16(b[80:])), b[82], b[83]
	return match{ipWords(b), func(r *run) truth {
		t := invert(masked(r.headers.load(12, 4), b[8:12], b[:4]), inv&source != 0)
		t = t.and(invert(masked(r.headers.load(16, 4), b[12:16], b[4:8]), inv&dest != 0))
		t = t.and(invert(masked(sureName(r.packet.In.Name), b[48:64], b[16:32]), inv&viaIn != 0))
		t = t.and(invert(masked(sureName(r.packet.Out.Name), b[64:80], b[32:48]), inv&viaOut != 0))
		if number != 0 {
			t = t.and(truthOf((r.packet.Protocol == number) != (inv&protocol != 0)))
		}
		if flags&wantsFragment != 0 {
			t = t.and(truthOf(inv&fragment != 0))
		}
		return t
	}}
}

// masked compares the bits of a mask.
func masked(v unsureValue, mask, want []byte) truth {
	v = unsureValue{bytes.Clone(v.value), bytes.Clone(v.known)}
	for i := range mask {
		v.value[i] &= mask[i]
		v.known[i] |= ^mask[i]
	}
	return v.equal(want)
}

func ipWords(b []byte) string {
	var words []string
	say := func(inverted bool, option, value string) {
		if inverted {
			words = append(words, "!")
		}
		words = append(words, option, value)
	}
	address := func(option string, addr, mask []byte, inverted bool) {
		if n, ok := prefixLength(mask); ok && n > 0 {
			say(inverted, option, fmt.Sprintf("%s/%d", showAddress(addr), n))
		} else if !ok {
			say(inverted, option, showAddress(addr)+"/"+showAddress(mask))
		}
	}
	inv := b[83]
	address("-s", b[:4], b[8:12], inv&0x8 != 0)
	address("-d", b[4:8], b[12:16], inv&0x10 != 0)
	for _, l := range []struct {
		option     string
		name, mask []byte
		inverted   bool
	}{{"-i", b[16:32], b[48:64], inv&1 != 0}, {"-o", b[32:48], b[64:80], inv&2 != 0}} {
		if n := len(bytes.TrimRight(l.mask, "\x00")); n > 0 {
			name := text(l.name)
			if n == len(name) {
				name += "+"
			}
			say(l.inverted, l.option, name)
		}
	}
	if p := word16(b[80:]); p != 0 {
		name := transport(uint8(p))
		if name == "" {
			name = fmt.Sprint(p)
		}
		say(inv&0x40 != 0, "-p", name)
	}
	return strings.Join(words, " ")
}
