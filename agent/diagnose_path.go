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

// Ids of conditions on the way of a packet.
const (
	pathLinksID   = "path/links"
	pathVRFID     = "path/vrf"
	pathXDPID     = "path/xdp"
	pathTCID      = "path/tc"
	pathXfrmID    = "path/xfrm"
	pathTunnelsID = "path/tunnels"
	pathIPVSID    = "path/ipvs"
	pathLossID    = "path/loss"
	pathInID      = "path/in"
	pathOutID     = "path/out"
	pathVanishID  = "path/vanish"
	pathECNID     = "path/congested"
	gatewayID     = "path/gateway"
	pathARPID     = "path/arp"
)

const (
	lostForAll   = "Every request that a director sends to this node times out."
	lostForSome  = "Some requests that are sent to this node time out."
	circles      = "Requests go to another node in place of this one, or round between nodes."
	answerLost   = "No client gets an answer from this node."
	otherAnswers = "Clients reach the other host in place of the directors, now and then or always."
)

// lookAtPath asks for the facts of the way between the wire and the services.
// The trial knows no service that is not on the node.
func lookAtPath(c config.Config, n Node) path.Facts {
	q := path.Question{Device: c.Tunnel.Device, VIPs: c.VIPs, Facing: n.Facing, Own: own(c, n)}
	for _, d := range c.Directors {
		if d.IsSingleIP() {
			q.Directors = append(q.Directors, d.Addr())
		}
	}
	for _, p := range c.Pools {
		if at := p.Address; n.holds(at.Addr()) && !slices.Contains(q.Services, at) {
			q.Services = append(q.Services, at)
		}
	}
	for _, vip := range c.VIPs {
		if len(c.Pools) == 0 && n.holds(vip) {
			q.Services = append(q.Services, netip.AddrPortFrom(vip, 80))
		}
	}
	return path.Look(q)
}

// holds tells whether the VIP is on the device and the kernel takes it for its
// own.
func (n Node) holds(vip netip.Addr) bool {
	return n.Net.Local[vip] && len(n.Net.Addresses[vip]) > 0
}

// pathDiagnosis returns what must hold between the wire and the services, in the
// order of the way.
func pathDiagnosis(c config.Config) []Condition {
	facts := func(n Node) *path.Facts { return &n.Examined.Path }
	obstacles := []string{pathLinksID, pathVRFID, pathXDPID, pathTCID, pathXfrmID, pathTunnelsID, pathIPVSID}
	before := append([]string{deviceUpID, localID, rpFilterIDStart + c.Tunnel.Device, wayInID, wayOutID, filterInID, filterClientsID}, obstacles...)
	return []Condition{
		nothingStops(pathXDPID, "No XDP program takes what the directors send", lostForAll,
			func(n Node) ([]path.Stop, error) { return facts(n).Programs, facts(n).ProgramsErr }),
		nothingStops(pathTCID, "No filter of tc takes what the directors send, or the answers", lostForAll,
			func(n Node) ([]path.Stop, error) { return facts(n).Classifiers, facts(n).ClassifiersErr }),
		nothingStops(pathXfrmID, "No IPsec policy is in the way", lostForAll,
			func(n Node) ([]path.Stop, error) { return refuted(facts(n), facts(n).Policies), facts(n).PoliciesErr }),
		nothingStops(pathTunnelsID, "No other tunnel takes what the directors send", lostForAll,
			func(n Node) ([]path.Stop, error) { return refuted(facts(n), facts(n).Tunnels), facts(n).LinksErr }),
		nothingStops(pathIPVSID, "This node does not balance once more what a director has given it", circles,
			func(n Node) ([]path.Stop, error) { return facts(n).Balancers, facts(n).BalancersErr }),
		sourcesTakenIn(c), askedByOthers(c),
		queuesLetOut(), queuesAreQuick(),
		hearsARP(),
		gatewayAnswers(),
		trialArrives(c, append(slices.Clone(before), conntrackID, tcpMemID)),
		trialAnswered(c, append(slices.Clone(before), pathInID, filterAnswersID, pathLossID, pathARPID, gatewayID)),
		notCongested(c),
		nothingVanishes(c, append(slices.Clone(before), pathInID, pathOutID, pathSourceID, pathLossID, pathARPID, gatewayID, pathECNID)),
		largePacketsCome(c), udpAnswersAsAsked(),
		noStrangers(c),
		claimedByOne(c), claimedByDirectors(c), addressIsOurs(),
	}
}

// nothingStops fails if there is a stop.
func nothingStops(id, title, effect string, find func(Node) ([]path.Stop, error)) Condition {
	return Condition{
		ID: id, Title: title, Effect: effect, Severity: health.Required,
		Evaluate: func(n Node) Verdict {
			v := Verdict{Status: health.OK, Want: "none", Got: "none found"}
			stops, err := find(n)
			if len(stops) == 0 && err != nil {
				return unknown(v.Want, err)
			}
			if len(stops) == 0 {
				return v
			}
			var got, remedies []string
			for _, s := range stops {
				got = append(got, fmt.Sprintf("%s %s", s.Where, s.Why))
				if !slices.Contains(remedies, s.Remedy) {
					remedies = append(remedies, s.Remedy)
				}
			}
			v.Status, v.Got = health.Failed, strings.Join(slices.Compact(got), "; ")
			v.Cause = "it takes " + stops[0].Leg.String()
			v.Remedy = strings.Join(remedies, "\n")
			return v
		},
	}
}

// refuted drops the stops if a service has answered each trial: then nothing
// is in the way but on the link that the directors' packets come in by.
func refuted(f *path.Facts, stops []path.Stop) []path.Stop {
	if len(f.Trials) == 0 || slices.ContainsFunc(f.Trials, func(t path.Trial) bool { return !t.Granted && !t.Refused }) {
		return stops
	}
	return slices.DeleteFunc(slices.Clone(stops), func(s path.Stop) bool { return s.Leg == path.Inner || strings.HasPrefix(s.Where, "the tunnel ") })
}

// linksCarry wants the links that face the directors to be able to carry
// anything.
func linksCarry(c config.Config) Condition {
	return Condition{
		ID: pathLinksID, Title: "The links that face the directors work", Effect: lostForAll, Severity: health.Required,
		Evaluate: func(n Node) Verdict {
			f := &n.Examined.Path
			v := Verdict{Status: health.OK, Want: "up, with a carrier and ARP", Got: "as wanted"}
			if f.LinksErr != nil {
				return unknown(v.Want, f.LinksErr)
			}
			fail := func(got, remedy string) Verdict {
				v.Status, v.Got, v.Remedy = health.Failed, got, remedy
				return v
			}
			for _, i := range n.Facing {
				l := f.Link(i)
				switch {
				case l == nil:
				case !l.Carrier && l.Up:
					return fail(l.Name+" has no carrier", "nothing on this node can mend this: look at its cable, or the switch's port")
				case l.NoARP && l.Type == etherType && l.Kind != "dummy" && !(f.Gateway.Link == i && f.Gateway.Fixed()):
					// Who sets the gateway's hardware address by hand wants it so.
					return fail(l.Name+" does not speak ARP", fmt.Sprintf("ip link set %s arp on", l.Name))
				}
			}
			if len(n.Facing) > 0 || len(c.Directors) == 0 {
				return v
			}
			for _, l := range f.Links {
				if !l.Up && l.Type == etherType && hasAddress(n, c, l.Name) {
					return fail(fmt.Sprintf("no route to any director, and %s is down", l.Name),
						fmt.Sprintf("ip link set %s up   # its routes by a gateway went with it: ifup, nmcli or networkctl bring them back", l.Name))
				}
			}
			if names := addressless(f, n, c); names != "" {
				return fail(fmt.Sprintf("no route to any director: %s has no address", names),
					fmt.Sprintf("ip addr add ADDRESS/PREFIX dev %s   # its routes went with the address: ifup, nmcli or networkctl bring all of it back", names))
			}
			if f.Foreign {
				v.Cause = "this process is in another network namespace than process 1"
				return fail("no route to any director", "run it where the directors' packets come in, such as: nsenter -t 1 -n rsagent check")
			}
			return v
		},
	}
}

// addressless is the only link of a network that is up, if that has no address;
// empty: there are more, or none, or it has one.
func addressless(f *path.Facts, n Node, c config.Config) string {
	var up []string
	for _, l := range f.Links {
		if l.Type == etherType && l.Up && l.Kind != "dummy" && l.Master == 0 {
			up = append(up, l.Name)
		}
	}
	if len(up) != 1 || hasAddress(n, c, up[0]) {
		return ""
	}
	return up[0]
}

const etherType = 1 // ARPHRD_ETHER

func hasAddress(n Node, c config.Config, link string) bool {
	for addr, at := range n.Net.Addresses {
		for _, a := range at {
			if a.Link == link && !slices.Contains(c.VIPs, addr) {
				return true
			}
		}
	}
	return false
}

// noVRF wants the device and what faces the directors to be in the same
// routing domain, unless services answer all the same.
func noVRF(c config.Config) Condition {
	return Condition{
		ID: pathVRFID, Title: "The tunnel and the links are in one routing domain", Effect: lostForAll, Severity: health.Required,
		Evaluate: func(n Node) Verdict {
			f := &n.Examined.Path
			v := Verdict{Status: health.OK, Want: "no VRF around only one of them", Got: "as wanted"}
			if f.LinksErr != nil {
				return unknown(v.Want, f.LinksErr)
			}
			granted := slices.ContainsFunc(f.Trials, func(t path.Trial) bool { return t.Granted })
			device := f.Named(c.Tunnel.Device)
			for _, l := range f.Links {
				faces := slices.Contains(n.Facing, l.Index) || len(n.Facing) == 0 && l.Type == etherType && hasAddress(n, c, l.Name)
				if device == nil || granted || l.Name != c.Tunnel.Device && !faces || l.MasterKind != "vrf" {
					continue
				}
				if l.Name != c.Tunnel.Device && l.Master == device.Master {
					continue
				}
				v.Status, v.Got = health.Failed, fmt.Sprintf("%s is in the VRF %s", l.Name, nameOf(f, l.Master))
				v.Cause = "sockets and routes outside of a VRF do not see what comes in there"
				v.Remedy = fmt.Sprintf("ip link set %s nomaster", l.Name)
				return v
			}
			return v
		},
	}
}

func nameOf(f *path.Facts, index int) string {
	if l := f.Link(index); l != nil {
		return l.Name
	}
	return fmt.Sprintf("link %d", index)
}

// hearsARP wants the kernel to take the answers of ARP that come in: what is for
// those who gave them waits for it.
func hearsARP() Condition {
	return Condition{
		ID: pathARPID, Needs: []string{pathLossID}, Title: "The kernel hears who answers ARP", Effect: "Neither the directors nor this node find each other: all requests time out.", Severity: health.Required,
		Evaluate: func(n Node) Verdict {
			f := &n.Examined.Path
			v := Verdict{Status: health.OK, Want: "it takes the answers of its neighbours", Got: "as wanted"}
			if f.ClaimsErr != nil {
				v.Got = "not asked"
				return v
			}
			if len(f.Unheard) > 0 {
				v.Status, v.Got = health.Failed, fmt.Sprintf("%s answers ARP, and the kernel still waits for that", f.Unheard[0])
				v.Cause = "a packet filter for ARP drops what comes in"
				v.Remedy = "look for it: nft list ruleset arp; nft list ruleset bridge; arptables -S; ebtables -L"
			}
			return v
		},
	}
}

// gatewayAnswers wants the gateway to be there, at the address that this node
// sends to.
func gatewayAnswers() Condition {
	return Condition{
		ID: gatewayID, Needs: []string{pathLossID}, Title: "The gateway to the clients is there", Effect: "Clients beyond the gateway get no answer from this node.", Severity: health.Required,
		Evaluate: func(n Node) Verdict {
			f := &n.Examined.Path
			g := f.Gateway
			v := Verdict{Status: health.OK, Want: "it answers ARP", Got: "as wanted"}
			claims := f.Claims[g.Addr]
			switch {
			case !g.Addr.IsValid():
				v.Got = "no gateway"
			case f.ClaimsErr != nil:
				v.Status, v.Got = health.OK, "not asked"
			case len(claims) == 0 && g.Silent():
				v.Status, v.Got = health.Failed, fmt.Sprintf("%s does not answer", g.Addr)
				v.Cause = "the gateway is off, or the default route leads to an address that nobody has"
				v.Remedy = fmt.Sprintf("see where it stands: ip route show table all | grep 'via %s'; and set the right one: ip route replace default via GATEWAY dev %s", g.Addr, nameOf(f, g.Link))
			case g.Fixed() && len(claims) > 0 && !slices.ContainsFunc(claims, func(c path.Claim) bool { return c.MAC == g.MAC }):
				v.Status, v.Got = health.Failed, fmt.Sprintf("%s is at %s, and this node sends to %s", g.Addr, claims[0].MAC, g.MAC)
				v.Cause = "somebody has set a permanent neighbour entry"
				v.Remedy = fmt.Sprintf("ip neigh del %s dev %s", g.Addr, nameOf(f, g.Link))
			}
			return v
		},
	}
}

// explain finds the rule or the route that is in the way. An error leaves it to
// the reader of the finding.
func explain(c config.Config, n Node) (in, out path.Stop) {
	if w, ok := worst(n.Ways, func(w Way) bool { return !w.In.Local }); !ok {
		in, _ = path.Explain(path.Flow{In: c.Tunnel.Device, From: w.Client, To: w.VIP})
		if in == (path.Stop{}) { // then it is the source that the kernel does not like
			in, _ = path.Explain(path.Flow{In: "lo", From: w.VIP, To: w.Client})
		}
	}
	if w, ok := worst(n.Ways, func(w Way) bool { return w.OutErr != nil || w.Out.Local }); !ok {
		out, _ = path.Explain(path.Flow{In: "lo", From: w.VIP, To: w.Client})
	}
	if l := n.link(c.Tunnel.Device); l != nil && out == (path.Stop{}) {
		if w, ok := worst(n.Ways, func(w Way) bool { return w.Out.Link == l.Index }); !ok {
			out, _ = path.Explain(path.Flow{In: "lo", From: w.VIP, To: w.Client})
		}
	}
	return in, out
}

// explained puts what is known to be in the way into a verdict.
func explained(v Verdict, stop path.Stop) Verdict {
	if stop == (path.Stop{}) {
		return v
	}
	v.Cause = fmt.Sprintf("%s %s", stop.Where, stop.Why)
	if stop.Remedy != "" {
		v.Remedy = stop.Remedy
	}
	return v
}
