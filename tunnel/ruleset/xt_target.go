package ruleset

import (
	"fmt"
	"strconv"
)

// target is one of x_tables.
type target struct {
	words string
	do    func(*run) step
}

func (t target) eval(r *run) step { return t.do(r) }
func (t target) write(p *printer) { p.say(t.words) }

// decodeTarget reads a target that is no verdict. One that is not known decides
// what nobody can tell.
func decodeTarget(name string, revision uint32, b []byte) expression {
	words := "-j " + name
	switch name {
	case "REJECT":
		return target{words, func(r *run) step { r.verdict = verdict{kind: reject}; return decided }}
	case "LOG", "NFLOG", "ULOG", "TRACE", "AUDIT", "TCPMSS", "CHECKSUM", "CLASSIFY", "DSCP", "TOS", "TTL", "ECN", "HL",
		"TCPOPTSTRIP", "RATEEST", "IDLETIMER", "LED", "TEE", "SECMARK", "CONNSECMARK", "SET",
		"log", "nflog": // of ebtables
		return silent(words)
	case "NOTRACK":
		return target{words, withdraw{}.eval}
	case "CT":
		if len(b) >= 2 && word16(b)&1 != 0 {
			return target{words + " --notrack", withdraw{}.eval}
		}
		return silent(words)
	case "MARK":
		if revision == 2 && len(b) >= 8 {
			mark, mask := word32(b), word32(b[4:])
			return target{fmt.Sprintf("%s --set-xmark 0x%x/0x%x", words, mark, mask), func(r *run) step {
				r.mark = r.mark.masked(^mask, mark)
				return goOn
			}}
		}
	case "CONNMARK":
		if revision >= 1 && len(b) >= 13 {
			return connmark(words, word32(b), word32(b[4:]), word32(b[8:]), b[12])
		}
	case "DNAT", "REDIRECT", "SNAT", "MASQUERADE", "NETMAP":
		return decodeXTNAT(name, revision, b)
	}
	return opaque{words, true}
}

// connmark is xt_connmark's target: connmark_tg_shift, net/netfilter/xt_connmark.c.
func connmark(words string, mark, ctMask, mask uint32, mode byte) expression {
	const set, save, restore = 0, 1, 2
	if mode > restore {
		return opaque{words, true}
	}
	words += map[byte]string{set: fmt.Sprintf(" --set-xmark 0x%x/0x%x", mark, ctMask), save: " --save-mark", restore: " --restore-mark"}[mode]
	return target{words, func(r *run) step {
		if !r.connection() {
			return goOn
		}
		switch mode {
		case set:
			r.ctMark = r.ctMark.masked(^ctMask, mark)
		case save:
			r.ctMark = r.ctMark.masked(^ctMask, 0).xor(r.mark.masked(mask, 0))
		case restore:
			r.mark = r.mark.masked(^mask, 0).xor(r.ctMark.masked(ctMask, 0))
		}
		return goOn
	}}
}

// decodeXTNAT reads struct nf_nat_ipv4_multi_range_compat, and of newer revisions
// struct nf_nat_range and nf_nat_range2 (include/uapi/linux/netfilter/nf_nat.h).
func decodeXTNAT(name string, revision uint32, b []byte) expression {
	const mapAddress, mapPort = 1, 2
	flagsAt, addrAt, portAt := 4, 8, 16
	if name == "DNAT" && revision == 2 || name == "SNAT" && revision == 1 {
		flagsAt, addrAt, portAt = 0, 4, 36
	}
	if len(b) < portAt+2 || name == "NETMAP" {
		return target{"-j " + name, func(r *run) step {
			r.what, r.verdict = "another address or port", verdict{kind: rewrite}
			return decided
		}}
	}
	flags, addr, port := word32(b[flagsAt:]), b[addrAt:addrAt+4], b[portAt:portAt+2]
	source := name == "SNAT" || name == "MASQUERADE"
	words, to := "-j "+name, ""
	if flags&mapAddress != 0 {
		to = showAddress(addr)
	}
	if flags&mapPort != 0 {
		n, _ := strconv.Atoi(showNumber(port))
		to += fmt.Sprintf(":%d", n)
	}
	if to != "" {
		words += " --to " + to
	} else {
		to = "an address of the link"
	}
	headerAt, portOf := 16, networkHeader+2
	if source {
		headerAt, portOf = 12, networkHeader
	}
	return target{words, func(r *run) step {
		changes := name == "REDIRECT" || name == "MASQUERADE"
		if flags&mapAddress != 0 && r.headers.load(headerAt, 4).equal(addr) != yes {
			changes = true
		}
		if flags&mapPort != 0 && transport(r.packet.Protocol) != "" && r.headers.load(portOf, 2).equal(port) != yes {
			changes = true
		}
		r.what, r.verdict = to, verdict{kind: accept}
		if changes {
			r.verdict.kind = rewrite
		}
		return decided
	}}
}
