package sysctl

import (
	"fmt"
	"strconv"
	"strings"
)

// Effective returns the value of an IPv4 interface setting that the kernel
// acts on. For most settings that is made of conf/all and conf/IFACE, both of
// which must be in v; accept_redirects needs conf/IFACE/forwarding too. The
// rules are those of include/linux/inetdevice.h. Truth is 1.
//
// A value that is missing, could not be read or is not a number, and a setting
// whose rule is not known, are errors.
func Effective(v Values, iface, name string) (int, error) {
	if iface == "all" || iface == "default" {
		return 0, fmt.Errorf("cannot tell the effective %s of %q: it is not an interface", name, iface)
	}
	own, err := v.number(ConfKey(iface, name))
	if err != nil {
		return 0, fmt.Errorf("cannot tell the effective %s of %s: %w", name, iface, err)
	}
	rule := ruleOf(name)
	if rule == ruleInterface {
		return own, nil
	}
	all, err := v.number(ConfKey("all", name))
	if err != nil {
		return 0, fmt.Errorf("cannot tell the effective %s of %s: %w", name, iface, err)
	}
	switch rule {
	case ruleMax:
		return max(all, own), nil
	case ruleOr:
		return truth(all != 0 || own != 0), nil
	case ruleAnd:
		return truth(all != 0 && own != 0), nil
	case ruleRedirects:
		forwarding, err := v.number(ConfKey(iface, "forwarding"))
		if err != nil {
			return 0, fmt.Errorf("cannot tell the effective %s of %s: %w", name, iface, err)
		}
		if forwarding != 0 {
			return truth(all != 0 && own != 0), nil
		}
		return truth(all != 0 || own != 0), nil
	}
	return 0, fmt.Errorf("cannot tell the effective %s of %s: its rule is not known", name, iface)
}

// rule says how the kernel combines conf/all and conf/IFACE.
type rule int

const (
	ruleUnknown   rule = iota
	ruleMax            // IN_DEV_MAXCONF
	ruleOr             // IN_DEV_ORCONF
	ruleAnd            // IN_DEV_ANDCONF
	ruleInterface      // IN_DEV_CONF_GET
	ruleRedirects      // IN_DEV_RX_REDIRECTS: and if the interface forwards, else or
)

func ruleOf(name string) rule {
	switch name {
	case "arp_accept", "arp_announce", "arp_ignore", "arp_notify", "rp_filter":
		return ruleMax
	case "accept_local", "arp_filter", "drop_gratuitous_arp",
		"drop_unicast_in_l2_multicast", "log_martians", "promote_secondaries",
		"proxy_arp", "route_localnet", "secure_redirects", "send_redirects",
		"shared_media", "src_valid_mark":
		return ruleOr
	case "accept_source_route", "arp_evict_nocarrier", "bc_forwarding", "bootp_relay", "mc_forwarding":
		return ruleAnd
	case "forwarding", "medium_id", "proxy_arp_pvlan", "tag":
		return ruleInterface
	case "accept_redirects":
		return ruleRedirects
	}
	return ruleUnknown
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// number returns the value of k as a number.
func (v Values) number(k Key) (int, error) {
	value, ok := v[k]
	if !ok {
		return 0, fmt.Errorf("%s was not read", k)
	}
	if value.Err != nil {
		return 0, value.Err
	}
	n, err := strconv.Atoi(value.Text)
	if err != nil {
		return 0, fmt.Errorf("%s is %q, not a number", k, value.Text)
	}
	return n, nil
}

// Spreads tells whether a write to the key makes the kernel change others, of
// which it says nothing: conf/default spreads to interfaces that were never
// written (devinet_copy_dflt_conf), and forwarding to all of them
// (inet_forward_change, both in net/ipv4/devinet.c).
func Spreads(k Key) bool {
	return strings.HasPrefix(string(k), "net/ipv4/conf/default/") ||
		strings.HasSuffix(string(k), "/forwarding") || k == "net/ipv4/ip_forward"
}
