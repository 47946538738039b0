package agent

import (
	"context"
	"slices"
	"sync"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/probe/selinux"
	"rsagent/probe/sockets"
	"rsagent/sysctl"
	"rsagent/tunnel/path"
)

// Examination is what only `check` looks at: it takes longer than a round may,
// or tells why something fails that the other conditions see fail. Each source
// carries its own error.
type Examination struct {
	Filters  Filters
	Services *Services
	Path     path.Facts // the way between the wire and the services

	Asked    []Asked  // clients that asked while the wire was watched
	Sources  []Source // directors that sent meanwhile, or whose address is this node's too
	Martians []Source // who asked by an address of this node

	Gaps    sockets.Gaps // connections that wait for something lost
	GapsErr error

	Denials []selinux.Denial // what SELinux has refused, as far as that is known

	Elsewhere *Elsewhere // where the node is if it is not here
	Served    *Served    // who serves a pool if nobody does here

	Boot    sysctl.Boot // what sets settings at boot, where the node was set up by hand
	BootErr error

	// In and Out are what stands in the way of the first of Node.Ways, by the
	// rules of policy routing and the routes; empty: nothing that is known.
	In, Out path.Stop
}

// examine looks at what the diagnosis is about, all of it side by side.
func (h Host) examine(ctx context.Context, c config.Config, n Node) *Examination {
	x := &Examination{}
	var looks, filters sync.WaitGroup
	looks.Go(func() { x.Services = h.services(ctx, c, n) })
	if selinux.Enforcing(h.Root) {
		looks.Go(func() { x.Denials, _ = selinux.Denials(h.Root) }) // they only tell why
	}
	if c.Tunnel.Mode == config.ModeIPIP {
		filters.Go(func() { x.Filters = h.filters(c, n) })
		x.Path = lookAtPath(c, n)
		x.In, x.Out = explain(c, n)
		filters.Wait() // one at a time may ask for routes
		x.Asked = h.asked(c, n, x.Path.Wire)
		x.Sources = h.sources(c, n, &x.Path)
		x.Martians = h.martians(c, n, x.Path.Wire)
		x.Gaps, x.GapsErr = gaps(c, n, x.Path.Wire.MSS)
	}
	looks.Wait()
	if c.Tunnel.Mode == config.ModeIPIP && x.Services.ListenersErr == nil {
		x.Elsewhere = h.elsewhere(c, n, x.Services.Listeners)
		if x.Elsewhere == nil { // else nothing is said of services
			x.Served = h.served(x.Services, silent(c, x.Services))
		}
	}
	return x
}

// Examined returns what `check` judges: the conditions, and before those of the
// pools, which depend on it, the diagnosis.
func Examined(c config.Config) []Condition {
	list := append(underneath(c), nodeConditions(c)...)
	for i := range list {
		switch list[i].ID {
		case localID: // a VRF takes it along
			list[i].Needs = append(slices.Clone(list[i].Needs), pathVRFID)
		case deviceID:
			// The daemon keeps an order, so that no VIP comes while ARP is open. Where
			// nothing is repaired, one does not hide the other.
			list[i].Needs = []string{kernelID, deviceKindID}
			list[i] = deviceExplained(list[i], c.Tunnel.Device)
		}
		if vip := list[i].VIP; vip.IsValid() && list[i].ID == vipID(vip) {
			list[i].Needs = []string{deviceID, vipElsewhereID(vip)}
		}
	}
	list = append(list, diagnosis(c)...)
	list = append(list, serviceConditions(c)...)
	list = append(list, explainedPools(c, list)...)
	if c.Tunnel.Mode == config.ModeIPIP {
		list = needingNamespace(list)
	}
	return append(list, weightConditions(c)...)
}

// Listed returns what `check` judges with a configuration, for people who want
// to know what that is: the findings without what was found.
func Listed(c config.Config) []health.Finding {
	var list []health.Finding
	for _, c := range Examined(c) {
		list = append(list, health.Finding{ID: c.ID, Title: c.Title, Severity: c.Severity, Effect: c.Effect})
	}
	return list
}

// underneath is what the conditions themselves stand on.
func underneath(c config.Config) []Condition {
	if c.Tunnel.Mode != config.ModeIPIP {
		return nil
	}
	return []Condition{linksCarry(c), noVRF(c)}
}

// diagnosis returns what must hold besides the conditions for clients to be
// served, and is looked at by `check` only.
func diagnosis(c config.Config) []Condition {
	var list []Condition
	if c.Tunnel.Mode == config.ModeIPIP {
		list = append(list, filterConditions(c)...)
		list = append(list, limitConditions()...)
		list = append(list, pathDiagnosis(c)...)
	}
	return list
}

// needingOnly lets conditions that come after a list need what is in it, or in
// themselves.
func needingOnly(list, more []Condition) []Condition {
	known := make(map[string]bool, len(list)+len(more))
	for _, c := range list {
		known[c.ID] = true
	}
	more = slices.Clone(more)
	for i, c := range more {
		more[i].Needs = slices.DeleteFunc(slices.Clone(c.Needs), func(id string) bool { return !known[id] })
		known[c.ID] = true
	}
	return more
}
