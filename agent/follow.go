package agent

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/sysctl"
	"rsagent/tunnel"
)

// follower sees the node as it is at every moment: each source is looked at
// again only when word has come that it changed. A sweep looks at all of it,
// whatever was said.
type follower struct {
	host     Host
	config   config.Config
	told     func(source string, c tunnel.Change)
	mirror   *tunnel.Mirror
	firewall atomic.Pointer[tunnel.FirewallWatch] // nil: the packet filter cannot be followed yet
	keys     []sysctl.Key                         // the settings that are looked at
	wrote    []sysctl.Key                         // those that were repaired since the last look
	node     Node                                 // the last look
	all      bool                                 // the next look is at everything
}

// follow subscribes to all that happens on the host. Told is called whenever
// something happens that matters; it must return at once.
func follow(host Host, c config.Config, told func(source string, c tunnel.Change)) (*follower, error) {
	f := &follower{host: host, config: c, told: told, all: true}
	var err error
	f.mirror, err = host.Net.Follow(interestOf(c), func(c tunnel.Change) {
		switch {
		case c.Setting:
			told(health.FromSettings, c)
		case c.Routing:
			told(fromRoutes, c)
		default:
			told(health.FromLinks, c)
		}
	})
	return f, err
}

// fromRoutes is word of routes, which is no hurry and may come by the thousands.
const fromRoutes = "routes"

func interestOf(c config.Config) tunnel.Interest {
	i := tunnel.Interest{Device: c.Tunnel.Device, VIPs: make(map[netip.Addr]bool, len(c.VIPs))}
	for _, vip := range c.VIPs {
		i.VIPs[vip] = true
	}
	return i
}

// configure makes another configuration the one that is looked at for.
func (f *follower) configure(c config.Config) {
	f.config, f.all = c, true
	f.mirror.SetInterest(interestOf(c))
}

// followFirewall subscribes to the packet filter, if the kernel has one.
func (f *follower) followFirewall() error {
	w, err := tunnel.FollowFirewall(func(c tunnel.Change) { f.told(health.FromPacketFilter, c) })
	if err != nil {
		return err
	}
	f.firewall.Store(w)
	return nil
}

// watchFirewall tells of changes to the packet filter until ctx ends. A kernel
// that has none yet is asked again at every pace.
func (f *follower) watchFirewall(ctx context.Context, pace time.Duration) {
	for f.firewall.Load() == nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pace):
		}
		if f.followFirewall() == nil {
			f.told(health.FromPacketFilter, tunnel.Change{})
		}
	}
	f.firewall.Load().Run(ctx)
}

// watchSettings tells of writes to settings until ctx ends.
func (f *follower) watchSettings(ctx context.Context) error {
	if f.host.Watcher == nil {
		<-ctx.Done()
		return nil
	}
	return f.host.Watcher.Run(ctx, func() { f.told(health.FromSettings, tunnel.Change{}) })
}

// sweep has the next look see everything anew. If the lists cannot be had,
// since thousands of things change, the word that comes of that has to do.
func (f *follower) sweep() error {
	f.all = true
	return f.mirror.Relist()
}

// look returns the node as it is. What it returns is good until the next look.
func (f *follower) look() Node {
	n, before := f.node, f.node.Net
	n.Time, n.Old = time.Now(), false
	n.Net, n.NetErr = f.mirror.Look()
	if f.all || n.NetErr != nil || f.node.NetErr != nil || n.Net.Serial != before.Serial {
		n.Looks.next(atLinks)
	}
	links := f.all || n.Net.LinkSerial != before.LinkSerial && !sameSettings(n.Net.Links, before.Links)
	if links {
		f.lookAtLinks(&n)
	}
	f.lookAtSettings(&n, links, n.Net.SettingSerial != before.SettingSerial)
	if f.config.Tunnel.Mode == config.ModeIPIP {
		f.lookAtFirewall(&n)
		if f.all || n.Net.Serial != before.Serial || n.Net.RouteSerial != before.RouteSerial || !good(n.Ways) {
			n.Ways = f.host.ways(f.config, n)
			n.Looks.next(atWays)
		}
	}
	f.node, f.all = n, false
	return n
}

// repaired has the next look read the settings that a step has written.
func (f *follower) repaired(s Step) {
	for _, e := range s.entries {
		if e.Kind == kindSysctl {
			f.wrote = append(f.wrote, sysctl.Key(e.Name))
		}
	}
}

// sameSettings tells whether two lists of links have the same settings: that one
// went up or down changes none.
func sameSettings(a, b []tunnel.Link) bool {
	return slices.EqualFunc(a, b, func(a, b tunnel.Link) bool {
		a.Up = b.Up
		return a == b
	})
}

func (f *follower) lookAtLinks(n *Node) {
	n.Looks.next(atLinks)
	if f.config.Tunnel.Mode == config.ModeIPIP {
		n.IPIP = f.host.obstacle(*n)
		n.Facing = f.host.facing(f.config.Directors)
		f.host.Sysctl.Hold(decisiveKeys(f.config.Tunnel.Device))
	}
	f.keys = append(tunnelKeys(n.Net, f.config.Tunnel.Device), settingKeys(f.config)...)
	if f.host.Watcher != nil {
		n.Unwatched = f.host.Watcher.Set(f.keys) // watched first, then read
	}
}

// lookAtSettings reads those that were written, or all of them. Netlink tells
// of some changes, and not what wrote them: if that was no write that was seen,
// the kernel did it by itself, to any number of them.
func (f *follower) lookAtSettings(n *Node, all, told bool) {
	var written []sysctl.Key
	if f.host.Watcher == nil {
		all = true
	} else {
		if told && f.host.Watcher.Lacks() { // it may be what was told of
			n.Unwatched, all = f.host.Watcher.Set(f.keys), true
		}
		var any bool
		written, any = f.host.Watcher.Changed()
		all = all || any || told && len(written) == 0 || slices.ContainsFunc(written, sysctl.Spreads)
	}
	// What a repair came to is read, never taken from what was said of it: where
	// nothing is said, a repair that holds would look like one that was undone.
	written, f.wrote = append(written, f.wrote...), f.wrote[:0]
	if all {
		n.Sysctl = f.host.Sysctl.Snapshot(f.keys)
		n.Looks.next(atSettings)
		return
	}
	var at source
	for _, key := range written {
		text, err := f.host.Sysctl.Read(key)
		n.Sysctl[key] = sysctl.Value{Text: text, Err: err}
		at |= sourceOf(key)
	}
	n.Looks.next(at)
}

func (f *follower) lookAtFirewall(n *Node) {
	// Asked in any case: what it has seen is seen then.
	w := f.firewall.Load()
	changed := w == nil || w.Changed()
	if changed || f.all || n.FirewallErr != nil {
		n.Firewall, n.FirewallErr = f.host.Net.ObserveFirewall()
		n.Looks.next(atFirewall)
	}
}

func (f *follower) close() {
	f.mirror.Close()
	if w := f.firewall.Load(); w != nil {
		w.Close()
	}
}

// address and device are how repairs, and what undoes them, are named.
func addressName(p netip.Prefix, link string) string { return fmt.Sprintf("address %s on %s", p, link) }

func deviceName(name string) string { return "device " + name }

const tableName = "table ip rsagent"

// changedName is what the repair of a change is called.
func changedName(source string, c tunnel.Change) string {
	switch {
	case source == health.FromPacketFilter:
		return tableName
	case c.Address.IsValid():
		return addressName(netip.PrefixFrom(c.Address, 32), c.Link)
	case c.Link != "":
		return deviceName(c.Link)
	}
	return ""
}
