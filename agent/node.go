package agent

import (
	"slices"
	"time"

	"rsagent/agent/config"
	"rsagent/agent/ledger"
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
	NetErr      error
	Facing      []int // the links by which the directors are reached
	Firewall    tunnel.FirewallState
	FirewallErr error
	Ways        []Way // what the kernel would do with the packets of a client
	Sysctl      sysctl.Values
	Unwatched   error // why a change of Sysctl may be seen at the next sweep only
	Pools       map[string]probe.Result
	Weight      Weighed
	Draining    map[string]DrainState // by pool; wholeNode: the node. Nil: nothing drains
	Held        map[string]string     // why the repair of a condition is held back, by its id
	Unsteady    map[string]string     // why a condition that holds does so for a moment only, by its id

	// Examined is what `check` looks at besides; nil in the daemon.
	Examined *Examination

	Looks looks // what of this is as it was before

	// Old says that all but Pools, Weight, Draining, Held and Unsteady is of an earlier
	// look, taken at Time, since a newer one could not see links, addresses or the packet
	// filter. Nothing is repaired by it.
	Old bool
}

// DrainState is how far the node, or a pool, is on its way out of service.
type DrainState struct {
	Why  string // who asked for it
	Over bool   // nothing is left to wait for
}

// Host is where a node is looked at and repaired.
type Host struct {
	Sysctl  *sysctl.FS
	Watcher *sysctl.Watcher // follows what was looked at last; nil: nothing does
	Net     *tunnel.Handle
	Root    string         // where /proc and /lib/modules are found; "/" but in tests
	Ledger  *ledger.Ledger // what the node was before it was changed; nil: it is not remembered
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
		n.Ways = h.ways(c, n)
		n.Firewall, n.FirewallErr = h.Net.ObserveFirewall()
	}
	return n
}

// observe takes a snapshot of what there is on any node. Settings are the keys
// to read besides those that LVS-TUN needs.
func (h Host) observe(device string, settings []sysctl.Key) Node {
	n := Node{Time: time.Now()}
	n.Net, n.NetErr = h.Net.Observe()
	n.IPIP = h.obstacle(n)
	n.Sysctl = h.Sysctl.Snapshot(append(tunnelKeys(n.Net, device), settings...))
	return n
}

// obstacle is what keeps the kernel from having IPIP, if it does not have it.
func (h Host) obstacle(n Node) tunnel.Obstacle {
	if n.NetErr != nil || n.fallback() != nil {
		return tunnel.Obstacle{}
	}
	return tunnel.MissingIPIP(h.Root)
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

func settingKeys(c config.Config) []sysctl.Key {
	var keys []sysctl.Key
	for _, s := range c.Sysctl {
		keys = append(keys, s.Path)
	}
	return keys
}
