package agent

import (
	"fmt"
	"strings"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/sysctl"
)

// settingConditions are what stands under [sysctl]. They never gate
// readiness: a node without one of them serves.
func settingConditions(c config.Config) []Condition {
	var list []Condition
	for _, s := range c.Sysctl {
		list = append(list, setting(c, s.Path, s.Value))
	}
	return list
}

func settingID(key sysctl.Key) string { return "sysctl/set/" + key.String() }

func setting(c config.Config, key sysctl.Key, configured string) Condition {
	want := func(n Node) string {
		if c.Tunnel.Mode == config.ModeIPIP && key == sysctl.ConfKey(c.Tunnel.Device, "rp_filter") {
			return rpFilterFor(n, c.Tunnel.Device, c.Sysctl)
		}
		return configured
	}
	return Condition{
		ID:       settingID(key),
		Title:    fmt.Sprintf("The setting %s is as configured", key),
		Effect:   "Nothing, or what the setting was meant to prevent.",
		Severity: health.Advisory,
		Looks:    sourceOf(key),
		Evaluate: func(n Node) Verdict {
			v := Verdict{Want: want(n)}
			value := n.Sysctl[key]
			switch {
			case gone(value.Err):
				v.Status, v.Got, v.Cause = health.Failed, "no such setting in this kernel", whyMissing(key)
				v.Remedy = "take it out of the configuration, unless it is for another kernel"
			case value.Err != nil:
				return unknown(v.Want, value.Err)
			case sysctl.Equal(value.Text, v.Want):
				v.Status, v.Got = health.OK, value.Text
			default:
				v.Status, v.Got = health.Failed, value.Text
				v.Remedy = fmt.Sprintf("sysctl -w %s=%q", key, v.Want)
				if takes := sysctl.Range(key); takes != "" {
					v.Remedy += "   # it takes " + takes
				}
			}
			return v
		},
		Repair: func(n Node) []Step {
			if n.Sysctl[key].Err != nil {
				return nil
			}
			return []Step{setSysctl(n, key, want(n))}
		},
	}
}

// whyMissing says why the kernel has no such key.
func whyMissing(key sysctl.Key) string {
	if why := sysctl.Removed(key); why != "" {
		return why
	}
	rest, ok := strings.CutPrefix(string(key), "net/ipv4/conf/")
	if !ok {
		return ""
	}
	iface, _, _ := strings.Cut(rest, "/")
	return fmt.Sprintf("this node may have no interface %s; it is set when that comes", iface)
}
