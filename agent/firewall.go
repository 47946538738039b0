package agent

import (
	"errors"
	"fmt"
	"net/netip"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/tunnel"
)

const firewallID = "tunnel/firewall"

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
			v := Verdict{Status: health.Failed, Want: inWordsOf(wanted)}
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
	return min(max(mtu-wrapping, leastMSS), mostMSS)
}

// The bounds of what clamp_mss takes, which are TCP's own.
const (
	leastMSS = 536
	mostMSS  = 65495
)

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
	switch {
	case f.Guard && f.MSS > 0:
		return fmt.Sprintf("the table ip rsagent with its guard and an MSS of %d at most", f.MSS)
	case f.Guard:
		return "the table ip rsagent with its guard"
	case f.MSS > 0:
		return fmt.Sprintf("the table ip rsagent with an MSS of %d at most", f.MSS)
	}
	return "no table ip rsagent"
}
