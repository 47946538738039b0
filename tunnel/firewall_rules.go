package tunnel

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Names in rsagent's table.
const (
	guardChain, clampChain                            = "guard", "clamp"
	directorsSet, vipsSet                             = "directors", "vips"
	notDirectorCounter, notVIPCounter, clampedCounter = "not_director", "not_vip", "clamped"
)

// rules is a chain with its rules as they are given to the kernel. The policy
// is to accept: rsagent drops what it names and nothing else.
type rules struct {
	chain    string
	hook     nftables.ChainHook
	priority nftables.ChainPriority
	list     [][]expr.Any
}

// chains is what is to be in the table. All are of type filter, which may also
// write into packets; type route would only add a second look at the routing
// table if an address or mark were written.
func (f Firewall) chains() []rules {
	var chains []rules
	if f.Guard {
		// Behind raw (-300), so that tracing and notrack set there still work,
		// and before conntrack (-200), which need not remember what is dropped.
		guard := rules{chain: guardChain, hook: unix.NF_INET_PRE_ROUTING, priority: -290}
		if len(f.Directors) > 0 {
			guard.list = append(guard.list, dropNotDirector())
		}
		guard.list = append(guard.list, dropNotVIP(f.Device))
		chains = append(chains, guard)
	}
	if f.MSS > 0 {
		// Behind source NAT (100), so that a SYN-ACK from a container whose port
		// is published at a VIP comes by with the VIP as its source, too.
		clamp := rules{chain: clampChain, hook: unix.NF_INET_POST_ROUTING, priority: 150}
		clamp.list = append(clamp.list, lowerMSS(f.MSS))
		chains = append(chains, clamp)
	}
	return chains
}

// register is where each expression leaves a value for the next one.
const register = unix.NFT_REG_1

// ip protocol 4 ip saddr != @directors counter name not_director drop
func dropNotDirector() []expr.Any {
	return []expr.Any{
		bytesOf(expr.PayloadBaseNetworkHeader, 9, 1),
		equal(unix.IPPROTO_IPIP),
		bytesOf(expr.PayloadBaseNetworkHeader, 12, 4),
		&expr.Lookup{SourceRegister: register, SetName: directorsSet, Invert: true},
		count(notDirectorCounter),
		&expr.Verdict{Kind: expr.VerdictDrop},
	}
}

// iifname DEVICE ip daddr != @vips counter name not_vip drop
func dropNotVIP(device string) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, device)
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: register},
		equal(name...),
		bytesOf(expr.PayloadBaseNetworkHeader, 16, 4),
		&expr.Lookup{SourceRegister: register, SetName: vipsSet, Invert: true},
		count(notVIPCounter),
		&expr.Verdict{Kind: expr.VerdictDrop},
	}
}

// tcp flags & (syn | ack) == syn | ack ip saddr @vips tcp option maxseg size > MSS
// counter name clamped tcp option maxseg size set MSS
//
// The kernel itself only ever lowers an MSS (nft_exthdr_tcp_set_eval,
// net/netfilter/nft_exthdr.c); the comparison is for the counter.
func lowerMSS(mss int) []expr.Any {
	const (
		syn, ack           = 2, 16
		option, at, length = 2, 2, 2 // RFC 9293, section 3.2
	)
	limit := binary.BigEndian.AppendUint16(nil, uint16(mss))
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register},
		equal(unix.IPPROTO_TCP),
		bytesOf(expr.PayloadBaseTransportHeader, 13, 1),
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 1, Mask: []byte{syn | ack}, Xor: []byte{0}},
		equal(syn | ack),
		bytesOf(expr.PayloadBaseNetworkHeader, 12, 4),
		&expr.Lookup{SourceRegister: register, SetName: vipsSet},
		&expr.Exthdr{DestRegister: register, Type: option, Offset: at, Len: length, Op: expr.ExthdrOpTcpopt},
		&expr.Cmp{Op: expr.CmpOpGt, Register: register, Data: limit},
		count(clampedCounter),
		&expr.Immediate{Register: register, Data: limit},
		&expr.Exthdr{SourceRegister: register, Type: option, Offset: at, Len: length, Op: expr.ExthdrOpTcpopt},
	}
}

func bytesOf(base expr.PayloadBase, offset, length uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: length}
}

func equal(value ...byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: value}
}

func count(counter string) expr.Any {
	return &expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: counter}
}

// ruleText is the expressions of a rule as text to compare.
func ruleText(list []expr.Any) string {
	text := ""
	for _, e := range list {
		text += fmt.Sprintf("%T%+v ", e, e)
	}
	return text
}

// table is what the kernel lists when all is in place.
func (f Firewall) table() table {
	t := table{chains: map[string]chain{}, sets: map[string]set{}}
	for _, c := range f.chains() {
		planned := chain{kind: string(nftables.ChainTypeFilter), policy: uint32(nftables.ChainPolicyAccept), hook: int32(c.hook), priority: int32(c.priority)}
		for _, r := range c.list {
			planned.rules = append(planned.rules, ruleText(r))
			t.use(r, f)
		}
		t.chains[c.chain] = planned
	}
	slices.Sort(t.counters)
	return t
}

// use adds the sets and the counter that a rule refers to.
func (t *table) use(rule []expr.Any, f Firewall) {
	for _, e := range rule {
		switch e := e.(type) {
		case *expr.Objref:
			t.counters = append(t.counters, e.Name)
		case *expr.Lookup:
			s := set{keyLength: 4}
			if e.SetName == directorsSet {
				s.flags = unix.NFT_SET_INTERVAL
				s.elements = intervals(merge(f.Directors))
			} else {
				s.elements = addresses4(f.VIPs)
			}
			t.sets[e.SetName] = s
		}
	}
}

func addresses4(list []netip.Addr) []element {
	elements := make([]element, 0, len(list))
	for _, a := range list {
		elements = append(elements, element{key: a.As4()})
	}
	slices.SortFunc(elements, element.compare)
	return slices.Compact(elements)
}

// span is the IPv4 addresses from the first to the last.
type span struct{ first, last uint32 }

// merge is the fewest spans that have the addresses of all prefixes and no
// other. The kernel refuses spans that overlap.
func merge(prefixes []netip.Prefix) []span {
	spans := make([]span, 0, len(prefixes))
	for _, p := range prefixes {
		b := p.Masked().Addr().As4()
		first := binary.BigEndian.Uint32(b[:])
		spans = append(spans, span{first, first | uint32(uint64(math.MaxUint32)>>p.Bits())})
	}
	slices.SortFunc(spans, func(a, b span) int { return int(int64(a.first) - int64(b.first)) })
	merged := spans[:0]
	for _, s := range spans {
		if n := len(merged); n > 0 && uint64(s.first) <= uint64(merged[n-1].last)+1 {
			merged[n-1].last = max(merged[n-1].last, s.last)
			continue
		}
		merged = append(merged, s)
	}
	return merged
}

// intervals is spans as the kernel has them: the first address of each, and the
// one behind its last, unless there is none.
func intervals(spans []span) []element {
	var elements []element
	for _, s := range spans {
		var e element
		binary.BigEndian.PutUint32(e.key[:], s.first)
		elements = append(elements, e)
		if s.last < math.MaxUint32 {
			e.flags = unix.NFT_SET_ELEM_INTERVAL_END
			binary.BigEndian.PutUint32(e.key[:], s.last+1)
			elements = append(elements, e)
		}
	}
	return elements
}
