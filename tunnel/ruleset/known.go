package ruleset

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// metaValue is what meta loads, nil for what cannot be known.
func metaValue(key uint32) (s symbol, load func(*run) (unsureValue, step)) {
	link := func(out bool) func(r *run) Link {
		return func(r *run) Link {
			l := r.packet.In
			if out {
				l = r.packet.Out
			}
			if r.atPort() && l != (Link{}) {
				return r.packet.Port
			}
			return l
		}
	}
	in, out := link(false), link(true)
	index := func(of func(*run) Link) func(*run) (unsureValue, step) {
		return func(r *run) (unsureValue, step) {
			if l := of(r); l.Name != "" && l.Index == 0 || l == SomePort {
				return unknown(4), unsure
			}
			return sure32(uint32(of(r).Index)), goOn
		}
	}
	name := func(of func(*run) Link) func(*run) (unsureValue, step) {
		return func(r *run) (unsureValue, step) {
			if of(r) == SomePort {
				return unknown(16), unsure
			}
			return sureName(of(r).Name), goOn
		}
	}
	bridge := func(of func(*run) Link) func(*run) (unsureValue, step) {
		return func(r *run) (unsureValue, step) {
			if !r.atPort() || (of(r) == Link{}) {
				return unsureValue{}, skip // nft_meta_bridge_get_eval
			}
			if r.packet.leaves() {
				return sureName(r.packet.Out.Name), goOn
			}
			return sureName(r.packet.In.Name), goOn
		}
	}
	kind := func(of func(*run) Link) func(*run) (unsureValue, step) {
		return func(r *run) (unsureValue, step) {
			switch l := of(r); {
			case l == Link{}:
				return unsureValue{}, skip
			case l.Type == 0:
				return unknown(2), unsure
			default:
				return sure(binary.NativeEndian.AppendUint16(nil, l.Type)...), goOn
			}
		}
	}
	group := func(of func(*run) Link) func(*run) (unsureValue, step) {
		return func(r *run) (unsureValue, step) {
			switch of(r) {
			case Link{}:
				return unsureValue{}, skip
			case SomePort:
				return unknown(4), unsure
			}
			return sure32(of(r).Group), goOn
		}
	}
	switch key {
	case unix.NFT_META_PROTOCOL:
		return symbol{"meta protocol", 2, nil, nil}, constant(0x08, 0x00)
	case unix.NFT_META_NFPROTO:
		return symbol{"meta nfproto", 1, showNumber, nil}, constant(unix.NFPROTO_IPV4)
	case unix.NFT_META_L4PROTO:
		return symbol{"meta l4proto", 1, showNumber, nil}, func(r *run) (unsureValue, step) { return sure(r.packet.Protocol), goOn }
	case unix.NFT_META_MARK:
		return symbol{"meta mark", 4, nil, nil}, func(r *run) (unsureValue, step) { return r.mark.bytes(), goOn }
	case unix.NFT_META_IIF:
		return symbol{"iif", 4, nil, nil}, index(in)
	case unix.NFT_META_OIF:
		return symbol{"oif", 4, nil, nil}, index(out)
	case unix.NFT_META_IIFNAME:
		return symbol{"iifname", 16, showName, nil}, name(in)
	case unix.NFT_META_OIFNAME:
		return symbol{"oifname", 16, showName, nil}, name(out)
	case unix.NFT_META_IIFTYPE:
		return symbol{"iiftype", 2, nil, nil}, kind(in)
	case unix.NFT_META_OIFTYPE:
		return symbol{"oiftype", 2, nil, nil}, kind(out)
	case unix.NFT_META_IIFGROUP:
		return symbol{"iifgroup", 4, nil, nil}, group(in)
	case unix.NFT_META_OIFGROUP:
		return symbol{"oifgroup", 4, nil, nil}, group(out)
	case unix.NFT_META_BRI_IIFNAME:
		return symbol{"ibrname", 16, showName, nil}, bridge(in)
	case unix.NFT_META_BRI_OIFNAME:
		return symbol{"obrname", 16, showName, nil}, bridge(out)
	case unix.NFT_META_PKTTYPE:
		return symbol{"meta pkttype", 1, showNumber, nil}, func(r *run) (unsureValue, step) {
			if r.packet.leaves() || r.atPort() { // a bridge may have another address than its port
				return unknown(1), unsure
			}
			return sure(0), goOn // PACKET_HOST
		}
	}
	return symbol{}, nil
}

func constant(value ...byte) func(*run) (unsureValue, step) {
	return func(*run) (unsureValue, step) { return sure(value...), goOn }
}

// Bits of ct state: NF_CT_STATE_BIT and its kind in
// include/uapi/linux/netfilter/nf_conntrack_common.h.
const (
	stateInvalid, stateEstablished, stateRelated, stateNew, stateUntracked = 1, 2, 4, 8, 64
)

// connection tells a packet that belongs to one.
func (r *run) connection() bool { return r.tracking == tracked && r.packet.State != Invalid }

func (r *run) stateBits() uint32 {
	switch {
	case r.tracking == untracked:
		return stateUntracked
	case !r.connection():
		return stateInvalid // also before conntrack has seen it: nft_ct_get_eval
	}
	return map[State]uint32{New: stateNew, Established: stateEstablished, Related: stateRelated}[r.packet.State]
}

// status is IPS_ of nf_conntrack_common.h: a packet that NAT changes is followed
// no further, and so no bit of NAT is set.
func (r *run) status() word {
	const nat, firstOnes = 0x10 | 0x20, 0x1 | 0x2 | 0x4 | 0x8
	known := uint32(nat)
	if r.packet.State == New {
		known |= firstOnes
	}
	return word{0, known}
}

func ctValue(key uint32, direction uint32, directed bool) (s symbol, load func(*run) (unsureValue, step)) {
	const keySrcIP, keyDstIP = 19, 20 // NFT_CT_SRC_IP, NFT_CT_DST_IP
	of := func(value func(*run) unsureValue) func(*run) (unsureValue, step) {
		return func(r *run) (unsureValue, step) {
			if !r.connection() {
				return unsureValue{}, skip
			}
			return value(r), goOn
		}
	}
	// answer tells a packet that goes against the direction its connection began.
	answer := func(r *run) bool { return r.packet.leaves() && r.packet.State == Established }
	switch key {
	case unix.NFT_CT_STATE:
		return symbol{"ct state", 4, showState, nil}, func(r *run) (unsureValue, step) { return sure32(r.stateBits()), goOn }
	case unix.NFT_CT_DIRECTION:
		return symbol{"ct direction", 1, showNumber, nil}, of(func(r *run) unsureValue {
			if answer(r) {
				return sure(1)
			}
			return sure(0)
		})
	case unix.NFT_CT_STATUS:
		return symbol{"ct status", 4, nil, nil}, of(func(r *run) unsureValue { return r.status().bytes() })
	case unix.NFT_CT_MARK:
		return symbol{"ct mark", 4, nil, nil}, of(func(r *run) unsureValue { return r.ctMark.bytes() })
	case unix.NFT_CT_L3PROTOCOL:
		return symbol{"ct l3proto", 1, showNumber, nil}, of(func(*run) unsureValue { return sure(unix.NFPROTO_IPV4) })
	case unix.NFT_CT_PROTOCOL:
		return symbol{"ct protocol", 1, showNumber, nil}, of(func(r *run) unsureValue { return sure(r.packet.Protocol) })
	case keySrcIP, keyDstIP, unix.NFT_CT_SRC, unix.NFT_CT_DST:
		if !directed {
			return symbol{}, nil
		}
		return symbol{"ct address", 4, showAddress, nil}, of(func(r *run) unsureValue {
			reply := direction == 1
			first := key == keySrcIP || key == unix.NFT_CT_SRC
			at := 16
			if first != (reply != answer(r)) {
				at = 12
			}
			return r.headers.load(at, 4)
		})
	}
	return symbol{}, nil
}

// fibValue is what a route lookup says: nft_fib4_eval and nft_fib4_eval_type,
// net/ipv4/netfilter/nft_fib_ipv4.c.
func fibValue(result, flags uint32) (s symbol, load func(*run) (unsureValue, step)) {
	const bySource, byDestination, byIn, byOut, present = 1, 2, 8, 16, 32
	const unicast, local = 1, 2
	const index, name, kind = unix.NFT_FIB_RESULT_OIF, unix.NFT_FIB_RESULT_OIFNAME, unix.NFT_FIB_RESULT_ADDRTYPE
	switch {
	case result == kind && flags&(byIn|byOut) == 0:
		return symbol{"fib addrtype", 4, nil, nil}, func(r *run) (unsureValue, step) {
			if (flags&bySource != 0) == r.packet.leaves() {
				return sure32(local), goOn
			}
			return sure32(unicast), goOn
		}
	case flags&bySource != 0 && (result == index || result == name):
		return symbol{"fib saddr oif", 4, nil, nil}, func(r *run) (unsureValue, step) {
			back := r.packet.Back
			length := 4
			if flags&present != 0 {
				length = 1
			} else if result == name {
				length = 16
			}
			if (back == Link{}) || r.packet.leaves() {
				return unknown(length), unsure
			}
			if flags&byIn != 0 && back.Name != r.packet.In.Name {
				back = Link{}
			}
			switch {
			case flags&present != 0 && back == Link{}:
				return sure(0), goOn
			case flags&present != 0:
				return sure(1), goOn
			case result == name:
				return sureName(back.Name), goOn
			}
			return sure32(uint32(back.Index)), goOn
		}
	}
	return symbol{}, nil
}
