package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/tunnel"
)

func vipID(vip netip.Addr) string { return "tunnel/vip/" + vip.String() }

func vipOnDevice(device string, vip netip.Addr, needs []string) Condition {
	want := fmt.Sprintf("%s/32 on %s", vip, device)
	return Condition{
		ID:       vipID(vip),
		Title:    fmt.Sprintf("The VIP %s is on the tunnel device", vip),
		VIP:      vip,
		Effect:   "Every request for this VIP that a director sends to this node times out.",
		Severity: health.Required,
		Needs:    needs,
		Looks:    atLinks,
		Evaluate: func(n Node) Verdict {
			if n.NetErr != nil {
				return unknown(want, n.NetErr)
			}
			if onDevice(n, device, vip) {
				return Verdict{Status: health.OK, Want: want, Got: want}
			}
			v := Verdict{Status: health.Failed, Want: want, Got: fmt.Sprintf("%s is not on %s", vip, device),
				Remedy: fmt.Sprintf("ip addr add %s/32 dev %s", vip, device)}
			for _, a := range networksOn(n, device, vip) {
				v.Got = fmt.Sprintf("%s on %s", a.Prefix, device)
				v.Remedy += "\n" + deletion(a)
			}
			return v
		},
		Repair: func(n Node) []Step { return []Step{addVIP(*n.link(device), vip)} },
	}
}

// whole wants no VIP to be on the device with a network around it: the node
// takes all addresses of that to be behind the tunnel, and answers nobody there.
// The /32 is there already when what is wrong goes.
func whole(c config.Config) Condition {
	wrong := func(n Node) []tunnel.Address {
		var list []tunnel.Address
		for _, vip := range c.VIPs {
			if !onDevice(n, c.Tunnel.Device, vip) {
				continue
			}
			list = append(list, networksOn(n, c.Tunnel.Device, vip)...)
		}
		return list
	}
	return Condition{
		ID:       prefixID,
		Title:    "No VIP brings a network along with it",
		Effect:   "Clients and hosts whose addresses are in that network get no answer.",
		Severity: health.Required,
		Needs:    []string{deviceID},
		Looks:    atLinks,
		Evaluate: func(n Node) Verdict {
			v := Verdict{Status: health.OK, Want: "each VIP as a /32 only", Got: "as wanted"}
			if n.NetErr != nil {
				return unknown(v.Want, n.NetErr)
			}
			var got, remedies []string
			for _, a := range wrong(n) {
				got = append(got, a.Prefix.String())
				remedies = append(remedies, deletion(a))
			}
			if len(got) > 0 {
				v.Status, v.Got = health.Failed, strings.Join(got, ", ")+" on "+c.Tunnel.Device
				v.Cause = "the node sends what is for that network into the tunnel"
				v.Remedy = strings.Join(remedies, "\n")
			}
			return v
		},
		Repair: func(n Node) []Step {
			var steps []Step
			for _, a := range wrong(n) {
				steps = append(steps, removeAddress(a))
			}
			return steps
		},
	}
}

// delivered wants the kernel to keep what is for a VIP: an address whose route
// in table local is gone looks well and is not served.
func delivered(c config.Config) Condition {
	lost := func(n Node) []netip.Addr {
		var list []netip.Addr
		for _, vip := range c.VIPs {
			if !n.Net.Local[vip] && onDevice(n, c.Tunnel.Device, vip) {
				list = append(list, vip)
			}
		}
		return list
	}
	return Condition{
		ID:       localID,
		Title:    "What is for a VIP is delivered on this node",
		Effect:   "Every request for the VIP that a director sends to this node times out.",
		Severity: health.Required,
		Needs:    []string{deviceID},
		Looks:    atLinks,
		Evaluate: func(n Node) Verdict {
			v := Verdict{Status: health.OK, Want: "a local route to each VIP", Got: "as wanted"}
			if n.NetErr != nil {
				return unknown(v.Want, n.NetErr)
			}
			var remedies []string
			missing := lost(n)
			for _, vip := range missing {
				remedies = append(remedies, fmt.Sprintf("ip route add local %s dev %s table local proto kernel scope host src %s", vip, c.Tunnel.Device, vip))
			}
			if len(missing) > 0 {
				v.Status, v.Got = health.Failed, "no local route to "+commas(missing)
				v.Cause = "the kernel does not take what is for the VIP to be its own"
				v.Remedy = strings.Join(remedies, "\n")
			}
			return v
		},
		Repair: func(n Node) []Step {
			var steps []Step
			for _, vip := range lost(n) {
				l := n.link(c.Tunnel.Device)
				steps = append(steps, deliver(tunnel.Address{LinkIndex: l.Index, Link: l.Name, Prefix: netip.PrefixFrom(vip, 32)}))
			}
			return steps
		},
	}
}

// networksOn is the VIP where it is on the device with a network around it.
func networksOn(n Node, device string, vip netip.Addr) []tunnel.Address {
	var list []tunnel.Address
	for _, a := range n.Net.Addresses[vip] {
		if a.Link == device && !a.Prefix.IsSingleIP() {
			list = append(list, a)
		}
	}
	return list
}

func deletion(a tunnel.Address) string { return fmt.Sprintf("ip addr del %s dev %s", a.Prefix, a.Link) }

// onDevice tells whether the VIP is on the device as a /32.
func onDevice(n Node, device string, vip netip.Addr) bool {
	return slices.ContainsFunc(n.Net.Addresses[vip], func(a tunnel.Address) bool {
		return a.Link == device && a.Prefix.IsSingleIP()
	})
}

// nothingForeign reports addresses on the device that nobody declared. They
// are not rsagent's, so they stay.
func nothingForeign(c config.Config) Condition {
	device := c.Tunnel.Device
	cause := "somebody else put it there; rsagent leaves it alone"
	if c.Tunnel.Guard {
		cause += ", and its guard drops what comes for it by the tunnel"
	}
	return Condition{
		ID:       foreignID,
		Title:    "The tunnel device holds the VIPs and nothing else",
		Effect:   "Nothing, if the address is meant to be there.",
		Severity: health.Advisory,
		Needs:    []string{deviceID},
		Looks:    atLinks,
		Evaluate: func(n Node) Verdict {
			want := "no other address on " + device
			if n.NetErr != nil {
				return unknown(want, n.NetErr)
			}
			foreign := foreignOn(n, device, c.VIPs)
			if len(foreign) == 0 {
				return Verdict{Status: health.OK, Want: want, Got: "none"}
			}
			var remedies []string
			for _, p := range foreign {
				remedies = append(remedies, fmt.Sprintf("ip addr del %s dev %s", p, device))
			}
			return Verdict{Status: health.Failed, Want: want, Got: commas(foreign),
				Cause:  cause,
				Remedy: "add it to vips, or: " + strings.Join(remedies, "; ")}
		},
	}
}

func foreignOn(n Node, device string, vips []netip.Addr) []netip.Prefix {
	declared := make(map[netip.Addr]bool, len(vips))
	for _, vip := range vips {
		declared[vip] = true
	}
	var foreign []netip.Prefix
	for addr, at := range n.Net.Addresses {
		for _, a := range at {
			if a.Link == device && !declared[addr] {
				foreign = append(foreign, a.Prefix)
			}
		}
	}
	slices.SortFunc(foreign, netip.Prefix.Compare)
	return foreign
}

// anyVIP wants a node without configuration to have something to serve.
func anyVIP(device string, vips []netip.Addr) Condition {
	return Condition{
		ID:       anyVIPID,
		Title:    "The node holds a VIP",
		Effect:   "Every request that a director sends to this node times out.",
		Severity: health.Required,
		Needs:    []string{deviceID},
		Evaluate: func(n Node) Verdict {
			v := Verdict{Status: health.OK, Want: "a VIP as /32 on " + device, Got: commas(vips)}
			if len(vips) == 0 {
				v.Status, v.Got = health.Failed, "no VIP found"
				v.Cause = "without a configuration only what stands on the node can be judged"
				v.Remedy = "rsagent check --config FILE"
			}
			return v
		},
	}
}

// foundConfig is the configuration that the node seems to have been given by
// hand.
func foundConfig(n Node) config.Config {
	c := config.Config{Tunnel: config.Tunnel{Mode: config.ModeIPIP, Device: config.DefaultDevice}}
	if f := n.fallback(); f != nil {
		c.Tunnel.Device = f.Name
	}
	for addr, at := range n.Net.Addresses {
		if slices.ContainsFunc(at, func(a tunnel.Address) bool { return looksLikeVIP(n, c.Tunnel.Device, a) }) {
			c.VIPs = append(c.VIPs, addr)
		}
	}
	// Others keep addresses of their own on dummy devices, as kube-proxy does:
	// where the tunnel device has VIPs, those are all.
	own := slices.DeleteFunc(slices.Clone(c.VIPs), func(vip netip.Addr) bool {
		return !slices.ContainsFunc(n.Net.Addresses[vip], func(a tunnel.Address) bool { return a.Link == c.Tunnel.Device })
	})
	if len(own) > 0 {
		c.VIPs = own
	}
	slices.SortFunc(c.VIPs, netip.Addr.Compare)
	return c
}

func looksLikeVIP(n Node, device string, a tunnel.Address) bool {
	addr := a.Prefix.Addr()
	if !addr.Is4() || addr.IsLoopback() {
		return false
	}
	if a.Link == device {
		return true
	}
	l := n.link(a.Link)
	return a.Prefix.IsSingleIP() && l != nil && (l.Loopback || l.Kind == "dummy")
}
