package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/packet"
	"rsagent/tunnel"
	"rsagent/tunnel/ruleset"
)

// Filters are all packet filters of the node, whoever put them there, and the
// packets that are followed through them.
type Filters struct {
	Rules *ruleset.Ruleset
	Err   error

	Wrapped []ruleset.Packet // from each director to this node
	Inner   []ruleset.Packet // from a client to each VIP, out of the tunnel
	Answers []ruleset.Packet // from each VIP to a client
}

const (
	filterInID      = "filter/directors"
	filterClientsID = "filter/clients"
	filterAnswersID = "filter/answers"
)

// mostFlows is how many VIPs and ports are followed. Rules are made for a site
// and seldom for one VIP, and a thousand would take longer than anybody waits.
const mostFlows = 64

func (h Host) filters(c config.Config, n Node) Filters {
	var f Filters
	if n.NetErr != nil {
		f.Err = n.NetErr
		return f
	}
	if f.Rules, f.Err = ruleset.Read(); f.Err != nil {
		return f
	}
	ports := portsOf(n)
	for _, d := range c.Directors {
		if d.IsSingleIP() {
			f.Wrapped = append(f.Wrapped, h.wrapped(n, ports, d.Addr())...)
		}
	}
	device := n.link(c.Tunnel.Device)
	if device == nil {
		return f
	}
	const clientPort = 49152
	for _, to := range flows(c) {
		client, r := h.someClient(c, n, to.Addr())
		out := n.linkAt(r.Link)
		if out == nil || out.Index == device.Index {
			continue
		}
		from := netip.AddrPortFrom(client, clientPort)
		inner := request(*device, from, to)
		inner.Back = seen(*out)
		answer := reply(*out, to, from)
		answer.Port = ports.of(*out, r, client)
		f.Inner, f.Answers = append(f.Inner, inner), append(f.Answers, answer)
	}
	return f
}

// request is what a client asks of a service, as it comes out of the device.
func request(device tunnel.Link, client, service netip.AddrPort) ruleset.Packet {
	return ruleset.Packet{
		In: seen(device), Src: client.Addr(), Dst: service.Addr(),
		Protocol: unix.IPPROTO_TCP, SrcPort: client.Port(), DstPort: service.Port(), Flags: packet.SYN,
	}
}

// reply is what the service answers, by a link.
func reply(out tunnel.Link, service, client netip.AddrPort) ruleset.Packet {
	return ruleset.Packet{
		Out: seen(out), Src: service.Addr(), Dst: client.Addr(), State: ruleset.Established,
		Protocol: unix.IPPROTO_TCP, SrcPort: service.Port(), DstPort: client.Port(), Flags: packet.SYN | packet.ACK,
	}
}

// someClient is the first of those that a VIP's answers have a link to, and the
// route by it; without a link there is none.
func (h Host) someClient(c config.Config, n Node, vip netip.Addr) (netip.Addr, tunnel.Route) {
	for _, client := range clients(c) {
		r, err := h.Net.RouteTo(client, vip)
		if err == nil && !r.Local && n.linkAt(r.Link) != nil {
			return client, r
		}
	}
	return netip.Addr{}, tunnel.Route{}
}

// wrapped is what a director sends to the address by which this node would
// answer it; none if there is no way to the director.
func (h Host) wrapped(n Node, ports ports, director netip.Addr) []ruleset.Packet {
	r, err := h.Net.RouteTo(director, netip.Addr{})
	link := n.linkAt(r.Link)
	if err != nil || link == nil || !r.Source.IsValid() {
		return nil
	}
	return []ruleset.Packet{{
		In: seen(*link), Port: ports.of(*link, r, director), Back: seen(*link), Src: director, Dst: r.Source, Protocol: unix.IPPROTO_IPIP,
	}}
}

// flows are what clients ask for: the pools, and VIPs that have none, of which
// the port is not known and 0.
func flows(c config.Config) []netip.AddrPort {
	var list []netip.AddrPort
	has := make(map[netip.Addr]bool)
	for _, p := range c.Pools {
		list = append(list, p.Address)
		has[p.Address.Addr()] = true
	}
	for _, vip := range c.VIPs {
		if !has[vip] {
			list = append(list, netip.AddrPortFrom(vip, 0))
		}
	}
	return list[:min(len(list), mostFlows)]
}

// seen is a link as packet filters see it.
func seen(l tunnel.Link) ruleset.Link {
	kind := uint16(unix.ARPHRD_ETHER)
	switch {
	case l.Loopback:
		kind = unix.ARPHRD_LOOPBACK
	case l.Kind == "ipip":
		kind = unix.ARPHRD_TUNNEL
	case l.NoARP:
		kind = 0
	}
	return ruleset.Link{Index: l.Index, Name: l.Name, Type: kind}
}

// filterConditions want the packet filters, other than rsagent's own, to let
// pass what a site lives by. Where that depends on what nobody can know
// beforehand nothing is wrong.
func filterConditions(c config.Config) []Condition {
	return []Condition{
		passing{
			id: filterInID, title: "The packet filters let in what the directors send",
			want:    "IPIP from the directors to this node passes",
			effect:  "Every request that these directors send to this node times out or is refused.",
			packets: func(f Filters) []ruleset.Packet { return f.Wrapped },
			sources: c.Directors,
		}.condition(),
		passing{
			id: filterClientsID, title: "The packet filters let in what comes out of the tunnel",
			needs: []string{deviceID}, want: "connections of clients to the VIPs pass",
			effect:  "Requests that a director sends to this node time out or are refused.",
			packets: func(f Filters) []ruleset.Packet { return f.Inner },
		}.condition(),
		passing{
			id: filterAnswersID, title: "The packet filters let out the answers",
			needs: []string{deviceID}, want: "answers from the VIPs to clients pass as they are",
			effect:  "Requests that a director sends to this node time out.",
			packets: func(f Filters) []ruleset.Packet { return f.Answers },
		}.condition(),
	}
}

// passing is a condition about packets that must pass.
type passing struct {
	id, title, want, effect string
	needs                   []string
	packets                 func(Filters) []ruleset.Packet
	sources                 []netip.Prefix // what a remedy lets in
}

func (p passing) condition() Condition {
	return Condition{
		ID: p.id, Title: p.title, Effect: p.effect, Severity: health.Required, Needs: p.needs,
		Evaluate: func(n Node) Verdict {
			v := Verdict{Status: health.OK, Want: p.want, Got: "as wanted"}
			if n.Examined == nil {
				return v
			}
			f := n.Examined.Filters
			if f.Err != nil {
				return unknown(p.want, f.Err)
			}
			var stopped []ruleset.Packet
			var fates []ruleset.Fate
			for _, packet := range p.packets(f) {
				fate := f.Rules.Trace(packet)
				if fate.Outcome == ruleset.Rewritten && granted(n, netip.AddrPortFrom(packet.Dst, packet.DstPort)) {
					v.Got = fmt.Sprintf("%s is changed (%s) by %s, and answered all the same", described(packet), fate.Why, fate.By)
					continue // it leads to where the service is, such as a container
				}
				switch fate.Outcome {
				case ruleset.Dropped, ruleset.Rewritten:
					stopped, fates = append(stopped, packet), append(fates, fate)
				case ruleset.CannotTell:
					v.Got = fmt.Sprintf("that depends on %s in %s", fate.Why, fate.By)
				}
			}
			if len(stopped) == 0 {
				return v
			}
			return p.stopped(v, stopped, fates)
		},
	}
}

// stopped is the verdict about packets that do not pass. It tells of the first.
func (p passing) stopped(v Verdict, packets []ruleset.Packet, fates []ruleset.Fate) Verdict {
	packet, fate := packets[0], fates[0]
	v.Status = health.Failed
	done := "dropped"
	switch {
	case fate.Outcome == ruleset.Rewritten:
		done = fmt.Sprintf("changed (%s)", fate.Why)
	case fate.Rejected:
		done = "refused"
	}
	v.Got = fmt.Sprintf("%s is %s by %s", described(packet), done, fate.By)
	if more := len(packets) - 1; more > 0 {
		v.Got += fmt.Sprintf(", and %d more", more)
	}
	v.Cause = "a packet filter is in the way"
	var remedies []string
	for _, f := range fates {
		for _, r := range f.Remedies(p.sources...) {
			if !slices.Contains(remedies, r) {
				remedies = append(remedies, r)
			}
		}
	}
	v.Remedy = strings.Join(remedies, "\n")
	return v
}

// redirects names the rule that gives what clients send to a port of the VIP
// another address or port, as it is done for containers; empty: there is none.
func (f Filters) redirects(vip netip.Addr, ports ...uint16) string {
	for _, packet := range f.Inner {
		for _, packet.DstPort = range ports {
			if packet.Dst != vip {
				continue
			}
			if fate := f.Rules.Trace(packet); fate.Outcome == ruleset.Rewritten {
				return fate.By.String()
			}
		}
	}
	return ""
}

// described is a packet in the words of the field.
func described(p ruleset.Packet) string {
	if p.Protocol == unix.IPPROTO_IPIP {
		return fmt.Sprintf("IPIP from %s to %s", p.Src, p.Dst)
	}
	src, dst := "any client", p.Dst.String()
	if p.Out.Index != 0 {
		src, dst = p.Src.String(), "any client"
		if p.SrcPort != 0 {
			src = netip.AddrPortFrom(p.Src, p.SrcPort).String()
		}
	} else if p.DstPort != 0 {
		dst = netip.AddrPortFrom(p.Dst, p.DstPort).String()
	}
	return fmt.Sprintf("TCP from %s to %s", src, dst)
}

// linkAt returns the link with that index, or nil.
func (n Node) linkAt(index int) *tunnel.Link {
	return n.linkThat(func(l tunnel.Link) bool { return l.Index == index })
}
