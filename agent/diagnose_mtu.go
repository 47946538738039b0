package agent

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/probe/sockets"
)

// A connection whose gap is so old has lost the same packet some times in a row.
const oldGap = 2 * time.Second

// gaps counts the connections that wait for something lost, where a VIP announces
// larger segments than fit into the tunnel. Elsewhere there is no need to know.
func gaps(c config.Config, n Node, announced int) (sockets.Gaps, error) {
	if announced <= mssFor(n) {
		return sockets.Gaps{}, nil
	}
	return sockets.GapsOf(c.VIPs, oldGap)
}

// largePacketsCome wants what clients send to fit into the tunnel, or clients to
// hear that it does not. Most nodes without a clamp serve all the same: the
// director says by ICMP what fits. So what VIPs announce is told only if there are
// clients whose packets do not come.
func largePacketsCome(c config.Config) Condition {
	return Condition{
		ID: "path/mtu", Title: "What clients send fits into the tunnel, or they hear that it does not", Severity: health.Advisory,
		Effect: "Uploads hang, and connections with TLS that begin with more than one packet.",
		Needs:  []string{firewallID},
		Evaluate: func(n Node) Verdict {
			x := n.Examined
			fits, announced := mssFor(n), x.Path.Wire.MSS
			v := Verdict{Status: health.OK, Want: fmt.Sprintf("an MSS of at most %d, or no client that loses what is larger", fits)}
			switch {
			case x.Path.WireErr != nil:
				return unknown(v.Want, x.Path.WireErr)
			case announced == 0:
				v.Got = "no answer was seen"
				return v
			case announced <= fits:
				v.Got = fmt.Sprintf("an MSS of %d", announced)
				return v
			case x.GapsErr != nil:
				return unknown(v.Want, x.GapsErr)
			}
			v.Got = fmt.Sprintf("an MSS of %d, and %d of %d connections wait for what was lost again and again", announced, x.Gaps.Waiting, x.Gaps.Open)
			if manyWait(x.Gaps) {
				v.Status, v.Remedy = health.Failed, clampByHand(c.VIPs, fits)
				v.Cause = "no director can wrap what is larger, and clients do not hear that: ICMP is filtered, or not sent"
			}
			return v
		},
	}
}

// manyWait tells more than a client or two that are gone for good.
func manyWait(g sockets.Gaps) bool {
	const few, part = 2, 20
	return g.Waiting >= few && g.Waiting*part >= g.Open
}

// clampByHand is a command that makes a node announce less.
func clampByHand(vips []netip.Addr, mss int) string {
	var list []string
	for _, v := range vips {
		list = append(list, v.String())
	}
	return fmt.Sprintf("nft 'add table ip mss; add chain ip mss out { type filter hook output priority -150; }; "+
		"add rule ip mss out ip saddr { %s } tcp flags & (syn|ack) == syn|ack tcp option maxseg size > %d tcp option maxseg size set %[2]d'"+
		"   # until the next boot; for good: clamp_mss = \"auto\" of rsagent", strings.Join(list, ", "), mss)
}
