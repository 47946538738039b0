package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/tunnel"
)

// Way is what the kernel would do with the packets of a client to a VIP and
// back. The kernel itself is asked, so that nobody has to think of everything
// that may be in their way: rules, routes, filters of source addresses.
type Way struct {
	VIP, Client netip.Addr
	In          tunnel.Route // of a packet that comes out of the tunnel
	InErr       error
	Out         tunnel.Route // of the answer
	OutErr      error
}

// anywhere stands for the clients of the Internet, to whom it is never sent
// anything: the address of a.root-servers.net. An address of TEST-NET would be
// on the lists of those that filters drop and routes send into a black hole
// (RFC 5737, section 3), of which no client has one.
var anywhere = netip.AddrFrom4([4]byte{198, 41, 0, 4})

// ways asks the kernel about a VIP that is whole, for clients in the network of
// each director, and anywhere. Those that this node has no route to, or is
// itself, say nothing.
func (h Host) ways(c config.Config, n Node) []Way {
	l := n.link(c.Tunnel.Device)
	i := slices.IndexFunc(c.VIPs, func(v netip.Addr) bool { return n.Net.Local[v] && onDevice(n, c.Tunnel.Device, v) })
	if l == nil || !l.Up || i < 0 {
		return nil
	}
	const most = 3
	var ways []Way
	for _, client := range clients(c) {
		if r, err := h.Net.RouteTo(client, netip.Addr{}); err != nil || r.Local || r.Link == l.Index {
			continue
		}
		w := Way{VIP: c.VIPs[i], Client: client}
		w.In, w.InErr = h.Net.RouteIn(*l, w.VIP, client)
		w.Out, w.OutErr = h.Net.RouteTo(client, w.VIP)
		if ways = append(ways, w); len(ways) == most {
			break
		}
	}
	return ways
}

func clients(c config.Config) []netip.Addr {
	list := []netip.Addr{anywhere}
	for _, d := range c.Directors {
		if d.IsSingleIP() {
			list = append(list, d.Addr())
		}
	}
	return list
}

const (
	wayInID  = "tunnel/in"
	wayOutID = "tunnel/out"
)

// takenIn wants the kernel to deliver what comes out of the tunnel. It fails
// only if no client at all would be served.
func takenIn(c config.Config) Condition {
	return Condition{
		ID:       wayInID,
		Title:    "The kernel delivers what comes out of the tunnel",
		Effect:   "Every request that a director sends to this node times out.",
		Severity: health.Required,
		Needs:    []string{deviceUpID, localID, rpFilterIDStart + c.Tunnel.Device},
		Looks:    atWays,
		Evaluate: func(n Node) Verdict {
			v := Verdict{Status: health.OK, Want: "delivered on this node", Got: "as wanted"}
			bad := func(w Way) bool { return !w.In.Local }
			w, ok := worst(n.Ways, bad)
			switch {
			case ok:
				return v
			case w.InErr != nil && !refuses(w.InErr):
				return unknown(v.Want, w.InErr)
			case w.InErr != nil:
				v.Got = fmt.Sprintf("the kernel drops what comes from %s for %s: %v", w.Client, w.VIP, errors.Unwrap(w.InErr))
				v.Cause = "reverse path filtering, or a route or rule that is in the way"
			default:
				v.Got = fmt.Sprintf("the kernel sends what comes from %s for %s on to another host", w.Client, w.VIP)
				v.Cause = "a route or rule is in the way"
			}
			v.Status = health.Failed
			v.Remedy = fmt.Sprintf("look for it: ip rule; ip route get %s from %s iif %s", w.VIP, w.Client, c.Tunnel.Device)
			if n.Examined != nil {
				return explained(v, n.Examined.In)
			}
			return v
		},
	}
}

// sentOut wants answers to find their way to the clients, by another link than
// the tunnel.
func sentOut(c config.Config) Condition {
	return Condition{
		ID:       wayOutID,
		Title:    "Answers from a VIP find their way to the clients",
		Effect:   "Every request that a director sends to this node times out.",
		Severity: health.Required,
		Needs:    []string{wayInID},
		Looks:    atLinks | atWays,
		Evaluate: func(n Node) Verdict {
			v := Verdict{Status: health.OK, Want: "sent by another link than the tunnel", Got: "as wanted"}
			l := n.link(c.Tunnel.Device)
			bad := func(w Way) bool { return w.OutErr != nil || w.Out.Local || w.Out.Link == l.Index }
			w, ok := worst(n.Ways, bad)
			switch {
			case ok:
				return v
			case w.OutErr != nil && !refuses(w.OutErr):
				return unknown(v.Want, w.OutErr)
			case w.OutErr != nil:
				v.Got = fmt.Sprintf("the kernel does not send from %s to %s: %v", w.VIP, w.Client, errors.Unwrap(w.OutErr))
			default:
				v.Got = fmt.Sprintf("the kernel sends from %s to %s by %s", w.VIP, w.Client, c.Tunnel.Device)
			}
			v.Status = health.Failed
			v.Cause = "a route or rule is in the way of the answers"
			v.Remedy = fmt.Sprintf("look for it: ip rule; ip route get %s from %s", w.Client, w.VIP)
			if n.Examined != nil {
				return explained(v, n.Examined.Out)
			}
			return v
		},
	}
}

// worst is ok if no way was asked for, or one is good; else it is the first.
func worst(ways []Way, bad func(Way) bool) (w Way, ok bool) {
	if len(ways) == 0 || slices.ContainsFunc(ways, func(w Way) bool { return !bad(w) }) {
		return Way{}, true
	}
	return ways[0], false
}

// refuses tells a kernel that would not do it from one that could not say.
func refuses(err error) bool {
	for _, no := range []error{unix.EXDEV, unix.EINVAL, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EACCES} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

// good tells whether nothing is wrong with any way.
func good(ways []Way) bool {
	return !slices.ContainsFunc(ways, func(w Way) bool { return !w.In.Local || w.OutErr != nil || w.Out.Local })
}
