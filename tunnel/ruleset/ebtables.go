package ruleset

import (
	"fmt"
	"strings"
)

// ebtIPBytes is the size of a struct ebt_ip_info.
const ebtIPBytes = 28

// Bits of what a struct ebt_ip_info compares.
const (
	ebtSource, ebtDestination, ebtTOS, ebtProtocol = 1, 2, 4, 8
	ebtSourcePort, ebtDestinationPort              = 16, 32
	ebtKnown                                       = 63
)

// decodeEbtIP reads the match "ip" of ebtables: struct ebt_ip_info of
// include/uapi/linux/netfilter_bridge/ebt_ip.h, and ebt_ip_mt. Addresses are in
// the network's order, ports in the machine's.
func decodeEbtIP(b []byte, other expression) expression {
	compares, inverted := b[18], b[19]
	if compares&^ebtKnown != 0 {
		return other
	}
	var words []string
	var tests []func(*run) truth
	add := func(bit byte, option, value string, test func(*run) truth) {
		if compares&bit == 0 {
			return
		}
		not := ""
		if inverted&bit != 0 {
			not = "! "
		}
		words = append(words, not+option+" "+value)
		tests = append(tests, func(r *run) truth { return invert(test(r), inverted&bit != 0) })
	}
	address := func(at int, want, mask []byte) func(*run) truth {
		return func(r *run) truth { return masked(r.headers.load(at, 4), mask, want) }
	}
	ports := func(at int, range16 []byte) (string, func(*run) truth) {
		low, high := word16(range16), word16(range16[2:])
		return portRange(low, high), func(r *run) truth {
			if transport(r.packet.Protocol) == "" {
				return no
			}
			return r.port(at, low, high)
		}
	}
	add(ebtSource, "--ip-src", showMasked(b, b[8:12]), address(12, b[:4], b[8:12]))
	add(ebtDestination, "--ip-dst", showMasked(b[4:], b[12:16]), address(16, b[4:8], b[12:16]))
	add(ebtTOS, "--ip-tos", hex(b[16:17]), func(r *run) truth { return r.headers.load(1, 1).equal(b[16:17]) })
	add(ebtProtocol, "--ip-proto", showNumber(b[17:18]), func(r *run) truth { return truthOf(r.packet.Protocol == b[17]) })
	source, testSource := ports(0, b[20:24])
	add(ebtSourcePort, "--ip-sport", source, testSource)
	destination, testDestination := ports(2, b[24:28])
	add(ebtDestinationPort, "--ip-dport", destination, testDestination)
	return match{strings.Join(words, " "), func(r *run) truth {
		all := yes
		for _, test := range tests {
			all = all.and(test(r))
		}
		return all
	}}
}

func showMasked(address, mask []byte) string {
	text := showAddress(address[:4])
	if n, ok := prefixLength(mask); ok && n < 32 {
		return fmt.Sprintf("%s/%d", text, n)
	}
	return text
}
