package config

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

const (
	wantVIP     = `an IPv4 address such as "203.0.113.10"`
	wantAddress = `an address such as "10.0.0.5" or a prefix such as "10.0.0.0/24"`
)

// elided matches an address whose numbers were taken out before it was
// published, such as 172.x.x.x.
var elided = regexp.MustCompile(`^[0-9xX*]+(\.[0-9xX*]+){3}(/[0-9]+)?$`)

// placeholder notes an address that was never filled in.
func (ps *problems) placeholder(w word) bool {
	if !elided.MatchString(w.text) || !strings.ContainsAny(w.text, "xX*") {
		return false
	}
	ps.note(w.at, w.key, short(w.text)+", which stands for an address that was left out", "the real address")
	return true
}

// vips checks the virtual addresses. Those that are no good are left out.
func (ps *problems) vips(words []word) []netip.Addr {
	var all []netip.Addr
	first := map[netip.Addr]word{}
	for _, w := range words {
		a, ok := ps.vip(w)
		if !ok {
			continue
		}
		if old, twice := first[a]; twice {
			ps.note(w.at, w.key, a.String()+" again "+ps.first(old), "each VIP once")
			continue
		}
		first[a] = w
		all = append(all, a)
	}
	return all
}

// first says where a word stood before.
func (ps *problems) first(old word) string {
	if old.at == nowhere {
		return "(first in " + old.key + " " + old.text + ")"
	}
	return fmt.Sprintf("(first on line %d)", ps.line(old.at))
}

// vip checks one virtual address.
func (ps *problems) vip(w word) (netip.Addr, bool) {
	if ps.placeholder(w) {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(w.text)
	if err != nil {
		return ps.vipPrefix(w)
	}
	if why := notVIP(a); why != "" {
		ps.note(w.at, w.key, why, wantVIP)
		return netip.Addr{}, false
	}
	return a, true
}

// vipPrefix takes a VIP that is written as the /32 it becomes.
func (ps *problems) vipPrefix(w word) (netip.Addr, bool) {
	if p, err := netip.ParsePrefix(w.text); err == nil {
		if p.Addr().Is4() && p.Bits() == 32 {
			return ps.vip(word{p.Addr().String(), w.key, w.at})
		}
		ps.note(w.at, w.key, short(w.text), quote(p.Addr().String())+": a VIP is always a single address")
		return netip.Addr{}, false
	}
	expected := wantVIP
	if _, err := netip.ParseAddrPort(w.text); err == nil {
		expected += ", without a port: ports belong to the pools"
	}
	ps.note(w.at, w.key, short(w.text), expected)
	return netip.Addr{}, false
}

// notVIP says why an address can be no VIP, or nothing.
func notVIP(a netip.Addr) string {
	switch {
	case !a.Is4():
		return fmt.Sprintf("the IPv6 address %s, and this version has no IPv6 VIPs", a)
	case a.IsLinkLocalUnicast():
		return fmt.Sprintf("%s, a link-local address, which no router forwards", a)
	default:
		return notUnicast(a)
	}
}

// notUnicast says why an address can be that of no single host on the
// network, or nothing.
func notUnicast(a netip.Addr) string {
	switch {
	case a.IsUnspecified():
		return fmt.Sprintf("%s, which is no address", a)
	case a.Is4() && a.As4()[0] == 0:
		return fmt.Sprintf("%s, which no host can have (0.0.0.0/8)", a)
	case a.IsLoopback():
		return fmt.Sprintf("%s, a loopback address", a)
	case a.IsMulticast():
		return fmt.Sprintf("%s, a multicast address", a)
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Sprintf("%s, the broadcast address", a)
	default:
		return ""
	}
}

// prefix reads an address or a prefix. A single address is a prefix of its
// full length.
func (ps *problems) prefix(w word) (netip.Prefix, bool) {
	if ps.placeholder(w) {
		return netip.Prefix{}, false
	}
	p, err := netip.ParsePrefix(w.text)
	if a, addrErr := netip.ParseAddr(w.text); addrErr == nil && a.Zone() == "" {
		p, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	switch {
	case err != nil:
		ps.note(w.at, w.key, short(w.text), wantAddress)
	case p.Addr().Is4In6():
		ps.note(w.at, w.key, short(w.text), fmt.Sprintf("the IPv4 address itself: %q", p.Addr().Unmap()))
	case p != p.Masked():
		ps.note(w.at, w.key, short(w.text), fmt.Sprintf("%q or %q: bits are set beyond the prefix", p.Masked(), p.Addr()))
	default:
		return p, true
	}
	return netip.Prefix{}, false
}

// directors checks who may send encapsulated packets.
func (ps *problems) directors(words []word, vips []netip.Addr, guard bool) []netip.Prefix {
	isVIP := map[netip.Addr]bool{}
	for _, a := range vips {
		isVIP[a] = true
	}
	var all []netip.Prefix
	first := map[netip.Prefix]word{}
	for _, w := range words {
		p, ok := ps.prefix(w)
		if !ok {
			continue
		}
		if found, expected := notDirector(p, isVIP, guard); found != "" {
			ps.note(w.at, w.key, found, expected)
			continue
		}
		if old, twice := first[p]; twice {
			ps.note(w.at, w.key, short(w.text)+" again "+ps.first(old), "each director once")
			continue
		}
		first[p] = w
		all = append(all, p)
	}
	return all
}

// notDirector says why a prefix can be no director, or nothing.
func notDirector(p netip.Prefix, isVIP map[netip.Addr]bool, guard bool) (found, expected string) {
	a := p.Addr()
	switch {
	case !a.Is4():
		return "the IPv6 address " + a.String(), "the director's IPv4 address: IPIP carries IPv4 in IPv4"
	case p.Bits() == 0 && guard:
		return "0.0.0.0/0, which lets anyone in through the tunnel", "the directors' addresses, or guard = false in [tunnel]"
	case p.Bits() == 0:
		return "", ""
	case p.IsSingleIP() && isVIP[a]:
		return fmt.Sprintf("%s, which is a VIP", a), "the director's own address"
	case notUnicast(a) != "":
		return notUnicast(a), "the director's own address"
	default:
		return "", ""
	}
}
