// Package director writes what belongs on a director for the services of a node:
// the configuration of keepalived, ldirectord, piranha, HAProxy or Apache, rules
// for ipvsadm, and the settings of the kernel that a director needs. It looks at
// the node's configuration alone, and at nothing that a director already has.
package director

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"rsagent/agent/config"
)

// The ways to ask a node, as in Request.Check.
const (
	CheckHTTP  = "http"  // /ready/POOL over HTTP
	CheckProbe = "probe" // rsagent probe on the director, through the tunnel
	CheckAgent = "agent" // HAProxy's agent-check
)

// Program is where the packages put rsagent.
const Program = "/usr/bin/rsagent"

// Request is what is asked for.
type Request struct {
	Format string // one of Formats
	// Reals are the real servers. Empty is the node itself: Own with a tunnel,
	// the pools' own addresses with config.ModeNone.
	Reals []netip.Addr
	// Check is one of the ways that the format has; empty is the first.
	Check string
	// DeleteFailed has a director delete a node that fails, and break its
	// connections, instead of giving it weight 0.
	DeleteFailed bool
	// Program is where rsagent is on the director, for CheckProbe; empty is
	// the constant Program.
	Program string
}

// Format is a kind of file for a director.
type Format struct {
	Name    string
	Checks  []string // how it can have nodes asked, the default first; empty: not at all
	Deletes bool     // whether Request.DeleteFailed means anything to it
	proxies bool     // whether it is for a proxy, and not for IPVS
	write   func(*page, site)
}

// Formats are all that there are.
func Formats() []Format {
	return []Format{
		{Name: "keepalived", Checks: []string{CheckHTTP, CheckProbe}, Deletes: true, write: keepalived},
		{Name: "ldirectord", Checks: []string{CheckHTTP, CheckProbe}, Deletes: true, write: ldirectord},
		{Name: "lvs.cf", Checks: []string{CheckHTTP}, write: piranha},
		{Name: "haproxy", Checks: []string{CheckHTTP, CheckAgent}, proxies: true, write: haproxy},
		{Name: "apache", Checks: []string{CheckHTTP}, proxies: true, write: apache},
		{Name: "ipvsadm", write: ipvsadm},
		{Name: "sysctl", write: settings},
	}
}

// Names are the names of Formats.
func Names() []string {
	var names []string
	for _, f := range Formats() {
		names = append(names, f.Name)
	}
	return names
}

// Write writes one format for a node. The warnings are for whoever does not read the
// comments.
func Write(c config.Config, q Request) (text []byte, warnings []string, err error) {
	i := slices.IndexFunc(Formats(), func(f Format) bool { return f.Name == q.Format })
	if i < 0 {
		return nil, nil, fmt.Errorf("cannot write %q: the formats are %s", q.Format, strings.Join(Names(), ", "))
	}
	f := Formats()[i]
	s, err := newSite(c, f, q)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot write %s for this node: %v", f.Name, err)
	}
	var p page
	f.write(&p, s)
	return []byte(p.text.String()), p.warnings, nil
}
