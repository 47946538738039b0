package director

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"rsagent/agent/config"
)

// weight is what each node gets where it is in service: fine enough for a node that
// asks for a part of it, and within what every director takes.
const weight = 100

// site is what a director must know, all of it checked: every text in it can stand
// in any format as it is.
type site struct {
	pools     []pool
	alone     bool         // it has this node only, since no other was given
	directors []netip.Addr // those that are single addresses
	refused   []netip.Addr // those of them that health.allow hangs up on
	port      string       // of the health endpoint
	agentPort string       // of agent-check; empty: there is none
	local     string       // where a web server on the node reaches the endpoint
	ready404  bool         // a drain is told by 404
	check     string
	deletes   bool
	program   string
	pace      pace
}

// pool is a service, and the nodes that have it.
type pool struct {
	name    string
	service netip.AddrPort   // the VIP; without a tunnel, where the first node has it
	nodes   []netip.AddrPort // the nodes' own addresses
	probe   string           // how the node itself asks: its probe's type
}

// Names and programs that need no quotes anywhere.
var (
	plainName    = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	plainProgram = regexp.MustCompile(`^/[A-Za-z0-9._/+-]+$`)
)

func newSite(c config.Config, f Format, q Request) (site, error) {
	s := site{ready404: c.Health.DrainStatus == 404, deletes: q.DeleteFailed, program: q.Program, pace: newPace(c.Drain)}
	if s.program == "" {
		s.program = Program
	}
	err := errors.Join(s.choose(f, q), s.listen(c.Health))
	if err != nil {
		return s, err
	}
	for _, d := range c.Directors {
		if d.IsSingleIP() {
			s.directors = append(s.directors, d.Addr())
		}
	}
	for _, d := range s.directors {
		in := func(p netip.Prefix) bool { return p.Contains(d) }
		if len(c.Health.Allow) > 0 && !slices.ContainsFunc(c.Health.Allow, in) {
			s.refused = append(s.refused, d)
		}
	}
	if f.Name == "lvs.cf" && len(s.directors) == 0 {
		return s, errors.New("it names the directors, and directors has no single address")
	}
	return s, s.addPools(c, f, q)
}

// choose takes what was asked for, if the format has it.
func (s *site) choose(f Format, q Request) error {
	s.check = q.Check
	switch {
	case q.Check == "" && len(f.Checks) > 0:
		s.check = f.Checks[0]
	case q.Check != "" && len(f.Checks) == 0:
		return fmt.Errorf("it has no checks, so there is no --check %s", q.Check)
	case q.Check != "" && !slices.Contains(f.Checks, q.Check):
		return fmt.Errorf("it has no check %q, expected %s", q.Check, strings.Join(f.Checks, " or "))
	}
	if q.DeleteFailed && !f.Deletes {
		return errors.New("it deletes no node, so there is no --delete-failed")
	}
	if !plainProgram.MatchString(s.program) {
		return fmt.Errorf("%q is no program, expected an absolute path such as %s", s.program, Program)
	}
	return nil
}

// listen takes the ports at which directors ask.
func (s *site) listen(h config.Health) (err error) {
	var host string
	if host, s.port, err = listener("health.listen", h.Listen); err != nil {
		return err
	}
	s.local = net.JoinHostPort(local(host), s.port)
	if s.check != CheckAgent {
		return nil
	}
	if h.AgentListen == "" {
		return errors.New(`health.agent_listen is empty, expected a port such as ":9381" for agent-check`)
	}
	_, s.agentPort, err = listener("health.agent_listen", h.AgentListen)
	return err
}

// listener takes a socket apart at which directors can ask.
func listener(key, text string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(text)
	a, notAddress := netip.ParseAddr(host)
	number, notPort := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil, notPort != nil, number == 0, a.Zone() != "", host != "" && notAddress != nil && !plainName.MatchString(host):
		return "", "", fmt.Errorf("%s is %q, expected a host and a port", key, text)
	case a.IsLoopback(), host == "localhost":
		return "", "", fmt.Errorf("%s is %q, where no director can ask", key, text)
	}
	return host, strconv.FormatUint(number, 10), nil
}

// local is where to reach, on the node, what listens at a host.
func local(host string) string {
	if a, err := netip.ParseAddr(host); host == "" || err == nil && a.IsUnspecified() {
		return "127.0.0.1"
	}
	return host
}

// addPools takes the services and the nodes that have them.
func (s *site) addPools(c config.Config, f Format, q Request) error {
	tunnel := c.Tunnel.Mode == config.ModeIPIP
	switch {
	case f.Name == "sysctl":
		return nil
	case f.proxies && tunnel:
		return errors.New(`tunnel.mode is "ipip", and a proxy needs no tunnel: it asks a node whose mode is "none" at its own address`)
	case !f.proxies && !tunnel:
		return errors.New(`tunnel.mode is "none", so it has no VIP: it is behind a proxy, expected haproxy or apache`)
	case len(c.Pools) == 0:
		return errors.New("it has no [[pool]], so there is no service")
	}
	reals, err := goodReals(c, q.Reals)
	if err != nil {
		return err
	}
	if tunnel && len(reals) == 0 {
		own, err := Own(c)
		if err != nil {
			return err
		}
		reals = []netip.Addr{own}
	}
	s.alone = len(q.Reals) == 0
	for _, from := range c.Pools {
		p := pool{name: from.Name, service: from.Address, probe: from.Probe.Type}
		if !plainName.MatchString(p.name) {
			return fmt.Errorf("pool %q has a name that no director takes", p.name)
		}
		for _, a := range reals {
			p.nodes = append(p.nodes, netip.AddrPortFrom(a, from.Address.Port()))
		}
		if len(reals) == 0 {
			if a := from.Address.Addr(); a.IsLoopback() || a.IsUnspecified() {
				return fmt.Errorf("pool %s is at %s, where no proxy reaches it: give --real ADDRESS", p.name, from.Address)
			}
			p.nodes = []netip.AddrPort{from.Address}
		}
		s.pools = append(s.pools, p)
	}
	if f.Name == "apache" {
		return apacheNames(s.pools)
	}
	return nil
}

// goodReals checks what was given as real servers.
func goodReals(c config.Config, reals []netip.Addr) ([]netip.Addr, error) {
	for i, a := range reals {
		why := ""
		switch {
		case a.Zone() != "" || a.Is4In6():
			why = "expected an address without more"
		case a.IsUnspecified(), a.IsLoopback(), a.IsMulticast(), a.IsLinkLocalUnicast():
			why = "no director reaches a node there"
		case c.Tunnel.Mode == config.ModeIPIP && !a.Is4():
			why = "IPIP carries IPv4 in IPv4"
		case slices.Contains(c.VIPs, a):
			why = "it is a VIP, expected the node's own address"
		case slices.Contains(reals[:i], a):
			why = "it is given twice"
		}
		if why != "" {
			return nil, fmt.Errorf("%q is no real server: %s", a.WithZone(""), why)
		}
	}
	return reals, nil
}

// vips are the addresses of the services, each once.
func (s site) vips() []netip.Addr {
	var all []netip.Addr
	for _, p := range s.pools {
		if !slices.Contains(all, p.service.Addr()) {
			all = append(all, p.service.Addr())
		}
	}
	return all
}
