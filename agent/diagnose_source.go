package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/tunnel/path"
)

// Source is an address from which something comes in by a link, and whether the
// kernel takes it in.
type Source struct {
	Addr  netip.Addr
	Link  int
	Count int    // packets that were seen
	MAC   string // of another host that has the address, if it is this node's too
	Err   error  // the kernel's word against it
}

const (
	pathSourceID   = "path/source"
	pathMartiansID = "path/martians"
)

// own are the addresses of this node that are no VIPs.
func own(c config.Config, n Node) map[netip.Addr]bool {
	addresses := make(map[netip.Addr]bool)
	for a := range n.Net.Addresses {
		addresses[a] = true
	}
	for _, vip := range c.VIPs {
		delete(addresses, vip)
	}
	return addresses
}

// sources asks the kernel about the directors whose packets were seen, and those
// whose address is this node's own although another host answers for it. What comes
// in by a part of another link is looked at there.
func (h Host) sources(c config.Config, n Node, f *path.Facts) []Source {
	var list []Source
	for s, count := range f.Wire.From {
		if isDirector(c, s.Addr) {
			list = append(list, Source{Addr: s.Addr, Link: s.Link, Count: count})
		}
	}
	addresses := own(c, n)
	for _, d := range c.Directors {
		if !d.IsSingleIP() || !addresses[d.Addr()] {
			continue
		}
		for _, claim := range othersWith(f, d.Addr()) {
			if l := f.Named(claim.Link); l != nil {
				list = append(list, Source{Addr: d.Addr(), Link: l.Index, MAC: claim.MAC})
			}
		}
	}
	list = slices.DeleteFunc(list, func(s Source) bool {
		l := f.Link(s.Link)
		return l == nil || l.Master != 0 && l.MasterKind != "vrf" || slices.Contains(f.Beneath, s.Link)
	})
	for i := range list {
		s := &list[i]
		if link := n.linkAt(s.Link); link != nil && f.Node.IsValid() {
			_, s.Err = h.Net.RouteIn(*link, f.Node, s.Addr)
		}
	}
	slices.SortFunc(list, func(a, b Source) int { return a.Addr.Compare(b.Addr) })
	return list
}

// othersWith is who else answers ARP for an address. The gateway may do so for
// others.
func othersWith(f *path.Facts, a netip.Addr) []path.Claim {
	return slices.DeleteFunc(slices.Clone(f.Claims[a]), func(c path.Claim) bool {
		own := slices.ContainsFunc(f.Links, func(l path.Link) bool { return fmt.Sprintf("%x", l.MAC) == strings.ReplaceAll(c.MAC, ":", "") })
		gateway := a != f.Gateway.Addr && slices.ContainsFunc(f.Claims[f.Gateway.Addr], func(g path.Claim) bool { return g.MAC == c.MAC })
		return own || gateway
	})
}

// sourcesTakenIn wants the kernel to take in what the directors send, before it is
// unwrapped: it drops what comes from an address of its own, or, with reverse path
// filtering, from where it would not answer (__fib_validate_source,
// net/ipv4/fib_frontend.c).
func sourcesTakenIn(c config.Config) Condition {
	const few = 3
	return Condition{
		ID: pathSourceID, Title: "The kernel takes in what comes from the directors", Severity: health.Required,
		Effect: "Every request that this director sends to this node times out.",
		Evaluate: func(n Node) Verdict {
			f := &n.Examined.Path
			v := Verdict{Status: health.OK, Want: "from an address that is not this node's, and by the link to it where that matters", Got: "as wanted"}
			if f.WireErr != nil {
				return unknown(v.Want, f.WireErr)
			}
			for _, s := range n.Examined.Sources {
				if s.Err == nil || s.Count < few && s.MAC == "" || takenAnyway(n.Examined, s) {
					continue
				}
				switch {
				case !refuses(s.Err):
					return unknown(v.Want, s.Err)
				case !errors.Is(s.Err, unix.EXDEV) && !errors.Is(s.Err, unix.EINVAL):
					continue // it is not for its source
				}
				v.Status = health.Failed
				if own(c, n)[s.Addr] {
					return alsoOurs(v, n, f, s)
				}
				v.Got = fmt.Sprintf("%d packets from %s by %s, which the kernel drops: %v", s.Count, s.Addr, nameOf(f, s.Link), errors.Unwrap(s.Err))
				v.Cause = fmt.Sprintf("reverse path filtering: this node would answer %s by another link", s.Addr)
				v.Remedy = fmt.Sprintf("sysctl -w net.ipv4.conf.%s.rp_filter=2", nameOf(f, s.Link))
				return v
			}
			return v
		},
	}
}

// takenAnyway tells that the kernel's word is not what happens, as with a filter by
// marks (src_valid_mark): nobody but senders that it speaks against was seen, and
// what they sent came out of the tunnel. Or it came in by another link too, such as
// the VLAN that stands on this one.
func takenAnyway(x *Examination, s Source) bool {
	others := slices.ContainsFunc(x.Sources, func(o Source) bool { return o.Count > 0 && o.Err == nil })
	if s.Count > 0 && !others && x.Path.Wire.Unwrapped > 0 {
		return true
	}
	return slices.ContainsFunc(x.Sources, func(o Source) bool { return o.Addr == s.Addr && o.Count > 0 && o.Link != s.Link && o.Err == nil })
}

// alsoOurs is the verdict about a director whose address this node has too.
func alsoOurs(v Verdict, n Node, f *path.Facts, s Source) Verdict {
	on := n.Net.Addresses[s.Addr][0]
	v.Got = fmt.Sprintf("%s is an address of %s, and another host's on %s", s.Addr, on.Link, nameOf(f, s.Link))
	if s.Count > 0 {
		v.Got = fmt.Sprintf("%d packets from %s by %s, and that is an address of %s", s.Count, s.Addr, nameOf(f, s.Link), on.Link)
	}
	v.Cause = "what comes in from an address of its own is a martian to the kernel, and it answers there by itself"
	v.Remedy = fmt.Sprintf("ip addr del %s dev %s", on.Prefix, on.Link)
	if s.Addr == f.Node {
		v.Remedy = "nothing on this node can mend this: give it, or the other host, another address"
	}
	return v
}

// askedByOthers wants whoever asks through the tunnel to do so by an address that
// this node does not have.
func askedByOthers(c config.Config) Condition {
	return Condition{
		ID: pathMartiansID, Title: "Who asks has another address than this node", Severity: health.Advisory,
		Effect: "Requests by the client with that address time out.",
		Evaluate: func(n Node) Verdict {
			f := &n.Examined.Path
			v := Verdict{Status: health.OK, Want: "no request from an address of this node", Got: "as wanted"}
			if f.WireErr != nil {
				return unknown(v.Want, f.WireErr)
			}
			if !f.Wire.AsksItself() {
				return v
			}
			for _, m := range n.Examined.Martians {
				on := n.Net.Addresses[m.Addr]
				if m.Err == nil || !refuses(m.Err) || len(on) == 0 {
					continue
				}
				v.Status = health.Failed
				v.Got = fmt.Sprintf("%d requests from %s came out of %s, and that is an address of %s", m.Count, m.Addr, c.Tunnel.Device, on[0].Link)
				v.Cause = "what comes in from an address of its own is a martian to the kernel, which drops it"
				v.Remedy = fmt.Sprintf("ip addr del %s dev %s", on[0].Prefix, on[0].Link)
				if m.Addr == f.Node {
					v.Remedy = "nothing on this node can mend this: who asks, behind the director, has this node's address"
				}
				return v
			}
			return v
		},
	}
}

// martians asks the kernel about those who asked by an address of this node.
func (h Host) martians(c config.Config, n Node, w path.Wire) []Source {
	device := n.link(c.Tunnel.Device)
	if device == nil || len(c.VIPs) == 0 {
		return nil
	}
	var list []Source
	for a, count := range w.Own {
		s := Source{Addr: a, Link: device.Index, Count: count}
		_, s.Err = h.Net.RouteIn(*device, c.VIPs[0], a)
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b Source) int { return b.Count - a.Count })
	return list
}
