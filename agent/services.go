package agent

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/probe"
	"rsagent/probe/sockets"
)

// Services is what there is to know of the services of a node, besides what
// they answer.
type Services struct {
	Listeners    []sockets.Listener
	ListenersErr error

	Owners    map[uint32][]sockets.Process // by the inode of a listener
	OwnersErr error                        // some may be missing

	Hung    []sockets.Hanging // connections that are half open or not closed
	HungErr error

	// Open are the clients whose connection to a service is whole, for each
	// service that has some whose connection is not, and no error.
	Open map[netip.AddrPort][]netip.AddrPort

	// Own is what the probe of a pool says by the node's own address, by the
	// pool's name; nil: it passes. Connect is whether a pool whose probe is a
	// command takes a connection.
	Own, Connect map[string]error
	OwnAddress   netip.Addr // the zero Addr: none is known

	Units []Unit // web servers that systemd could start here
}

// Unit is a service of systemd.
type Unit struct {
	Name            string // nginx
	Enabled, Masked bool
}

// ownersTime is the longest that the search for the owners of sockets may take.
const ownersTime = time.Second

// services looks at the services of a node, all of it side by side.
func (h Host) services(ctx context.Context, c config.Config, n Node) *Services {
	s := &Services{OwnAddress: ownAddress(c, n)}
	var looks sync.WaitGroup
	looks.Go(func() {
		s.Listeners, s.ListenersErr = sockets.Listening()
		s.Owners, s.OwnersErr = sockets.Owners(filepath.Join(h.Root, "proc"), inodes(s.Listeners), time.Now().Add(ownersTime))
	})
	looks.Go(func() {
		if s.Hung, s.HungErr = sockets.Hung(); s.HungErr == nil {
			s.Open = openTo(c, s.Hung)
		}
	})
	looks.Go(func() { s.Own, s.Connect = tryOtherwise(ctx, c, s.OwnAddress) })
	looks.Go(func() { s.Units = webServers(h.Root) })
	looks.Wait()
	return s
}

func inodes(listeners []sockets.Listener) map[uint32]bool {
	wanted := make(map[uint32]bool, len(listeners))
	for _, l := range listeners {
		if l.Inode != 0 {
			wanted[l.Inode] = true
		}
	}
	return wanted
}

// openTo asks only for services that may be cut off from their clients, since a
// busy one has many connections.
func openTo(c config.Config, hung []sockets.Hanging) map[netip.AddrPort][]netip.AddrPort {
	open := make(map[netip.AddrPort][]netip.AddrPort)
	for _, p := range c.Pools {
		if len(unanswered(hung, p.Address)) == 0 {
			continue
		}
		if clients, err := sockets.Established(p.Address); err == nil {
			open[p.Address] = clients
		}
	}
	return open
}

// ownAddress is the first IPv4 address of a link by which directors are
// reached, which a service that listens everywhere answers on too.
func ownAddress(c config.Config, n Node) netip.Addr {
	var found []netip.Addr
	for addr, at := range n.Net.Addresses {
		if !addr.Is4() || slices.Contains(c.VIPs, addr) {
			continue
		}
		for _, a := range at {
			if l := n.link(a.Link); l != nil && slices.Contains(n.Facing, l.Index) {
				found = append(found, addr)
			}
		}
	}
	if len(found) == 0 {
		return netip.Addr{}
	}
	return slices.MinFunc(found, netip.Addr.Compare)
}

// tryOtherwise asks the service of each pool by the node's own address, and
// connects where a command is the probe.
func tryOtherwise(ctx context.Context, c config.Config, own netip.Addr) (byOwn, connect map[string]error) {
	byOwn, connect = make(map[string]error), make(map[string]error)
	var mu sync.Mutex
	var tries sync.WaitGroup
	try := func(into map[string]error, name string, t probe.Target) {
		tries.Go(func() {
			err := t.Try(ctx)
			mu.Lock()
			into[name] = err
			mu.Unlock()
		})
	}
	for _, p := range c.Pools {
		t := target(c, p)
		switch {
		case t.Kind == probe.Exec:
			t.Kind = probe.TCP
			try(connect, p.Name, t)
		case c.Tunnel.Mode == config.ModeIPIP && own.IsValid():
			t.Addr, t.Source = netip.AddrPortFrom(own, p.Address.Port()), netip.Addr{}
			if t.Host == "" && t.ServerName == "" {
				t.Host = p.Address.Addr().String() // the same question
			}
			try(byOwn, p.Name, t)
		}
	}
	tries.Wait()
	return byOwn, connect
}

// Where systemd finds units, those of the administrator first: systemd.unit(5).
var unitDirectories = []string{"etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"}

// webServers are the units below root of programs that serve the web, those
// that start at boot first. Without a running systemd there are none.
func webServers(root string) []Unit {
	if !booted(root) {
		return nil
	}
	var units []Unit
	for _, name := range []string{"nginx", "apache2", "httpd", "lighttpd", "caddy", "haproxy", "varnish", "angie", "openresty", "h2o", "tomcat"} {
		u, found := Unit{Name: name}, false
		for _, dir := range unitDirectories {
			file := filepath.Join(root, dir, name+".service")
			if to, err := os.Readlink(file); err == nil && to == "/dev/null" {
				u.Masked = true
			}
			if _, err := os.Lstat(file); err == nil {
				found = true
			}
		}
		wants, _ := filepath.Glob(filepath.Join(root, "etc/systemd/system/*.wants", name+".service"))
		u.Enabled = len(wants) > 0
		if found {
			units = append(units, u)
		}
	}
	slices.SortStableFunc(units, func(a, b Unit) int { return rank(a) - rank(b) })
	return units
}

// booted tells whether systemd runs the machine: sd_booted(3).
func booted(root string) bool {
	_, err := os.Stat(filepath.Join(root, "run/systemd/system"))
	return err == nil
}

func rank(u Unit) int {
	if u.Enabled || u.Masked {
		return 0
	}
	return 1
}

// owners are the processes that have a listener, without the parts of their
// names that are not fit to print.
func (s *Services) owners(l sockets.Listener) []sockets.Process {
	list := slices.Clone(s.Owners[l.Inode])
	for i := range list {
		list[i].Name = printable(list[i].Name)
	}
	return list
}

// who names a listener: address, and the first process that has it.
func (s *Services) who(l sockets.Listener) string {
	if owners := s.owners(l); len(owners) > 0 {
		return owners[0].String() + " on " + where(l)
	}
	return where(l)
}

func where(l sockets.Listener) string {
	at := l.Addr.String()
	if l.Addr.Addr().IsUnspecified() && l.Addr.Addr().Is4() {
		at = "*" + strings.TrimPrefix(at, "0.0.0.0")
	}
	if l.Only6 {
		at += " (IPv6 only)"
	}
	return at
}

// anythingListens wants something to listen on a VIP of which no more is known:
// on a port of the web, or on the VIP itself.
func anythingListens(c config.Config, vip netip.Addr) Condition {
	want := fmt.Sprintf("a socket on port 80 or 443, or on any of %s alone", vip)
	return Condition{
		ID:       listensID + vip.String(),
		Title:    fmt.Sprintf("Something listens for the VIP %s", vip),
		Effect:   "Connections to this VIP that a director sends to this node are refused.",
		Severity: health.Advisory,
		Needs:    []string{anyVIPID},
		Evaluate: func(n Node) Verdict {
			if n.Examined == nil {
				return Verdict{Status: health.Unknown, Want: want, Got: "not looked at"}
			}
			s := n.Examined.Services
			if s.ListenersErr != nil {
				return unknown(want, s.ListenersErr)
			}
			var names []string
			for _, l := range s.Listeners {
				port := l.Addr.Port()
				web := port == 80 || port == 443 || l.Addr.Addr() == vip
				if web && len(takersOf(c, n, netip.AddrPortFrom(vip, port))) > 0 && l.Takes(netip.AddrPortFrom(vip, port)) {
					names = append(names, s.who(l))
				}
			}
			if len(names) > 0 {
				return Verdict{Status: health.OK, Want: want, Got: strings.Join(names, ", ")}
			}
			if granted(n, netip.AddrPortFrom(vip, 0)) {
				return Verdict{Status: health.OK, Want: want, Got: "a trial is answered, by no socket of this network namespace"}
			}
			if by := n.Examined.Filters.redirects(vip, 80, 443); by != "" {
				return Verdict{Status: health.OK, Want: want, Got: "sent elsewhere by " + by}
			}
			v := Verdict{Status: health.Failed, Want: want}
			v.Got, v.Cause, v.Remedy = nothingOn(n.Examined, []uint16{80, 443})
			v.Got = "nothing listens for it on port 80 or 443"
			return v
		},
	}
}
