package agent

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

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
			v.Got = fmt.Sprintf("no VIP is here, and nobody listens for one; in the network namespace %s %s holds %s, and a service listens there",
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
		_ = ns.Look(func() { found = nodeHere(c) })
		if found != nil {
			found.Namespace = ns
			return found
		}
	}
	return nil
}

// nodeHere finds the node in the namespace of the calling thread; nil: it is not
// there, as far as that can be seen.
func nodeHere(c config.Config) *Elsewhere {
	net, err := tunnel.Open()
	if err != nil {
		return nil
	}
	defer net.Close()
	there, err := net.Observe()
	if err != nil {
		return nil
	}
	if listeners, err := sockets.Listening(); err != nil || !listensForClients(c, listeners) {
		return nil
	}
	return nodeIn(c, there)
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

// Served is a service of this machine that listens on the port of a pool in another
// network namespace.
type Served struct {
	tunnel.Namespace
	Process sockets.Process
	Port    uint16
}

// served looks in other namespaces for a service of systemd that would serve one of
// the ports if it was here. Containers may listen on any port, so what is no such
// service is none. Nil: there is none.
func (h Host) served(s *Services, ports []uint16) *Served {
	if len(ports) == 0 || len(s.Units) == 0 {
		return nil
	}
	for _, ns := range tunnel.OtherNamespaces(h.Root) {
		var listeners []sockets.Listener
		_ = ns.Look(func() { listeners, _ = sockets.Listening() })
		there := Services{Listeners: slices.DeleteFunc(listeners, func(l sockets.Listener) bool { return !slices.Contains(ports, l.Addr.Port()) })}
		there.Owners, _ = sockets.Owners(filepath.Join(h.Root, "proc"), inodes(there.Listeners), time.Now().Add(ownersTime))
		if found := there.ofUnit(s.Units); found != nil {
			found.Namespace = ns
			return found
		}
	}
	return nil
}

// ofUnit is the first process that listens and belongs to one of the units.
func (s *Services) ofUnit(units []Unit) *Served {
	for _, l := range s.Listeners {
		for _, p := range s.owners(l) {
			if slices.ContainsFunc(units, func(u Unit) bool { return u.Name+".service" == p.Group.Unit() }) {
				return &Served{Process: p, Port: l.Addr.Port()}
			}
		}
	}
	return nil
}

// servedElsewhere says that a port on which nobody listens here is served in
// another namespace; cause is empty if that is not known.
func servedElsewhere(x *Examination, port uint16) (cause, remedy string) {
	s := x.Served
	if s == nil || s.Port != port {
		return "", ""
	}
	return fmt.Sprintf("%s listens on it in the network namespace %s: rsagent is in another one than the service", s.Process, printable(s.String())),
		fmt.Sprintf("let the unit of rsagent run where that of the service does (systemctl edit rsagent; NetworkNamespacePath= in systemd.exec(5)); see how it is there: %s rsagent check", printable(s.Enter()))
}
