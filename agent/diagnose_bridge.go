package agent

import (
	"net/netip"

	"rsagent/tunnel"
	"rsagent/tunnel/path"
	"rsagent/tunnel/ruleset"
)

// ports finds the ports of bridges that packets pass, each but once.
type ports struct {
	node    Node
	bridges *path.Bridges
	known   map[portKey]ruleset.Link
}

type portKey struct {
	bridge int
	host   netip.Addr
}

func portsOf(n Node) ports {
	return ports{node: n, bridges: &path.Bridges{}, known: map[portKey]ruleset.Link{}}
}

// of is the port by which a link exchanges packets with the host that a route goes
// to; none if it is no bridge.
func (p ports) of(link tunnel.Link, route tunnel.Route, to netip.Addr) ruleset.Link {
	if link.Kind != "bridge" {
		return ruleset.Link{}
	}
	key := portKey{link.Index, to}
	if route.Gateway.IsValid() {
		key.host = route.Gateway
	}
	if _, known := p.known[key]; !known {
		p.known[key] = ruleset.SomePort
		index, ok := p.bridges.Port(key.bridge, key.host)
		if l := p.node.linkAt(index); ok && l != nil {
			p.known[key] = seen(*l)
		}
	}
	return p.known[key]
}
