package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/probe"
	"rsagent/probe/sockets"
)

const (
	listensID  = "service/listens/"
	acceptsID  = "service/accepts/"
	queueID    = "service/queue/"
	answeredID = "service/answered/"
	closesID   = "service/closes/"
)

// serviceConditions returns what must hold of the services behind the pools.
func serviceConditions(c config.Config) []Condition {
	var list []Condition
	for _, p := range c.Pools {
		for _, one := range []Condition{listens(c, p), accepts(c, p), queueHasRoom(c, p), handshakesEnd(c, p), connectionsEnd(c, p)} {
			one.VIP = vipOf(c, p)
			list = append(list, one)
		}
	}
	return list
}

// listens wants a socket that takes what the tunnel brings for the pool. Where
// the pool takes connections without one, something else serves it, such as a
// rule that sends them to a container: only a socket that is kept from the
// tunnel device is certain to fail then.
func listens(c config.Config, p config.Pool) Condition {
	want := "a socket that takes " + p.Address.String()
	return Condition{
		ID:       listensID + p.Name,
		Title:    fmt.Sprintf("Something listens for pool %s", p.Name),
		Effect:   "Connections to this pool that a director sends to this node are refused.",
		Severity: health.Required,
		Evaluate: func(n Node) Verdict {
			s, up := n.Examined.Services, connects(n, p)
			v := Verdict{Status: health.OK, Want: want}
			if s.ListenersErr != nil {
				if !up {
					return unknown(want, s.ListenersErr)
				}
				v.Got = "it takes connections (" + s.ListenersErr.Error() + ")"
				return v
			}
			if takers := takersOf(c, n, p.Address); len(takers) > 0 {
				v.Got = s.who(takers[0])
				return v
			}
			kept := slices.ContainsFunc(s.Listeners, func(l sockets.Listener) bool { return l.Takes(p.Address) })
			if up && !kept {
				v.Got = "it takes connections, by no socket of this network namespace"
				return v
			}
			v.Status = health.Failed
			v.Got, v.Cause, v.Remedy = missing(c, n, p)
			if vip := p.Address.Addr(); c.Tunnel.Mode == config.ModeIPIP && !n.holds(vip) && len(s.onPort(p.Address.Port())) > 0 {
				// A service may leave out an address that was not there when it started.
				v.Status, v.Cause = health.Skipped, vipID(vip)+" is not ok"
			}
			return v
		},
	}
}

// onPort are the listeners on a port, whatever their address.
func (s *Services) onPort(port uint16) []sockets.Listener {
	return slices.DeleteFunc(slices.Clone(s.Listeners), func(l sockets.Listener) bool { return l.Addr.Port() != port })
}

// connects tells whether the pool takes connections at its address.
func connects(n Node, p config.Pool) bool {
	if p.Probe.Type == config.ProbeExec {
		err, tried := n.Examined.Services.Connect[p.Name]
		return tried && err == nil
	}
	return n.Pools[p.Name].State == probe.Up
}

// takersOf are the listeners that get what comes for the address: on a node
// behind directors, by the tunnel device.
func takersOf(c config.Config, n Node, to netip.AddrPort) []sockets.Listener {
	var list []sockets.Listener
	device := 0
	if l := n.link(c.Tunnel.Device); l != nil && c.Tunnel.Mode == config.ModeIPIP {
		device = l.Index
	}
	for _, l := range n.Examined.Services.Listeners {
		if l.Takes(to) && (l.Link == 0 || device == 0 || l.Link == device) {
			list = append(list, l)
		}
	}
	return list
}

// missing says what there is in place of the socket that is wanted.
func missing(c config.Config, n Node, p config.Pool) (got, cause, remedy string) {
	s, port := n.Examined.Services, p.Address.Port()
	near := s.onPort(port)
	if len(near) == 0 {
		return nothingOn(n.Examined, append([]uint16{port}, silent(c, s)...))
	}
	names := make([]string, len(near))
	for i, l := range near {
		names[i] = s.who(l)
	}
	got = "only " + strings.Join(names, ", ")
	return got, elsewhere(c, n, near[0], p), listenRemedy(s, near[0], p)
}

// elsewhere says why a listener on the right port does not take the address.
func elsewhere(c config.Config, n Node, l sockets.Listener, p config.Pool) string {
	here, at := l.Addr.Addr(), p.Address.Addr()
	switch {
	case l.Takes(p.Address):
		name := fmt.Sprintf("the interface with the index %d", l.Link)
		for _, link := range n.Net.Links {
			if link.Index == l.Link {
				name = link.Name
			}
		}
		return fmt.Sprintf("the socket is bound to %s (SO_BINDTODEVICE), and what is for %s comes in by %s", name, at, c.Tunnel.Device)
	case l.Only6:
		return "the socket takes IPv6 only (IPV6_V6ONLY)"
	case here.IsLoopback():
		return "the service listens for this node itself only"
	case slices.Contains(c.VIPs, here):
		return "the service listens on another VIP only"
	}
	return fmt.Sprintf("the service listens on another address only: a director's check of that passes, and the VIP %s is refused", at)
}

// listenRemedy names the line to change as far as that can be known. Which
// file it stands in cannot.
func listenRemedy(s *Services, l sockets.Listener, p config.Pool) string {
	port, program := p.Address.Port(), "the service"
	if owners := s.owners(l); len(owners) > 0 {
		program = owners[0].Name
	}
	line := ""
	switch program {
	case "nginx", "angie", "openresty":
		line = fmt.Sprintf("listen %d;   # where it says: listen %s\n", port, l.Addr) +
			fmt.Sprintf("look for it: grep -rn 'listen.*%d' /etc/%s/", port, program)
	case "apache2", "httpd":
		line = fmt.Sprintf("Listen 0.0.0.0:%d   # where it says: Listen %s\n", port, l.Addr) +
			fmt.Sprintf("look for it: grep -rn '^ *Listen' /etc/%s/", program)
	case "haproxy":
		line = fmt.Sprintf("bind :%d   # where it says: bind %s\nlook for it: grep -n bind /etc/haproxy/haproxy.cfg", port, l.Addr)
	default:
		return fmt.Sprintf("let %s listen on 0.0.0.0:%d or %s, in its own configuration, and restart it", program, port, p.Address)
	}
	return fmt.Sprintf("in the configuration of %s, which must then be restarted:\n%s", program, line)
}

// silent are the ports of pools on which nobody listens.
func silent(c config.Config, s *Services) []uint16 {
	var ports []uint16
	for _, p := range c.Pools {
		if port := p.Address.Port(); len(s.onPort(port)) == 0 {
			ports = append(ports, port)
		}
	}
	return ports
}

// nothingOn is what is said of a port that no socket listens on, as on none of those
// after it.
func nothingOn(x *Examination, dead []uint16) (got, cause, remedy string) {
	s, port := x.Services, dead[0]
	got = fmt.Sprintf("nothing listens on port %d", port)
	if cause, remedy = keptFromPort(x, dead...); cause != "" {
		return got, cause, remedy
	}
	if cause, remedy = servedElsewhere(x, port); cause != "" {
		return got, cause, remedy
	}
	if web, ports := webElsewhere(s); len(ports) > 0 {
		return fmt.Sprintf("%s; %s listens on %s", got, web, strings.Join(ports, ", ")),
			web.Name + " runs, and listens on other ports only",
			fmt.Sprintf("let %s listen on port %d too, in its own configuration, and restart it", web.Name, port)
	}
	if len(s.Units) == 0 {
		return got, "the service does not run, or listens nowhere", "start the service of this pool; then: rsagent check"
	}
	u := s.Units[0]
	remedy = "systemctl start " + u.Name
	if u.Masked {
		return got, u.Name + " is masked, so that systemd does not start it", "systemctl unmask " + u.Name + " && " + remedy
	}
	if len(s.Units) > 1 && rank(s.Units[1]) == rank(u) {
		names := make([]string, len(s.Units))
		for i, u := range s.Units {
			names[i] = u.Name
		}
		remedy += "   # or whichever serves this pool, of: " + strings.Join(names, ", ")
	}
	return got, "the service does not run", remedy
}

// webElsewhere is the first web server that others than this node can reach,
// and where it listens.
func webElsewhere(s *Services) (web sockets.Process, at []string) {
	for _, l := range s.Listeners {
		owners := s.owners(l)
		if len(owners) == 0 || !servesTheWeb(owners[0].Name) || l.Addr.Addr().IsLoopback() {
			continue
		}
		if len(at) > 0 && owners[0].PID != web.PID {
			continue
		}
		web = owners[0]
		at = append(at, where(l))
	}
	return web, at
}

func servesTheWeb(program string) bool {
	return slices.Contains([]string{"nginx", "apache2", "httpd", "lighttpd", "caddy", "haproxy", "varnishd", "angie", "openresty"}, program)
}
