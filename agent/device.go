package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strconv"
	"strings"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/sysctl"
	"rsagent/tunnel"
)

// kernelHasIPIP wants nothing to speak against IPIP. Next is what to do once that
// is so.
func kernelHasIPIP(next string) Condition {
	return Condition{
		ID:       kernelID,
		Title:    "The kernel can unwrap IPIP",
		Effect:   "Every request that a director sends to this node times out.",
		Severity: health.Required,
		Fatal:    true,
		Looks:    atLinks,
		Evaluate: func(n Node) Verdict {
			v := Verdict{Status: health.OK, Want: "the kernel module ipip", Got: "nothing speaks against it"}
			if n.NetErr != nil {
				return unknown(v.Want, n.NetErr)
			}
			if n.IPIP.Certain {
				v.Status, v.Got, v.Cause, v.Remedy = health.Failed, "no IPIP in this kernel", n.IPIP.Cause, n.IPIP.Remedy+"\n"+next
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
		Effect:   "What a director sends to this node is refused or times out.",
		Severity: health.Required,
		Needs:    []string{kernelID},
		Fatal:    true,
		Looks:    atLinks,
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

func deviceExists(c config.Config, needs []string) Condition {
	device := c.Tunnel.Device
	return Condition{
		ID:       deviceID,
		Title:    "The tunnel device is there",
		Effect:   "Every request that a director sends to this node times out.",
		Severity: health.Required,
		Needs:    needs,
		Looks:    atLinks,
		Evaluate: func(n Node) Verdict {
			if n.NetErr != nil {
				return unknown(device, n.NetErr)
			}
			if n.link(device) != nil {
				return Verdict{Status: health.OK, Want: device, Got: device}
			}
			return Verdict{Status: health.Failed, Want: device, Got: "no device " + device,
				Cause:  n.IPIP.Cause,
				Remedy: anew(c)}
		},
		Repair: func(Node) []Step { return []Step{createDevice(device)} },
	}
}

// anew is how to make by hand all that goes with the device.
func anew(c config.Config) string {
	device := c.Tunnel.Device
	lines := []string{
		fmt.Sprintf("modprobe ipip; ip link show %s || ip link add %s type ipip", device, device),
		fmt.Sprintf("sysctl -w %s=2", sysctl.ConfKey(device, "rp_filter")),
	}
	if len(c.VIPs) > 0 {
		vips := strings.ReplaceAll(commas(c.VIPs), ",", "")
		lines = append(lines, fmt.Sprintf("for vip in %s; do ip addr add $vip/32 dev %s; done", vips, device))
	}
	return strings.Join(append(lines, fmt.Sprintf("ip link set %s up", device)), "\n")
}

// notStrict wants reverse path filtering on the device to be off or loose:
// an unwrapped packet comes in by the tunnel and its answer leaves by another
// interface, which strict filtering takes for a forgery.
func notStrict(device string, settings []config.Sysctl) Condition {
	own, all := sysctl.ConfKey(device, "rp_filter"), sysctl.ConfKey("all", "rp_filter")
	return Condition{
		ID:       rpFilterIDStart + device,
		Title:    "Reverse path filtering lets unwrapped packets in",
		Effect:   "Every request that a director sends to this node times out.",
		Severity: health.Required,
		Needs:    []string{deviceID},
		Looks:    atRPFilter,
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

// notStrictByHand knows besides that loose filtering drops what comes in by a
// device without an address, such as where the VIP is on lo: there is no address
// to go by (__fib_validate_source in net/ipv4/fib_frontend.c).
func notStrictByHand(c config.Config) Condition {
	device := c.Tunnel.Device
	condition := notStrict(device, nil)
	judge := condition.Evaluate
	condition.Looks |= atLinks
	condition.Evaluate = func(n Node) Verdict {
		v := judge(n)
		effective, err := sysctl.Effective(n.Sysctl, device, "rp_filter")
		if v.Status != health.OK || err != nil || effective == 0 || len(c.VIPs) == 0 || n.hasAddress(device) {
			return v
		}
		v.Status, v.Got = health.Failed, fmt.Sprintf("%s, and %s has no address", v.Got, device)
		v.Cause = "the kernel drops what comes in by a device without an address unless rp_filter is 0"
		v.Remedy = fmt.Sprintf("ip addr add %s/32 dev %s   # or set rp_filter to 0, of %s and of all", c.VIPs[0], device, device)
		return v
	}
	return condition
}

func (n Node) hasAddress(device string) bool {
	for _, at := range n.Net.Addresses {
		for _, a := range at {
			if a.Link == device && a.Prefix.Addr().Is4() {
				return true
			}
		}
	}
	return false
}

// rpFilterFor is the value for the device: the configured one unless conf/all
// would make it strict. 2 is loose whatever conf/all is, since the kernel acts
// on the larger.
func rpFilterFor(n Node, device string, settings []config.Sysctl) string {
	own := sysctl.ConfKey(device, "rp_filter")
	all := n.Sysctl[sysctl.ConfKey("all", "rp_filter")]
	for _, s := range settings {
		if s.Path == own && all.Err == nil && all.Text != "1" {
			return s.Value
		}
	}
	return "2"
}

func deviceUp(c config.Config, filter *filter) Condition {
	device := c.Tunnel.Device
	unguarded := func(n Node) bool {
		holds, _ := filter.holds(n)
		return c.Tunnel.Guard && !holds
	}
	return Condition{
		ID:       deviceUpID,
		Title:    "The tunnel device is up",
		Effect:   "Every request that a director sends to this node is refused.",
		Severity: health.Required,
		Needs:    []string{deviceID},
		Looks:    atLinks | atFirewall,
		Evaluate: func(n Node) Verdict {
			if n.NetErr != nil {
				return unknown(device+" up", n.NetErr)
			}
			if l := n.link(device); l != nil && l.Up {
				return Verdict{Status: health.OK, Want: device + " up", Got: device + " up"}
			}
			v := Verdict{Status: health.Failed, Want: device + " up", Got: device + " is down",
				Cause:  "the kernel refuses what the directors send",
				Remedy: fmt.Sprintf("ip link set %s up", device)}
			if unguarded(n) {
				v.Cause += "; rsagent does not open a tunnel that it cannot guard, see " + firewallID
			}
			return v
		},
		Repair: func(n Node) []Step {
			if unguarded(n) {
				return nil
			}
			return []Step{setUp(*n.link(device))}
		},
	}
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
	return append(keys, hygieneKeys(net)...)
}

// decisiveKeys are the few of them by which a whole site goes wrong, or this node.
func decisiveKeys(device string) []sysctl.Key {
	return []sysctl.Key{
		sysctl.ConfKey("all", "arp_ignore"), sysctl.ConfKey("all", "arp_announce"),
		sysctl.ConfKey("all", "rp_filter"), sysctl.ConfKey(device, "rp_filter"),
	}
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
