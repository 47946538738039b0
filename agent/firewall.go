package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/tunnel"
)

const firewallID = "tunnel/firewall"

// directorsDeclared wants the guard to know whom to let in.
func directorsDeclared(c config.Config) Condition {
	return Condition{
		ID:       "tunnel/directors",
		Title:    "The directors are declared, so that nobody else gets in by the tunnel",
		Severity: health.Advisory,
		Evaluate: func(Node) Verdict {
			v := Verdict{Status: health.OK, Want: "directors", Got: commas(c.Directors)}
			switch {
			case !c.Tunnel.Guard:
				v.Got = "the guard is off"
			case len(c.Directors) == 0:
				v.Status, v.Got = health.Failed, "none: any host may send encapsulated packets to a VIP"
				v.Remedy = "set directors in the configuration, or guard = false if the network keeps strangers out"
			}
			return v
		},
	}
}

// firewallHolds wants rsagent's own table of nf_tables, and in it the guard and
// the clamp. It gates readiness: a table that is not as it should be may open
// the tunnel to anybody, or close it to the directors.
func firewallHolds(c config.Config) Condition {
	return Condition{
		ID:       firewallID,
		Title:    "Only the directors get in by the tunnel, and what clients send fits into it",
		Severity: health.Required,
		Evaluate: func(n Node) Verdict {
			if c.Tunnel.ClampMSS.Auto && n.NetErr != nil {
				return unknown("the table ip rsagent", n.NetErr) // the MTU is not known
			}
			wanted := firewallFor(c, n)
			v := Verdict{Status: health.Failed, Want: "table ip rsagent: " + inWordsOf(wanted)}
			if n.FirewallErr != nil {
				if !errors.Is(n.FirewallErr, tunnel.ErrNoNFTables) {
					return unknown(v.Want, n.FirewallErr)
				}
				v.Got = n.FirewallErr.Error()
				v.Remedy = "modprobe nf_tables, or guard = false and clamp_mss = \"off\" under [tunnel]"
				return v
			}
			holds, difference := n.Firewall.Holds(wanted)
			if holds {
				v.Status, v.Got = health.OK, "as wanted"
				return v
			}
			v.Got = difference
			v.Remedy = "systemctl start rsagent"
			return v
		},
		Repair: func(n Node) []Step {
			wanted := firewallFor(c, n)
			_, difference := n.Firewall.Holds(wanted)
			return []Step{applyFirewall(wanted, difference)}
		},
	}
}

// guarded says whether the packet filter was seen to be as wanted.
func guarded(c config.Config, n Node) bool {
	holds, _ := n.Firewall.Holds(firewallFor(c, n))
	return n.FirewallErr == nil && holds
}

// firewallFor is the table for the node as it is: the clamp follows the MTU
// towards the directors.
func firewallFor(c config.Config, n Node) tunnel.Firewall {
	f := tunnel.Firewall{
		Guard: c.Tunnel.Guard, Directors: c.Directors,
		VIPs: c.VIPs, Device: c.Tunnel.Device, MSS: c.Tunnel.ClampMSS.Bytes,
	}
	if c.Tunnel.ClampMSS.Auto {
		f.MSS = mssFor(n)
	}
	return f
}

// What a full packet of a client carries besides its data, once a director
// has wrapped it: outer and inner IPv4 header and the TCP header, all without
// options, which the sender of a segment reckons with (RFC 6691).
const wrapping = 20 + 20 + 20

// mssFor is the largest segment that fits into one packet from a director: the
// smallest MTU of the links that face the directors, less what is around it.
// Where no such link is known, every link that could be one counts.
func mssFor(n Node) int {
	facing := make(map[int]bool)
	for _, index := range n.Facing {
		facing[index] = true
	}
	mtu := 0
	for _, l := range n.Net.Links {
		if facing[l.Index] || len(facing) == 0 && l.Up && speaksARP(l) {
			if mtu == 0 || l.MTU < mtu {
				mtu = l.MTU
			}
		}
	}
	const ethernet = 1500
	if mtu == 0 {
		mtu = ethernet
	}
	return min(max(mtu-wrapping, config.MinMSS), config.MaxMSS)
}

// facing returns the links by which the directors are reached. One that is not
// reached now says nothing.
func (h Host) facing(directors []netip.Prefix) []int {
	var links []int
	for _, d := range directors {
		if index, err := h.Net.LinkToward(d.Addr()); err == nil {
			links = append(links, index)
		}
	}
	return links
}

func inWordsOf(f tunnel.Firewall) string {
	var parts []string
	if f.Guard && len(f.Directors) > 0 {
		parts = append(parts, "only the directors in")
	}
	if f.Guard {
		parts = append(parts, "only VIPs through the tunnel")
	}
	if f.MSS > 0 {
		parts = append(parts, fmt.Sprintf("MSS at most %d", f.MSS))
	}
	if len(parts) == 0 {
		return "absent"
	}
	return strings.Join(parts, ", ")
}
