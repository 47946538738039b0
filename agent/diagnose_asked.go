package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"rsagent/agent/config"
	"rsagent/tunnel/path"
	"rsagent/tunnel/ruleset"
)

// Asked is a client that asked for a service while the wire was watched, and
// what the kernel would do with its packets. It is a real one, so a route or a
// rule for its network alone is found by it.
type Asked struct {
	Way
	Service         netip.AddrPort
	InStop, OutStop path.Stop // what stands in the way; empty: nothing that is known
	Unwrapped       ruleset.Packet
	Answer          ruleset.Packet // without a link: there is no way for it
}

// asked asks the kernel about clients that were seen.
func (h Host) asked(c config.Config, n Node, w path.Wire) []Asked {
	device := n.link(c.Tunnel.Device)
	if device == nil {
		return nil
	}
	const most = 3
	ports := portsOf(n)
	var list []Asked
	for _, seenAsking := range w.Asking[:min(most, len(w.Asking))] {
		client, vip := seenAsking.Client, seenAsking.Service.Addr()
		a := Asked{Way: Way{VIP: vip, Client: client.Addr()}, Service: seenAsking.Service}
		a.In, a.InErr = h.Net.RouteIn(*device, vip, a.Client)
		a.Out, a.OutErr = h.Net.RouteTo(a.Client, vip)
		a.InStop, _ = path.Explain(path.Flow{In: device.Name, From: a.Client, To: vip})
		a.OutStop, _ = path.Explain(path.Flow{In: "lo", From: vip, To: a.Client})
		a.Unwrapped = request(*device, client, a.Service)
		if out := n.linkAt(a.Out.Link); a.OutErr == nil && out != nil {
			a.Unwrapped.Back = seen(*out)
			a.Answer = reply(*out, a.Service, client)
			a.Answer.Port = ports.of(*out, a.Out, a.Client)
		}
		list = append(list, a)
	}
	return list
}

// whyUnanswered says what becomes of the request or of the answer; cause is
// empty if nothing is known. What a filter drops it is asked to let pass for all
// services.
func (a Asked) whyUnanswered(device int, x *Examination, services []netip.AddrPort) (cause, remedy string) {
	f := x.Filters
	name := fmt.Sprintf("what %s asks of %s", a.Client, a.Service)
	switch {
	// Without a way back the source is not liked either: this is the cause.
	case a.OutErr != nil && refuses(a.OutErr):
		cause, remedy = named(fmt.Sprintf("there is no way from %s to %s", a.VIP, a.Client), a.OutStop)
		if remedy == "" && errors.Is(a.OutErr, unix.ENETUNREACH) {
			remedy = "ip route add default via GATEWAY"
		}
	case a.InErr == nil && !a.In.Local || a.InErr != nil && refuses(a.InErr):
		cause, remedy = named(name+" is not delivered on this node", a.InStop, a.OutStop)
	case a.OutErr == nil && a.Out.Link == device:
		cause, remedy = named(fmt.Sprintf("the answer to %s is routed into the tunnel", a.Client), a.OutStop)
	case a.OutErr == nil && a.Out.Gateway.IsValid() && x.Path.Unreached[a.Out.Gateway]:
		return fmt.Sprintf("the answer to %s goes by the gateway %s, which does not answer ARP", a.Client, a.Out.Gateway),
			fmt.Sprintf("see whose route it is: ip route get %s from %s; and give it a gateway that is there, or take it away: ip route show via %s", a.Client, a.VIP, a.Out.Gateway)
	}
	if cause != "" || f.Rules == nil || f.Err != nil {
		return cause, remedy
	}
	var remedies []string
	for _, service := range append([]netip.AddrPort{a.Service}, services...) {
		by, lines := a.droppedFor(service, f.Rules)
		if cause == "" {
			cause = by
		}
		for _, line := range lines {
			if !slices.Contains(remedies, line) {
				remedies = append(remedies, line)
			}
		}
	}
	return cause, strings.Join(remedies, "\n")
}

// droppedFor names the rule that drops what the client asks of a service, or the
// answer.
func (a Asked) droppedFor(service netip.AddrPort, rules *ruleset.Ruleset) (by string, remedies []string) {
	if service.Addr() != a.VIP {
		return "", nil
	}
	request, answer := a.Unwrapped, a.Answer
	request.DstPort, answer.SrcPort = service.Port(), service.Port()
	for _, packet := range []ruleset.Packet{request, answer} {
		if packet.Protocol == 0 {
			continue
		}
		if fate := rules.Trace(packet); fate.Outcome == ruleset.Dropped {
			return fmt.Sprintf("TCP from %s to %s is dropped by %s", packet.Src, packet.Dst, fate.By), fate.Remedies()
		}
	}
	return "", nil
}

// deviceIndex is the index of the tunnel device; 0: there is none.
func deviceIndex(n Node, c config.Config) int {
	if l := n.link(c.Tunnel.Device); l != nil {
		return l.Index
	}
	return 0
}

// named is a cause with the first stop that is known.
func named(what string, stops ...path.Stop) (cause, remedy string) {
	for _, s := range stops {
		if s != (path.Stop{}) {
			return fmt.Sprintf("%s: %s %s", what, s.Where, s.Why), s.Remedy
		}
	}
	return what, ""
}
