package agent

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"rsagent/agent/config"
	"rsagent/probe"
	"rsagent/sysctl"
	"rsagent/tunnel"
)

// Node is one snapshot of all that the conditions look at. Each source
// carries its own error: what could not be looked at is unknown, not broken.
type Node struct {
	Time        time.Time
	IPIP        tunnel.Obstacle // what speaks against IPIP in this kernel
	Net         tunnel.Node
	Addresses   map[netip.Addr][]tunnel.Address // those of Net, by address
	NetErr      error
	Facing      []int // the links by which the directors are reached
	Firewall    tunnel.FirewallState
	FirewallErr error
	Sysctl      sysctl.Values
	Unwatched   error // why a change of Sysctl may be seen at the next sweep only
	Pools       map[string]probe.Result
	Draining    string // who asked the node to leave service; empty: nobody

	// Old says that all but Pools and Draining is of an earlier look, taken at
	// Time, since a newer one could not see links, addresses or the packet filter.
	// Nothing is repaired by it.
	Old bool
}

// Host is where a node is looked at and repaired.
type Host struct {
	Sysctl  *sysctl.FS
	Watcher *sysctl.Watcher // follows what was looked at last; nil: nothing does
	Net     *tunnel.Handle
	Root    string // where /proc and /lib/modules are found; "/" but in tests
}

// OpenHost opens this machine, in the network namespace of the caller.
// The errors say what cannot be reached.
func OpenHost() (Host, error) {
	fs, err := sysctl.Open("/proc/sys")
	if err != nil {
		return Host{}, err
	}
	net, err := tunnel.Open()
	if err != nil {
		fs.Close()
		return Host{}, err
	}
	return Host{Sysctl: fs, Net: net, Root: "/"}, nil
}

// watch tells of writes to the settings that were looked at last, until ctx
// ends. Without a watcher it only waits.
func (h Host) watch(ctx context.Context, changed func()) error {
	if h.Watcher == nil {
		<-ctx.Done()
		return nil
	}
	return h.Watcher.Run(ctx, changed)
}

// Close ends the use of the host.
func (h Host) Close() {
	h.Net.Close()
	h.Sysctl.Close()
}

// look takes a snapshot of the node for a configuration.
func (h Host) look(c config.Config) Node {
	n := h.observe(c.Tunnel.Device, settingKeys(c))
	if c.Tunnel.Mode == config.ModeIPIP {
		n.Facing = h.facing(c.Directors)
		n.Firewall, n.FirewallErr = h.Net.ObserveFirewall()
	}
	return n
}

// observe takes a snapshot of what there is on any node. Settings are the keys
// to read besides those that LVS-TUN needs.
func (h Host) observe(device string, settings []sysctl.Key) Node {
	n := Node{Time: time.Now()}
	n.Net, n.NetErr = h.Net.Observe()
	n.Addresses = make(map[netip.Addr][]tunnel.Address, len(n.Net.Addresses))
	for _, a := range n.Net.Addresses {
		n.Addresses[a.Prefix.Addr()] = append(n.Addresses[a.Prefix.Addr()], a)
	}
	if n.NetErr == nil && n.fallback() == nil {
		n.IPIP = tunnel.MissingIPIP(h.Root)
	}
	keys := append(tunnelKeys(n.Net, device), settings...)
	// Watched first, then read: no change falls between the two.
	if h.Watcher != nil {
		n.Unwatched = h.Watcher.Set(keys)
	}
	n.Sysctl = h.Sysctl.Snapshot(keys)
	return n
}

// link returns the interface of that name, or nil.
func (n Node) link(name string) *tunnel.Link {
	return n.linkThat(func(l tunnel.Link) bool { return l.Name == name })
}

// fallback returns the device that receives every IPIP packet which no other
// tunnel claims, or nil.
func (n Node) fallback() *tunnel.Link {
	return n.linkThat(func(l tunnel.Link) bool { return l.Fallback })
}

func (n Node) linkThat(is func(tunnel.Link) bool) *tunnel.Link {
	if i := slices.IndexFunc(n.Net.Links, is); i >= 0 {
		return &n.Net.Links[i]
	}
	return nil
}
