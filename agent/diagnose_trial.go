package agent

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/probe/sockets"
	"rsagent/tunnel/path"
)

// telling are the counters that say why a packet was dropped, and for what.
var telling = []struct{ name, means string }{
	{"IpExtInNoRoutes", "no route"}, {"IpInAddrErrors", "an address that is not this node's"},
	{"TcpExtIPReversePathFilter", "reverse path filtering"}, {"IpInHdrErrors", "a broken header"},
	{"IpInUnknownProtos", "a protocol that nobody wants"}, {"IpInDiscards", "lack of memory"},
	{"XfrmInPolBlock", "an IPsec policy"}, {"XfrmInTmplMismatch", "an IPsec policy"}, {"XfrmInNoPols", "an IPsec policy"},
	{"XfrmOutPolBlock", "an IPsec policy"}, {"TcpExtListenDrops", "a full queue of a service"}, {"TcpExtListenOverflows", "a full queue of a service"},
	{"TcpExtTCPReqQFullDrop", "a full queue of half-open connections"}, {"TcpInCsumErrors", "a wrong checksum"},
	{"IpOutNoRoutes", "no route for the answer"}, {"IpOutDiscards", "a packet filter on the way out"},
	{"conntrack drop", "connection tracking"}, {"conntrack insert_failed", "connection tracking"}, {"conntrack early_drop", "a full table of connections"},
	{"softnet dropped", "a full queue of a processor"},
}

// rose names what counters say of the time in which the node was looked at.
func rose(f *path.Facts) string {
	var words []string
	for _, t := range telling {
		if r := f.Before.Rose(t.name, f.After); r > 0 {
			words = append(words, fmt.Sprintf("%s +%d (%s)", t.name, r, t.means))
		}
	}
	if len(words) == 0 {
		return "no counter of the kernel's says why, which a packet filter or a program would explain"
	}
	return "counters that rose: " + strings.Join(words, ", ")
}

// unserved returns for each service that no trial got an answer from the trial
// that came furthest.
func unserved(f *path.Facts) []path.Trial {
	best := map[netip.AddrPort]path.Trial{}
	var order []netip.AddrPort
	far := func(t path.Trial) int {
		switch {
		case t.Granted || t.Refused:
			return 5
		case t.Reject:
			return 4
		case t.Half:
			return 3
		case t.Unwrapped != "":
			return 2
		case t.Looped:
			return 1
		}
		return 0
	}
	for _, t := range f.Trials {
		was, known := best[t.Service]
		if !known {
			order = append(order, t.Service)
		}
		if !known || far(t) > far(was) {
			best[t.Service] = t
		}
	}
	var list []path.Trial
	for _, s := range order {
		if t := best[s]; !t.Granted && !t.Refused {
			list = append(list, t)
		}
	}
	return list
}

// trialArrives wants a packet such as a director's to come to the service. What
// the packet runs into, nobody needs to have thought of.
func trialArrives(c config.Config, needs []string) Condition {
	return Condition{
		ID: pathInID, Title: "A trial packet comes through the tunnel to the services", Effect: lostForAll,
		Severity: health.Required, Needs: needs,
		Evaluate: func(n Node) Verdict {
			f := &n.Examined.Path
			v := Verdict{Status: health.OK, Want: "each service answers a request in IPIP", Got: "as wanted"}
			if f.TrialErr != nil {
				return untried(c, f, v.Want)
			}
			if len(f.Trials) == 0 {
				v.Got = "nothing to try"
			}
			for _, t := range unserved(f) {
				if t.Half {
					continue // it has arrived: see the answer
				}
				if fullPool(c, n, t.Service) {
					continue // the kernel drops it without a word: see the service
				}
				if !t.Looped {
					return unknown(v.Want, fmt.Errorf("the trial packet did not come back by lo"))
				}
				if t.Unwrapped == "" && !knowsDirectors(c) {
					v.Got = "not known: no director's address is, and a packet of this node's own is kept out of the tunnel, as a stranger's may well be"
					continue
				}
				v.Status = health.Failed
				v.Got = whereStopped(c, t)
				v.Cause, v.Remedy = why(c, n, t, fmt.Sprintf("nft -a list ruleset; iptables-save -c; tc -s filter show dev %s ingress", c.Tunnel.Device))
				return v
			}
			return v
		},
	}
}

// fullPool tells whether the service is that of a pool, of which more is known,
// and whether no connection to it has room any more.
func fullPool(c config.Config, n Node, service netip.AddrPort) bool {
	isPool := slices.ContainsFunc(c.Pools, func(p config.Pool) bool { return p.Address == service })
	return isPool && slices.ContainsFunc(takersOf(c, n, service), sockets.Listener.Full)
}

// untried is the verdict where there was no trial. A node without a way to
// anybody has nothing to try.
func untried(c config.Config, f *path.Facts, want string) Verdict {
	if !f.Node.IsValid() && !knowsDirectors(c) {
		return Verdict{Status: health.OK, Want: want, Got: "nothing to try: " + f.TrialErr.Error()}
	}
	return unknown(want, f.TrialErr)
}

func whereStopped(c config.Config, t path.Trial) string {
	switch {
	case t.Reject:
		return fmt.Sprintf("this node refuses what is for %s, by ICMP of type %d and code %d: a packet filter rejects it", t.Service, t.Rejected[0], t.Rejected[1])
	case t.Unwrapped == "":
		return fmt.Sprintf("what a director sends for %s comes to the IP layer and never out of a tunnel", t.Service)
	case t.Unwrapped != c.Tunnel.Device:
		return fmt.Sprintf("what a director sends for %s comes out of %s in place of %s, and nobody answers", t.Service, t.Unwrapped, c.Tunnel.Device)
	}
	return fmt.Sprintf("what is for %s comes out of %s, and vanishes before a socket has it", t.Service, t.Unwrapped)
}

// trialAnswered wants the answer to leave the node, from the VIP.
func trialAnswered(c config.Config, needs []string) Condition {
	return Condition{
		ID: pathOutID, Title: "The answer to a trial packet leaves the node", Effect: answerLost,
		Severity: health.Advisory, Needs: needs,
		Evaluate: func(n Node) Verdict {
			f := &n.Examined.Path
			v := Verdict{Status: health.OK, Want: "sent from the VIP by a link", Got: "as wanted"}
			if f.TrialErr != nil {
				return untried(c, f, v.Want)
			}
			for _, t := range unserved(f) {
				if !t.Half || !reachable(f, t) {
					continue
				}
				v.Status, v.Got = health.Failed, fmt.Sprintf("%s has the request, and its answer leaves by no link", t.Service)
				v.Cause, v.Remedy = why(c, n, t, "nft -a list ruleset; iptables-save -c; tc -s qdisc; ip xfrm policy")
				return v
			}
			for _, t := range f.Trials {
				if t.Granted && t.As.Addr() != t.Service.Addr() {
					v.Status, v.Got = health.Failed, fmt.Sprintf("the answer of %s leaves as %s", t.Service, t.As)
					v.Cause = "a packet filter gives it another source, such as masquerading"
					v.Remedy = "look for it: nft -a list ruleset; iptables-save -c -t nat"
					return v
				}
			}
			return v
		},
	}
}

// reachable tells whether the answer could have been sent: without the client's
// or the gateway's hardware address it waits.
func reachable(f *path.Facts, t path.Trial) bool {
	if slices.ContainsFunc(f.Trials, func(o path.Trial) bool { return o.Granted }) {
		return true
	}
	client := t.Client.Addr()
	return f.Resolved[client] || f.Resolved[f.Gateway.Addr]
}

// nothingVanishes looks at what came and went by itself: with the trial good,
// what is left is the link that the directors' packets come in by.
func nothingVanishes(c config.Config, needs []string) Condition {
	const few = 5
	return Condition{
		ID: pathVanishID, Title: "What the directors send comes out of the tunnel and is answered", Effect: lostForAll,
		Severity: health.Required, Needs: needs,
		Evaluate: func(n Node) Verdict {
			f := &n.Examined.Path
			v := Verdict{Status: health.OK, Want: "nothing is lost", Got: "as far as anything came"}
			if f.WireErr != nil {
				return unknown(v.Want, f.WireErr)
			}
			if got, cause, remedy := inUDP(c, f); got != "" {
				v.Status, v.Got, v.Cause, v.Remedy = health.Failed, got, cause, remedy
				return v
			}
			sent, by := 0, 0
			for s, count := range f.Wire.From {
				if isDirector(c, s.Addr) {
					sent, by = sent+count, s.Link
				}
			}
			switch {
			case sent >= few && f.Wire.Unwrapped == 0:
				link := nameOf(f, by)
				v.Status = health.Failed
				v.Got = fmt.Sprintf("%d packets of directors came in by %s, and none came out of %s", sent, link, c.Tunnel.Device)
				v.Cause, v.Remedy = why(c, n, path.Trial{}, fmt.Sprintf("nft -a list ruleset; tc -s filter show dev %s ingress; sysctl net.ipv4.conf.%s.rp_filter", link, link))
				if cause, remedy := notLetIn(c, n); cause != "" {
					v.Cause, v.Remedy = cause, remedy
				}
				v.Cause = "they are lost on the way from the link to the tunnel; " + v.Cause
			case f.Wire.Silent():
				v.Status = health.Failed
				v.Got = fmt.Sprintf("%d requests came out of %s, and nothing was answered", f.Wire.Asked, c.Tunnel.Device)
				v.Cause = rose(f)
				v.Remedy = "look for it: nft -a list ruleset; ip route get CLIENT from VIP"
				for _, a := range n.Examined.Asked {
					if cause, remedy := a.whyUnanswered(deviceIndex(n, c), n.Examined, flows(c)); cause != "" {
						v.Cause = cause
						v.Remedy = cmp.Or(remedy, v.Remedy)
						break
					}
				}
			case sent == 0:
				v.Got = "no director sent anything while this was looked at"
			}
			return v
		},
	}
}

// notCongested wants no packet of a director to be marked on the way so that the
// tunnel drops it.
func notCongested(c config.Config) Condition {
	const few = 3
	return Condition{
		ID: pathECNID, Title: "No packet of a director is marked so that the tunnel drops it", Effect: lostForSome,
		Severity: health.Required,
		Evaluate: func(n Node) Verdict {
			f := &n.Examined.Path
			v := Verdict{Status: health.OK, Want: "no outer header marked as congested around a packet that cannot be", Got: "as far as anything came"}
			if f.WireErr != nil {
				return unknown(v.Want, f.WireErr)
			}
			for s, count := range f.Wire.Congested {
				if count < few || !isDirector(c, s.Addr) {
					continue
				}
				v.Status, v.Got = health.Failed, fmt.Sprintf("%d of %d packets from %s by %s", count, f.Wire.From[s], s.Addr, nameOf(f, s.Link))
				v.Cause = "the director, or a router on the way, marks outer headers as congested (ECN), and RFC 6040 has the tunnel drop those"
				v.Remedy = "nft 'add table ip unmark; add chain ip unmark in { type filter hook prerouting priority -300; }; " +
					"add rule ip unmark in ip protocol 4 ip ecn ce @nh,174,2 0 ip ecn set not-ect'   # until nobody marks them"
			}
			return v
		},
	}
}

func isDirector(c config.Config, a netip.Addr) bool {
	return len(c.Directors) == 0 || slices.ContainsFunc(c.Directors, func(p netip.Prefix) bool { return p.Contains(a) })
}

// knowsDirectors tells whether there is a director in whose name a packet can be
// tried. Without one it is sent from this node's own address, to which the
// packet filters owe nothing.
func knowsDirectors(c config.Config) bool {
	return slices.ContainsFunc(c.Directors, netip.Prefix.IsSingleIP)
}

// granted tells whether a service answered a trial, as itself. Port 0 is any.
func granted(n Node, service netip.AddrPort) bool {
	return slices.ContainsFunc(n.Examined.Path.Trials, func(t path.Trial) bool {
		return t.Granted && t.As == t.Service && t.Service.Addr() == service.Addr() &&
			(service.Port() == 0 || t.Service.Port() == service.Port())
	})
}

// noStrangers tells of somebody who sends as a director would and is none.
func noStrangers(c config.Config) Condition {
	const few = 3
	return Condition{
		ID: "path/strangers", Title: "Who sends IPIP is a director", Effect: "Requests by that host are dropped.", Severity: health.Advisory,
		Evaluate: func(n Node) Verdict {
			f := &n.Examined.Path
			v := Verdict{Status: health.OK, Want: "IPIP from directors only", Got: "as wanted"}
			if f.WireErr != nil {
				return unknown(v.Want, f.WireErr)
			}
			for s, count := range f.Wire.From {
				if count >= few && !isDirector(c, s.Addr) {
					v.Status, v.Got = health.Failed, fmt.Sprintf("%d packets from %s by %s", count, s.Addr, nameOf(f, s.Link))
					v.Cause = "a director that is not declared, or somebody who tries to get in"
					v.Remedy = fmt.Sprintf("if it is a director, add %q to directors", s.Addr)
				}
			}
			return v
		},
	}
}
