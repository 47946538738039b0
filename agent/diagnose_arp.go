package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/tunnel/path"
)

// claimedByOne wants no two hosts to answer ARP for a VIP.
func claimedByOne(c config.Config) Condition {
	return claimed(c, "arp/conflict", health.Required, "No two hosts answer ARP for a VIP", func(f *path.Facts, claims, strange []path.Claim) bool {
		return len(claims) > 1 && len(strange) > 0
	})
}

// claimedByDirectors wants only a director to answer for a VIP, as far as that
// can be known: a director may have several links.
func claimedByDirectors(c config.Config) Condition {
	return claimed(c, "arp/elsewhere", health.Advisory, "A director answers ARP for each VIP", func(f *path.Facts, claims, strange []path.Claim) bool {
		return len(claims) == 1 && len(strange) == 1
	})
}

func claimed(c config.Config, id string, severity health.Severity, title string, wrong func(f *path.Facts, claims, strange []path.Claim) bool) Condition {
	return Condition{
		ID: id, Title: title, Effect: otherAnswers, Severity: severity,
		Evaluate: func(n Node) Verdict {
			f := &n.Examined.Path
			v := Verdict{Status: health.OK, Want: "a director, if anybody", Got: "as wanted"}
			if f.ClaimsErr != nil {
				return unknown(v.Want, f.ClaimsErr)
			}
			known := knownMACs(c, f)
			if len(known) == 0 {
				v.Got = "no director is in this segment"
				return v
			}
			for _, vip := range c.VIPs {
				claims := f.Claims[vip]
				strange := slices.DeleteFunc(slices.Clone(claims), func(c path.Claim) bool {
					return known[c.MAC] || strings.HasPrefix(c.MAC, "00:00:5e:00:01:") // VRRP, RFC 5798, section 7.3
				})
				if wrong(f, claims, strange) {
					v.Status, v.Got = health.Failed, fmt.Sprintf("%s is answered for by %s on %s", vip, strange[0].MAC, strange[0].Link)
					v.Cause = "another host holds the VIP and speaks ARP for it"
					v.Remedy = fmt.Sprintf("nothing on this node can mend this: on the host with the MAC %s, ip addr del %s/32 from what speaks ARP, or set net.ipv4.conf.all.arp_ignore=1 there", strange[0].MAC, vip)
					return v
				}
			}
			return v
		},
	}
}

// knownMACs are those of the directors and of the gateway, which may answer for
// others.
func knownMACs(c config.Config, f *path.Facts) map[string]bool {
	macs := map[string]bool{}
	directors := false
	for addr, claims := range f.Claims {
		director := slices.ContainsFunc(c.Directors, func(p netip.Prefix) bool { return p.Contains(addr) })
		if !director && addr != f.Gateway.Addr {
			continue
		}
		directors = directors || director
		for _, c := range claims {
			macs[c.MAC] = true
		}
	}
	if !directors {
		return nil
	}
	return macs
}

// addressIsOurs wants nobody else to have the node's own address.
func addressIsOurs() Condition {
	return Condition{
		ID: "arp/duplicate", Title: "Nobody else has this node's address", Effect: lostForSome, Severity: health.Required,
		Evaluate: func(n Node) Verdict {
			f := &n.Examined.Path
			v := Verdict{Status: health.OK, Want: "nobody answers ARP for it", Got: "as wanted"}
			if f.ClaimsErr != nil {
				return unknown(v.Want, f.ClaimsErr)
			}
			for _, c := range othersWith(f, f.Node) {
				v.Status, v.Got = health.Failed, fmt.Sprintf("%s also answers for %s, on %s", c.MAC, f.Node, c.Link)
				v.Cause = "two hosts have the same address"
				v.Remedy = "nothing on this node can mend this: give the host with that MAC another address"
			}
			return v
		},
	}
}
