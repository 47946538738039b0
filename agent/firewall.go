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
	v := Verdict{Status: health.OK, Want: "directors", Got: commas(c.Directors)}
	switch {
	case !c.Tunnel.Guard:
		v.Got = "the guard is off"
	case len(c.Directors) == 0:
		v.Status, v.Got = health.Failed, "none: any host may send encapsulated packets to a VIP"
		v.Remedy = "set directors in the configuration, or guard = false if the network keeps strangers out"
	}
	return Condition{
		ID:       "tunnel/directors",
		Title:    "The directors are declared, so that nobody else gets in by the tunnel",
		Effect:   "Nothing yet, but anybody can send with a forged address through the tunnel.",
		Severity: health.Advisory,
		Evaluate: func(Node) Verdict { return v },
	}
}

// firewallHolds wants rsagent's own table of nf_tables, and in it the guard and
// the clamp. It gates readiness: a table that is not as it should be may open
// the tunnel to anybody, or close it to the directors.
func firewallHolds(c config.Config, filter *filter) Condition {
	return Condition{
		ID:       firewallID,
		Title:    "Only the directors get in by the tunnel, and what clients send fits into it",
		Effect:   "Strangers get in by the tunnel, or directors do not, or large uploads hang.",
		Severity: health.Required,
		Looks:    atLinks | atFirewall,
		Evaluate: func(n Node) Verdict {
			if c.Tunnel.ClampMSS.Auto && n.NetErr != nil {
				return unknown(tableName, n.NetErr) // the MTU is not known
			}
			wanted, _ := filter.on(n)
			v := Verdict{Status: health.Failed, Want: tableName + ": " + inWordsOf(wanted)}
			if n.FirewallErr != nil {
				if !errors.Is(n.FirewallErr, tunnel.ErrNoNFTables) {
					return unknown(v.Want, n.FirewallErr)
				}
				v.Got = n.FirewallErr.Error()
				v.Remedy = "modprobe nf_tables, or guard = false and clamp_mss = \"off\" under [tunnel]"
				return v
			}
			holds, difference := filter.holds(n)
			if holds {
				v.Status, v.Got = health.OK, "as wanted"
				return v
			}
			v.Got = difference
			v.Remedy = "systemctl start rsagent"
			return v
		},
		Repair: func(n Node) []Step {
			wanted, state := filter.on(n)
			_, difference := n.Firewall.Is(state)
			return []Step{applyFirewall(wanted, difference)}
		},
	}
}

// filter knows what a configuration wants of the packet filter. That depends on
// the node by one number only, and takes long to work out, so it is kept. It is
// for one goroutine.
type filter struct {
	config config.Config
	known  bool
	wanted tunnel.Firewall // for the node that was asked about last
	state  tunnel.FirewallState
	err    error

	judged  uint64 // which look at the packet filter the rest is about; 0: none
	differs string // empty: it was as wanted
}

// on is what is wanted on a node, and how the kernel lists that.
func (f *filter) on(n Node) (tunnel.Firewall, tunnel.FirewallState) {
	mss := f.config.Tunnel.ClampMSS.Bytes
	if f.config.Tunnel.ClampMSS.Auto {
		mss = mssFor(n)
	}
	if !f.known || f.wanted.MSS != mss {
		f.known, f.wanted = true, firewallFor(f.config, mss)
		f.state, f.err = f.wanted.State()
		f.judged = 0
	}
	return f.wanted, f.state
}

// holds says whether the packet filter was seen to be as wanted, and if not,
// what differs.
func (f *filter) holds(n Node) (bool, string) {
	_, state := f.on(n)
	switch {
	case n.FirewallErr != nil:
		return false, n.FirewallErr.Error()
	case f.err != nil:
		return false, f.err.Error()
	}
	if look := n.Looks.of(atFirewall); look == 0 || look != f.judged {
		_, f.differs = n.Firewall.Is(state)
		f.judged = look
	}
	return f.differs == "", f.differs
}

func firewallFor(c config.Config, mss int) tunnel.Firewall {
	return tunnel.Firewall{
		Guard: c.Tunnel.Guard, Directors: c.Directors,
		VIPs: c.VIPs, Device: c.Tunnel.Device, MSS: mss,
	}
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
		if r, err := h.Net.RouteTo(d.Addr(), netip.Addr{}); err == nil && r.Link != 0 {
			links = append(links, r.Link)
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
