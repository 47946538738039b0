package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/sysctl"
)

// arpSetting is one of the two settings that keep a VIP out of ARP. The
// kernel acts on the larger of conf/all and conf/INTERFACE, and takes any
// number, but only some keep it silent (net/ipv4/arp.c, arp_ignore and
// arp_solicit): a number too large speaks as loudly as 0.
type arpSetting struct {
	name       string
	does       string
	effect     string // for clients, if it does not protect
	silent     []int  // the values that protect
	written    string // the one that a repair writes
	configured configured
	device     string       // where the VIPs are
	vips       []netip.Addr // what has to go while it does not protect
}

func arpIgnore(c config.Config) arpSetting {
	return arpSetting{name: "arp_ignore", does: "answers ARP for", silent: []int{1, 2, 8}, written: "1",
		effect:     "Clients reach this node past the directors, and all of them do so at once.",
		configured: configuredIn(c), device: c.Tunnel.Device, vips: c.VIPs}
}

func arpAnnounce(c config.Config) arpSetting {
	return arpSetting{name: "arp_announce", does: "announces by ARP", silent: []int{2}, written: "2",
		effect:     "Neighbours learn that the VIP is here, and send everything past the directors.",
		configured: configuredIn(c), device: c.Tunnel.Device, vips: c.VIPs}
}

func (s arpSetting) protects(value int) bool { return slices.Contains(s.silent, value) }

// mended is what a repair writes to the key: what stands under [sysctl], where
// nothing is taken that would let a VIP out, so that the two never fight.
func (s arpSetting) mended(key sysctl.Key) string {
	if s.configured.has(key) {
		return s.configured[key]
	}
	return s.written
}

func (s arpSetting) wanted() string {
	var words []string
	for _, v := range s.silent {
		words = append(words, strconv.Itoa(v))
	}
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// arpForAll wants conf/all to protect, and conf/default, which an interface yet
// to come starts with, not to undo that.
func arpForAll(id string, s arpSetting) Condition {
	all, start := sysctl.ConfKey("all", s.name), sysctl.ConfKey("default", s.name)
	want := fmt.Sprintf("%s = %s, and %s no obstacle to it", all, s.wanted(), start)
	return Condition{
		ID:       id,
		Title:    fmt.Sprintf("No interface, present or future, %s a VIP", s.does),
		Effect:   s.effect,
		Severity: health.Required,
		Looks:    sourceOf(all),
		Evaluate: func(n Node) Verdict {
			for _, key := range []sysctl.Key{all, start} {
				if err := n.Sysctl[key].Err; err != nil {
					return unknown(want, err)
				}
			}
			v := Verdict{Status: health.OK, Want: want,
				Got: fmt.Sprintf("%s = %s, %s = %s", all, n.Sysctl[all].Text, start, n.Sysctl[start].Text)}
			var remedies []string
			for _, key := range s.openInGeneral(n) {
				remedies = append(remedies, fmt.Sprintf("sysctl -w %s=%s", key, s.mended(key)))
			}
			if len(remedies) > 0 {
				v.Status, v.Remedy = health.Failed, strings.Join(remedies, "\n")
			}
			return v
		},
		Repair:   func(n Node) []Step { return s.close(n, s.openInGeneral(n)) },
		Withdraw: s.withdraw,
	}
}

// openInGeneral returns which of conf/all and conf/default has to change.
func (s arpSetting) openInGeneral(n Node) []sysctl.Key {
	var keys []sysctl.Key
	all := sysctl.ConfKey("all", s.name)
	general, err := strconv.Atoi(n.Sysctl[all].Text)
	if err != nil || !s.protects(general) {
		keys = append(keys, all)
		general, _ = strconv.Atoi(strings.TrimSpace(s.mended(all)))
	}
	start := sysctl.ConfKey("default", s.name)
	if value, err := strconv.Atoi(n.Sysctl[start].Text); err != nil || !s.protects(max(general, value)) {
		keys = append(keys, start)
	}
	return keys
}

// close returns the steps that make the keys protect.
func (s arpSetting) close(n Node, keys []sysctl.Key) []Step {
	var steps []Step
	for _, key := range keys {
		steps = append(steps, setSysctl(n, key, s.mended(key)))
	}
	return steps
}

// arpForInterfaces wants the value that the kernel acts on to protect on
// every interface that speaks ARP.
func arpForInterfaces(id string, s arpSetting, needs ...string) Condition {
	return Condition{
		ID:       id,
		Title:    fmt.Sprintf("No interface that is here %s a VIP", s.does),
		Effect:   s.effect,
		Severity: health.Required,
		Needs:    needs,
		Looks:    atLinks | sourceOf(sysctl.ConfKey("all", s.name)),
		Evaluate: func(n Node) Verdict {
			want := fmt.Sprintf("an effective %s of %s on every interface", s.name, s.wanted())
			open, err := s.open(n)
			if err != nil {
				return unknown(want, err)
			}
			v := Verdict{Status: health.OK, Want: want, Got: "as wanted"}
			if len(open) == 0 {
				return v
			}
			v.Status = health.Failed
			var got, remedy []string
			for _, key := range open {
				got = append(got, fmt.Sprintf("%s = %s", key, n.Sysctl[key].Text))
				remedy = append(remedy, fmt.Sprintf("sysctl -w %s=%s", key, s.mended(key)))
			}
			v.Got = strings.Join(got, ", ")
			v.Cause = "the kernel acts on the larger of conf.all and the interface's own value"
			v.Remedy = strings.Join(remedy, "\n")
			return v
		},
		Repair: func(n Node) []Step {
			open, err := s.open(n)
			if err != nil {
				return nil
			}
			return s.close(n, open)
		},
		Withdraw: s.withdraw,
	}
}

// withdraw takes every VIP off the device: a node that speaks ARP for a VIP
// draws the traffic of the whole site.
func (s arpSetting) withdraw(n Node) []Step {
	var steps []Step
	for _, vip := range s.vips {
		for _, a := range n.Net.Addresses[vip] {
			if a.Link == s.device {
				steps = append(steps, removeAddress(a))
			}
		}
	}
	return steps
}

// open returns the keys of the interfaces that would speak.
func (s arpSetting) open(n Node) ([]sysctl.Key, error) {
	if n.NetErr != nil {
		return nil, n.NetErr
	}
	var keys []sysctl.Key
	for _, l := range n.Net.Links {
		if !speaksARP(l) {
			continue
		}
		key := sysctl.ConfKey(l.Name, s.name)
		if gone(n.Sysctl[key].Err) {
			continue // the interface went while it was looked at
		}
		effective, err := sysctl.Effective(n.Sysctl, l.Name, s.name)
		if err != nil {
			return nil, err
		}
		if !s.protects(effective) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

func vipElsewhereID(vip netip.Addr) string { return "arp/vip/" + vip.String() }

// vipNowhereElse wants no interface that speaks ARP to hold the VIP: such an
// interface answers for it whatever arp_ignore says, and takes the site's
// traffic away from the directors. On lo or a dummy device it is harmless.
func vipNowhereElse(device string, vip netip.Addr) Condition {
	return Condition{
		ID:       vipElsewhereID(vip),
		Title:    fmt.Sprintf("No interface that speaks ARP holds the VIP %s", vip),
		VIP:      vip,
		Effect:   "Clients reach this node past the directors, and all of them do so at once.",
		Severity: health.Required,
		Fatal:    true,
		Looks:    atLinks,
		Evaluate: func(n Node) Verdict {
			want := fmt.Sprintf("%s on %s only", vip, device)
			if n.NetErr != nil {
				return unknown(want, n.NetErr)
			}
			for _, a := range n.Net.Addresses[vip] {
				if l := n.link(a.Link); a.Link == device || l == nil || !speaksARP(*l) {
					continue
				}
				return Verdict{Status: health.Failed, Want: want,
					Got:    fmt.Sprintf("%s on %s", a.Prefix, a.Link),
					Cause:  fmt.Sprintf("%s answers ARP for %s whatever arp_ignore says, and takes the site's traffic away from the directors", a.Link, vip),
					Remedy: fmt.Sprintf("if it is this node's own address, take it out of vips; else: ip addr del %s dev %s", a.Prefix, a.Link)}
			}
			return Verdict{Status: health.OK, Want: want, Got: "as wanted"}
		},
	}
}
