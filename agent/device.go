package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/sysctl"
	"rsagent/tunnel"
)

func kernelHasIPIP() Condition {
	return Condition{
		ID:       kernelID,
		Title:    "The kernel can unwrap IPIP",
		Severity: health.Required,
		Fatal:    true,
		Evaluate: func(n Node) Verdict {
			v := Verdict{Status: health.OK, Want: "the kernel module ipip", Got: "nothing speaks against it"}
			if n.NetErr != nil {
				return unknown(v.Want, n.NetErr)
			}
			if n.IPIP.Certain {
				v.Status, v.Got, v.Cause, v.Remedy = health.Failed, "no IPIP in this kernel", n.IPIP.Cause, n.IPIP.Remedy
			}
			return v
		},
	}
}

// deviceKind wants the device, if there is one of that name, to be the one
// that receives every IPIP packet.
func deviceKind(device string) Condition {
	want := fmt.Sprintf("%s of kind ipip, from any address to any", device)
	return Condition{
		ID:       deviceKindID,
		Title:    "The tunnel device is an IPIP device for any peer",
		Severity: health.Required,
		Needs:    []string{kernelID},
		Fatal:    true,
		Evaluate: func(n Node) Verdict {
			if n.NetErr != nil {
				return unknown(want, n.NetErr)
			}
			v := Verdict{Status: health.Failed, Want: want}
			l, fallback := n.link(device), n.fallback()
			switch {
			case l != nil && l.Kind != "ipip":
				v.Got = fmt.Sprintf("%s of kind %s", device, strconv.Quote(l.Kind))
				v.Remedy = fmt.Sprintf("ip link set %s name %s-old, or another name under [tunnel] device", device, device)
			case l != nil && l.External:
				v.Got = device + " with addresses from each packet (external)"
				v.Remedy = fmt.Sprintf("ip link del %s", device)
			case l != nil && !l.Fallback:
				v.Got = fmt.Sprintf("%s from %s to %s", device, orAny(l.Local), orAny(l.Remote))
				v.Cause = "it takes packets of that one peer only"
				v.Remedy = fmt.Sprintf("ip link del %s", device)
			case l == nil && fallback != nil:
				v.Got = fmt.Sprintf("no %s, but %s, which receives every IPIP packet", device, fallback.Name)
				v.Cause = "the kernel has one such device only"
				v.Remedy = fmt.Sprintf("set device = %q under [tunnel], or: ip link set %s name %s", fallback.Name, fallback.Name, device)
			default:
				v.Status, v.Got = health.OK, "as wanted"
			}
			return v
		},
	}
}

func deviceExists(device string, needs []string) Condition {
	return Condition{
		ID:       deviceID,
		Title:    "The tunnel device is there",
		Severity: health.Required,
		Needs:    needs,
		Evaluate: func(n Node) Verdict {
			if n.NetErr != nil {
				return unknown(device, n.NetErr)
			}
			if n.link(device) != nil {
				return Verdict{Status: health.OK, Want: device, Got: device}
			}
			return Verdict{Status: health.Failed, Want: device, Got: "no such device",
				Cause:  n.IPIP.Cause,
				Remedy: fmt.Sprintf("modprobe ipip; ip link show %s || ip link add %s type ipip", device, device)}
		},
		Repair: func(Node) []Step { return []Step{createDevice(device)} },
	}
}

// notStrict wants reverse path filtering on the device to be off or loose:
// an unwrapped packet comes in by the tunnel and its answer leaves by another
// interface, which strict filtering takes for a forgery.
func notStrict(device string, settings []config.Sysctl) Condition {
	own, all := sysctl.ConfKey(device, "rp_filter"), sysctl.ConfKey("all", "rp_filter")
	return Condition{
		ID:       rpFilterIDStart + device,
		Title:    "Reverse path filtering lets unwrapped packets in",
		Severity: health.Required,
		Needs:    []string{deviceID},
		Evaluate: func(n Node) Verdict {
			want := fmt.Sprintf("an effective rp_filter of 0 or 2 on %s", device)
			effective, err := sysctl.Effective(n.Sysctl, device, "rp_filter")
			if err != nil {
				return unknown(want, err)
			}
			v := Verdict{Status: health.OK, Want: want,
				Got: fmt.Sprintf("%s = %s, %s = %s", own, n.Sysctl[own].Text, all, n.Sysctl[all].Text)}
			if effective != 1 {
				return v
			}
			v.Status = health.Failed
			v.Cause = "the kernel drops every unwrapped packet whose answer leaves by another interface"
			v.Remedy = fmt.Sprintf("sysctl -w %s=2", own)
			return v
		},
		Repair: func(n Node) []Step {
			return []Step{setSysctl(n, own, rpFilterFor(n, device, settings))}
		},
	}
}

// rpFilterFor is the value for the device: the configured one unless conf/all
// would make it strict. 2 is loose whatever conf/all is, since the kernel acts
// on the larger.
func rpFilterFor(n Node, device string, settings []config.Sysctl) string {
	own := sysctl.ConfKey(device, "rp_filter")
	all := n.Sysctl[sysctl.ConfKey("all", "rp_filter")]
	for _, s := range settings {
		if k, err := sysctl.ParseKey(s.Key); err == nil && k == own && all.Err == nil && all.Text != "1" {
			return s.Value
		}
	}
	return "2"
}

func vipID(vip netip.Addr) string { return "tunnel/vip/" + vip.String() }

func vipOnDevice(device string, vip netip.Addr, needs []string) Condition {
	want := fmt.Sprintf("%s/32 on %s", vip, device)
	return Condition{
		ID:       vipID(vip),
		Title:    fmt.Sprintf("The VIP %s is on the tunnel device", vip),
		Severity: health.Required,
		Needs:    needs,
		Evaluate: func(n Node) Verdict {
			if n.NetErr != nil {
				return unknown(want, n.NetErr)
			}
			for _, a := range n.Addresses[vip] {
				if a.Link == device && a.Prefix.IsSingleIP() {
					return Verdict{Status: health.OK, Want: want, Got: want}
				}
			}
			return Verdict{Status: health.Failed, Want: want, Got: "it is not there",
				Remedy: fmt.Sprintf("ip addr add %s/32 dev %s", vip, device)}
		},
		Repair: func(Node) []Step { return []Step{addVIP(device, vip)} },
	}
}

func deviceUp(c config.Config) Condition {
	device := c.Tunnel.Device
	return Condition{
		ID:       deviceUpID,
		Title:    "The tunnel device is up",
		Severity: health.Required,
		Needs:    []string{deviceID},
		Evaluate: func(n Node) Verdict {
			if n.NetErr != nil {
				return unknown(device+" up", n.NetErr)
			}
			if l := n.link(device); l != nil && l.Up {
				return Verdict{Status: health.OK, Want: device + " up", Got: device + " up"}
			}
			v := Verdict{Status: health.Failed, Want: device + " up", Got: device + " down",
				Cause:  "the kernel refuses what the directors send",
				Remedy: fmt.Sprintf("ip link set %s up", device)}
			if c.Tunnel.Guard && !guarded(c, n) {
				v.Cause += "; rsagent does not open a tunnel that it cannot guard, see " + firewallID
			}
			return v
		},
		Repair: func(n Node) []Step {
			if c.Tunnel.Guard && !guarded(c, n) {
				return nil
			}
			return []Step{setUp(device)}
		},
	}
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
		Severity: health.Advisory,
		Needs:    []string{deviceID},
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
	for addr, at := range n.Addresses {
		for _, a := range at {
			if a.Link == device && !(declared[addr] && a.Prefix.IsSingleIP()) {
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
		Severity: health.Required,
		Needs:    []string{deviceID},
		Evaluate: func(n Node) Verdict {
			v := Verdict{Status: health.OK, Want: "a VIP as /32 on " + device, Got: commas(vips)}
			if len(vips) == 0 {
				v.Status, v.Got = health.Failed, "none found"
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
	for addr, at := range n.Addresses {
		if slices.ContainsFunc(at, func(a tunnel.Address) bool { return looksLikeVIP(n, c.Tunnel.Device, a) }) {
			c.VIPs = append(c.VIPs, addr)
		}
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

func speaksARP(l tunnel.Link) bool { return !l.Loopback && !l.NoARP }

// tunnelKeys are the settings that LVS-TUN depends on.
func tunnelKeys(net tunnel.Node, device string) []sysctl.Key {
	keys := []sysctl.Key{
		sysctl.ConfKey("all", "arp_ignore"), sysctl.ConfKey("all", "arp_announce"),
		sysctl.ConfKey("default", "arp_ignore"), sysctl.ConfKey("default", "arp_announce"),
		sysctl.ConfKey("all", "rp_filter"),
	}
	for _, l := range net.Links {
		if speaksARP(l) {
			keys = append(keys, sysctl.ConfKey(l.Name, "arp_ignore"), sysctl.ConfKey(l.Name, "arp_announce"))
		}
		if l.Name == device {
			keys = append(keys, sysctl.ConfKey(device, "rp_filter"))
		}
	}
	return keys
}

func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) }

func orAny(a netip.Addr) string {
	if !a.IsValid() || a.IsUnspecified() {
		return "any"
	}
	return a.String()
}

func commas[T fmt.Stringer](items []T) string {
	words := make([]string, len(items))
	for i, item := range items {
		words[i] = item.String()
	}
	return strings.Join(words, ", ")
}
