// Package agent keeps a real server right. It is one list of conditions, and
// a loop that looks at the node, judges it by the list, repairs what it owns
// and reports.
package agent

import (
	"fmt"

	"rsagent/agent/config"
	"rsagent/agent/health"
)

// Conditions returns what must hold on a node with this configuration, in
// the order in which it is judged and repaired. ARP protection stands before
// the VIPs and the VIPs need it, so at no moment is a VIP on a node that would
// answer ARP for it.
func Conditions(c config.Config) []Condition {
	var list []Condition
	if c.Tunnel.Mode == config.ModeIPIP {
		list = append(list, tunnelConditions(c)...)
	}
	list = append(list, settingConditions(c)...)
	return append(list, poolConditions(c)...)
}

// Ids that other conditions need, or the loop asks for.
const (
	arpIgnoreAllID   = "sysctl/arp_ignore/all"
	arpIgnoreID      = "sysctl/arp_ignore/interfaces"
	arpAnnounceAllID = "sysctl/arp_announce/all"
	arpAnnounceID    = "sysctl/arp_announce/interfaces"
	kernelID         = "kernel/ipip"
	deviceKindID     = "tunnel/kind"
	deviceID         = "tunnel/device"
	deviceUpID       = "tunnel/up"
	foreignID        = "tunnel/foreign"
	anyVIPID         = "tunnel/vip"
	rpFilterIDStart  = "sysctl/rp_filter/"
)

func tunnelConditions(c config.Config) []Condition {
	device := c.Tunnel.Device
	arp := []string{arpIgnoreAllID, arpIgnoreID, arpAnnounceAllID, arpAnnounceID}
	list := []Condition{
		kernelHasIPIP(),
		deviceKind(device),
	}
	for _, vip := range c.VIPs {
		list = append(list, vipNowhereElse(device, vip))
	}
	list = append(list,
		arpForAll(arpIgnoreAllID, arpIgnore()),
		arpForInterfaces(arpIgnoreID, arpIgnore(), arpIgnoreAllID),
		arpForAll(arpAnnounceAllID, arpAnnounce()),
		arpForInterfaces(arpAnnounceID, arpAnnounce(), arpAnnounceAllID),
		directorsDeclared(c),
		firewallHolds(c),
		deviceExists(device, append(arp, kernelID, deviceKindID)),
		notStrict(device, c.Sysctl),
	)
	for _, vip := range c.VIPs {
		list = append(list, vipOnDevice(device, vip, append(arp, deviceID, vipElsewhereID(vip))))
	}
	return append(list, deviceUp(c), nothingForeign(c))
}

// Found returns what can be judged on a node without a configuration, and the
// VIPs that it seems to have: what stands on its tunnel device, and /32
// addresses on lo or a dummy device. Nothing of it is owned.
func Found(n Node) (config.Config, []Condition) {
	c := foundConfig(n)
	device := c.Tunnel.Device
	list := []Condition{
		kernelHasIPIP(),
		deviceKind(device),
		deviceExists(device, []string{kernelID, deviceKindID}),
		anyVIP(device, c.VIPs),
		notStrict(device, nil),
		deviceUp(c),
	}
	for _, vip := range c.VIPs {
		list = append(list, vipNowhereElse(device, vip))
	}
	// Without a VIP, nothing is wrong with a node that answers ARP.
	list = append(list,
		arpForInterfaces(arpIgnoreID, arpIgnore(), anyVIPID),
		arpForInterfaces(arpAnnounceID, arpAnnounce(), anyVIPID),
	)
	for i := range list {
		list[i].Repair = nil
	}
	return c, list
}

// notDraining holds until the daemon is asked to take the node out of
// service. Only the daemon can judge it.
func notDraining() Condition {
	return Condition{
		ID:       health.DrainID,
		Title:    "The node is in service",
		Severity: health.Required,
		Evaluate: func(n Node) Verdict {
			if n.Draining == "" {
				return Verdict{Status: health.OK, Want: "in service", Got: "in service"}
			}
			return Verdict{Status: health.Failed, Want: "in service", Got: "draining",
				Cause: fmt.Sprintf("asked for by %s", n.Draining)}
		},
	}
}
