package agent

import (
	"fmt"
	"net/netip"
	"slices"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/probe/sockets"
	"rsagent/tunnel"
)

const namespaceID = "path/namespace"

// Elsewhere is another network namespace of this machine that looks like the node.
type Elsewhere struct {
	tunnel.Namespace
	VIP    netip.Addr // which a tunnel there holds
	Device string
}

// nodeIsHere wants rsagent to look where the packets of the directors come in. A
// node in a container has a network namespace of its own, so that alone says
// nothing: it fails only if nothing of the node is here, and all of it elsewhere.
func nodeIsHere() Condition {
	return Condition{
		ID:       namespaceID,
		Title:    "This is the network namespace of the node",
		Effect:   "Nothing by itself: what clients see is to be looked at in the other namespace.",
		Severity: health.Required,
		Evaluate: func(n Node) Verdict {
			v := Verdict{Status: health.OK, Want: "the namespace in which the VIPs are", Got: "nothing speaks against it"}
			e := n.Examined.Elsewhere
			if e == nil {
				return v
			}
			v.Status = health.Failed
			v.Got = fmt.Sprintf("no VIP is here, and nobody listens for one; in the network namespace %s %s holds %s, and a service listens",
				printable(e.String()), printable(e.Device), e.VIP)
			v.Cause = "rsagent was started in another network namespace than the node's"
			v.Remedy = printable(e.Enter()) + " rsagent check"
			return v
		},
	}
}

// needingNamespace lets all that follows need the namespace to be right: of another
// one nothing can be told here.
func needingNamespace(list []Condition) []Condition {
	list = append([]Condition{nodeIsHere()}, list...)
	for i := range list[1:] {
		list[i+1].Needs = append(slices.Clone(list[i+1].Needs), namespaceID)
	}
	return list
}

// elsewhere looks for the node in other network namespaces, if there is nothing of
// it in this one: no VIP, no socket that listens on a port of it, no packet filter
// of rsagent's. Nil: it is here, or it is nowhere.
func (h Host) elsewhere(c config.Config, n Node, listeners []sockets.Listener) *Elsewhere {
	held := func(vip netip.Addr) bool { return len(n.Net.Addresses[vip]) > 0 }
	if n.NetErr != nil || slices.ContainsFunc(c.VIPs, held) || n.Firewall.There() || listensForClients(c, listeners) {
		return nil
	}
	for _, ns := range tunnel.OtherNamespaces(h.Root) {
		var found *Elsewhere
		// What cannot be looked at is not known to be the node.
		_ = ns.Look(func() {
			net, err := tunnel.Open()
			if err != nil {
				return
			}
			defer net.Close()
			there, err := net.Observe()
			if err != nil {
				return
			}
			listeners, err := sockets.Listening()
			if err == nil && listensForClients(c, listeners) {
				found = nodeIn(c, there)
			}
		})
		if found != nil {
			found.Namespace = ns
			return found
		}
	}
	return nil
}

// listensForClients tells whether a socket listens on the port of a pool, or of the
// web if there is no pool.
func listensForClients(c config.Config, listeners []sockets.Listener) bool {
	return slices.ContainsFunc(listeners, func(l sockets.Listener) bool {
		port := l.Addr.Port()
		if len(c.Pools) == 0 {
			return port == 80 || port == 443
		}
		return slices.ContainsFunc(c.Pools, func(p config.Pool) bool { return p.Address.Port() == port })
	})
}

// nodeIn finds the tunnel that holds a VIP, or any address of a single host if no
// VIP is known. Nil: none does.
func nodeIn(c config.Config, net tunnel.Node) *Elsewhere {
	var found *Elsewhere
	for addr, at := range net.Addresses {
		if len(c.VIPs) > 0 && !slices.Contains(c.VIPs, addr) {
			continue
		}
		for _, a := range at {
			tunnels := slices.ContainsFunc(net.Links, func(l tunnel.Link) bool { return l.Name == a.Link && l.Kind == "ipip" && l.Up })
			if tunnels && a.Prefix.IsSingleIP() && (found == nil || addr.Less(found.VIP)) {
				found = &Elsewhere{VIP: addr, Device: a.Link}
			}
		}
	}
	return found
}
