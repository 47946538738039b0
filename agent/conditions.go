// Package agent keeps a real server right. It is one list of conditions, and
// a loop that looks at the node, judges it by the list, repairs what it owns
// and reports.
package agent

import (
	"fmt"
	"slices"

	"rsagent/agent/config"
	"rsagent/agent/health"
)

// Conditions returns what must hold on a node with this configuration, in
// the order in which it is judged and repaired. ARP protection stands before
// the VIPs and the VIPs need it, so at no moment is a VIP on a node that would
// answer ARP for it.
func Conditions(c config.Config) []Condition {
	return slices.Concat(nodeConditions(c), poolConditions(c), weightConditions(c))
}

func nodeConditions(c config.Config) []Condition {
	var list []Condition
	if c.Tunnel.Mode == config.ModeIPIP {
		list = append(list, tunnelConditions(c)...)
	}
	list = append(list, settingConditions(c)...)
	if c.Tunnel.Mode == config.ModeIPIP {
		// After the settings, since the kernel turns accept_redirects of conf/all
		// on and off together with net.ipv4.ip_forward (inet_forward_change in
		// net/ipv4/devinet.c).
		list = append(list, redirectConditions(c)...)
		list = append(list, tcpConditions(c)...)
	}
	return list
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
	prefixID         = "tunnel/prefix"
	localID          = "tunnel/local"
	rpFilterIDStart  = "sysctl/rp_filter/"
)

func tunnelConditions(c config.Config) []Condition {
	device, filter := c.Tunnel.Device, &filter{config: c}
	arp := []string{arpIgnoreAllID, arpIgnoreID, arpAnnounceAllID, arpAnnounceID}
	list := []Condition{
		kernelHasIPIP("systemctl start rsagent"),
		deviceKind(device),
	}
	for _, vip := range c.VIPs {
		list = append(list, vipNowhereElse(device, vip))
	}
	list = append(list,
		arpForAll(arpIgnoreAllID, arpIgnore(c)),
		arpForInterfaces(arpIgnoreID, arpIgnore(c), arpIgnoreAllID),
		arpForAll(arpAnnounceAllID, arpAnnounce(c)),
		arpForInterfaces(arpAnnounceID, arpAnnounce(c), arpAnnounceAllID),
		directorsDeclared(c),
		firewallHolds(c, filter),
		deviceExists(c, append(arp, kernelID, deviceKindID)),
		notStrict(device, c.Sysctl),
	)
	for _, vip := range c.VIPs {
		list = append(list, vipOnDevice(device, vip, append(arp, deviceID, vipElsewhereID(vip))))
	}
	return append(list, whole(c), delivered(c), deviceUp(c, filter), takenIn(c), sentOut(c), nothingForeign(c))
}

// Found returns what can be judged on a node without a configuration, and the
// VIPs that it seems to have: what stands on its tunnel device, and /32
// addresses on lo or a dummy device. Nothing of it is owned.
func Found(n Node) (config.Config, []Condition) {
	c := foundConfig(n)
	device := c.Tunnel.Device
	list := []Condition{
		kernelHasIPIP(anew(c)),
		deviceKind(device),
		deviceExplained(deviceExists(c, []string{kernelID, deviceKindID}), device),
		anyVIP(device, c.VIPs),
		notStrictByHand(c),
		delivered(c),
		deviceUp(c, &filter{config: c}),
		takenIn(c),
		sentOut(c),
	}
	for _, vip := range c.VIPs {
		list = append(list, vipNowhereElse(device, vip))
	}
	// Without a VIP, nothing is wrong with a node that answers ARP.
	list = append(list,
		arpForInterfaces(arpIgnoreID, arpIgnore(c), anyVIPID),
		arpForInterfaces(arpAnnounceID, arpAnnounce(c), anyVIPID),
		comesBack(c),
	)
	list = append(underneath(c), list...)
	list = append(list, needingOnly(list, diagnosis(c))...)
	for _, vip := range c.VIPs {
		list = append(list, anythingListens(c, vip))
	}
	list = needingNamespace(list)
	for i := range list {
		list[i].Repair, list[i].Withdraw = nil, nil
	}
	return c, list
}

// notDraining holds until the daemon is asked to take the node, or a pool, out of
// service. Only the daemon can judge it.
func notDraining(pool string) Condition {
	c := Condition{
		ID:       health.DrainID,
		Title:    "The node is in service",
		Effect:   "The directors send no new clients to this node.",
		Severity: health.Required,
		Evaluate: func(n Node) Verdict {
			d, drains := n.Draining[pool]
			if !drains {
				return Verdict{Status: health.OK, Want: health.InService, Got: health.InService}
			}
			v := Verdict{Status: health.Failed, Want: health.InService, Got: health.Draining, Cause: "asked for by " + d.Why}
			if d.Over {
				v.Got = health.Drained
			}
			return v
		},
	}
	if pool != wholeNode {
		c.ID = health.PoolDrainID(pool)
		c.Title = fmt.Sprintf("Pool %s is in service", pool)
		c.Effect = "The directors send no new clients to this pool on this node."
	}
	return c
}
