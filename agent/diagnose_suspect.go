package agent

import (
	"cmp"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"rsagent/agent/config"
	"rsagent/tunnel/path"
	"rsagent/tunnel/ruleset"
)

// why is the cause of what became of a trial, as far as it can be known: a suspect,
// or else what counters say and the commands by which a person looks on.
func why(c config.Config, n Node, t path.Trial, lookBy string) (cause, remedy string) {
	cause, remedy = suspect(c, n, t)
	return cmp.Or(cause, rose(&n.Examined.Path)), cmp.Or(remedy, "look for it: "+lookBy)
}

// suspect names what has probably taken a packet that was tried: a rule of which
// nobody can tell beforehand what it does, or a program at the control group of
// the service. Both are nothing special by themselves. Cause is empty if there is
// nothing like it.
func suspect(c config.Config, n Node, t path.Trial) (cause, remedy string) {
	if f := n.Examined.Filters; f.Rules != nil && f.Err == nil {
		for _, p := range f.of(t) {
			fate := f.Rules.Trace(p)
			if remedies := fate.Remedies(c.Directors...); fate.Outcome == ruleset.CannotTell && len(remedies) > 0 {
				return fmt.Sprintf("most likely %s, of which nobody can tell beforehand what it takes", fate.If.By), strings.Join(remedies, "\n")
			}
		}
	}
	if t.Unwrapped != "" {
		return atGroup(c, n, t)
	}
	return "", ""
}

// of are the packets that go the part of the way on which a trial was lost.
func (f Filters) of(t path.Trial) []ruleset.Packet {
	all := f.Inner
	switch {
	case t.Unwrapped == "":
		return f.Wrapped
	case t.Half:
		all = f.Answers
	}
	var list []ruleset.Packet
	for _, p := range all {
		at, port := p.Dst, p.DstPort
		if t.Half {
			at, port = p.Src, p.SrcPort
		}
		if at == t.Service.Addr() && (port == 0 || port == t.Service.Port()) {
			list = append(list, p)
		}
	}
	return list
}

// atGroup names the control group of a service that has programs of eBPF on the
// packets of its sockets: systemd has such for IPAddressDeny= and
// IPAddressAllow= (systemd.resource-control(5)).
func atGroup(c config.Config, n Node, t path.Trial) (cause, remedy string) {
	for _, p := range ownersOf(n.Examined.Services, takersOf(c, n, t.Service)) {
		count, what := p.Group.Ingress, "receives"
		if t.Half {
			count, what = p.Group.Egress, "sends"
		}
		if count == 0 {
			continue
		}
		group := printable(p.Group.Path)
		cause = fmt.Sprintf("most likely an eBPF program at the control group %s, which sees what %s %s", group, p, what)
		if unit := printable(p.Group.Unit()); unit != "" {
			return cause, fmt.Sprintf("systemctl set-property --runtime %s IPAddressDeny= IPAddressAllow=   # if it is systemd's; see: bpftool cgroup tree /sys/fs/cgroup%s", unit, group)
		}
		return cause, fmt.Sprintf("see whose it is: bpftool cgroup tree /sys/fs/cgroup%s", group)
	}
	return "", ""
}

// notLetIn names the rule that drops what was seen to come in. Where the directors
// are not known, nobody could be followed before it came.
func notLetIn(c config.Config, n Node) (cause, remedy string) {
	f := n.Examined.Filters
	if f.Rules == nil || f.Err != nil {
		return "", ""
	}
	for s := range n.Examined.Path.Wire.From {
		p, ok := cameIn(n, s)
		if !ok || !isDirector(c, s.Addr) {
			continue
		}
		if fate := f.Rules.Trace(p); fate.Outcome == ruleset.Dropped {
			return fmt.Sprintf("%s is dropped by %s", described(p), fate.By), strings.Join(fate.Remedies(c.Directors...), "\n")
		}
	}
	return "", ""
}

// cameIn is what a sender of IPIP sent, as packet filters see it.
func cameIn(n Node, s path.Sender) (ruleset.Packet, bool) {
	f := &n.Examined.Path
	l, in := f.Link(s.Link), n.linkAt(s.Link)
	if l == nil || in == nil || !f.Node.IsValid() {
		return ruleset.Packet{}, false
	}
	p := ruleset.Packet{In: seen(*in), Src: s.Addr, Dst: f.Node, Protocol: unix.IPPROTO_IPIP}
	if bridge := n.linkAt(l.Master); l.MasterKind == "bridge" && bridge != nil {
		p.In, p.Port = seen(*bridge), p.In
	}
	return p, true
}
