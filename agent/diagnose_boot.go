package agent

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/sysctl"
)

const afterBootID = "sysctl/boot"

// comesBack wants the settings that are right on a node that was set up by hand to
// be right after a boot too. Much can set them that nobody can see, such as a script
// of the network, so it fails only where a file was meant to and does not.
func comesBack(c config.Config) Condition {
	return Condition{
		ID:       afterBootID,
		Title:    "The settings are right after the next boot too",
		Effect:   "Nothing yet; after the next boot, what the setting is to prevent.",
		Severity: health.Advisory,
		Needs:    []string{arpIgnoreID, arpAnnounceID, rpFilterIDStart + c.Tunnel.Device},
		Evaluate: func(n Node) Verdict {
			v := Verdict{Status: health.OK, Want: "no file that was meant to set them and does not", Got: "none found"}
			if n.Examined == nil || n.NetErr != nil {
				return v
			}
			if n.Examined.BootErr != nil {
				return unknown(v.Want, n.Examined.BootErr)
			}
			var got, lines []string
			for _, f := range forgotten(c, n) {
				got = append(got, f.String())
				lines = append(lines, fmt.Sprintf("'%s = %s'", f.line.Key, f.line.Value))
			}
			if len(got) == 0 {
				return v
			}
			v.Status, v.Got = health.Failed, strings.Join(slices.Compact(got), "; ")
			v.Cause = "it is in force now, and will not be after the next boot, unless something else sets it then, such as tuned or a script of the network"
			v.Remedy = fmt.Sprintf("printf '%%s\\n' %s >> %s", strings.Join(slices.Compact(lines), " "), lastFile(n.Examined.Boot))
			return v
		},
	}
}

// forgot is a line that does not count at boot.
type forgot struct {
	line sysctl.Assignment
	why  string            // it is not read; empty: another one counts in its place
	by   sysctl.Assignment // which that is
}

func (f forgot) String() string {
	text := fmt.Sprintf("%s = %s stands in %s, ", f.line.Key, printable(f.line.Value), printable(f.line.String()))
	if f.why != "" {
		return text + printable(f.why)
	}
	return text + fmt.Sprintf("and %s sets %s after it", printable(f.by.String()), printable(f.by.Value))
}

// forgotten are the lines that would have a setting of LVS-TUN right after a boot
// that will not be.
func forgotten(c config.Config, n Node) []forgot {
	b := n.Examined.Boot
	var list []forgot
	for _, s := range []arpSetting{arpIgnore(c), arpAnnounce(c)} {
		for _, l := range n.Net.Links {
			if speaksARP(l) {
				list = append(list, forgottenOf(b, l.Name, s.name, s.protects)...)
			}
		}
	}
	loose := func(value int) bool { return value != 1 }
	list = append(list, forgottenOf(b, c.Tunnel.Device, "rp_filter", loose)...)
	var once []forgot
	for _, f := range list {
		if !slices.ContainsFunc(once, func(o forgot) bool { return o.line == f.line }) {
			once = append(once, f)
		}
	}
	return once
}

// forgottenOf looks for the lines by which a setting of a link would be right.
func forgottenOf(b sysctl.Boot, link, name string, right func(int) bool) []forgot {
	all, own := sysctl.ConfKey("all", name), sysctl.ConfKey(link, name)
	general, special := atBoot(b, all, all), atBoot(b, own, sysctl.ConfKey("default", name))
	if right(max(general, special)) {
		return nil
	}
	var list []forgot
	for _, one := range []struct {
		key   sysctl.Key
		other int
	}{{all, special}, {own, general}} {
		key := one.key
		helps := func(a sysctl.Assignment) bool {
			value, err := strconv.Atoi(a.Value)
			return err == nil && !a.Excludes && a.Sets(key) && right(max(value, one.other))
		}
		for _, f := range b.Unread {
			for _, a := range f.Assignments {
				if helps(a) {
					a.Key = key
					list = append(list, forgot{line: a, why: f.Why})
				}
			}
		}
		counts, set := b.At(key)
		for _, a := range b.Read {
			if set && helps(a) {
				a.Key = key
				list = append(list, forgot{line: a, by: counts})
			}
		}
	}
	return list
}

// atBoot is what a key will be at boot: what sets it, or what sets the key that it
// starts with, or 0, which the kernel has for all of these. A value that is no
// number the kernel refuses.
func atBoot(b sysctl.Boot, key, start sysctl.Key) int {
	for _, k := range []sysctl.Key{key, start} {
		if a, set := b.At(k); set {
			if value, err := strconv.Atoi(a.Value); err == nil {
				return value
			}
		}
	}
	return 0
}

// lastFile is one that is read after all that are there.
func lastFile(b sysctl.Boot) string {
	name := "zz-lvs.conf"
	for _, a := range b.Read {
		file := a.File[strings.LastIndexByte(a.File, '/')+1:]
		if file > name {
			name = strings.TrimSuffix(file, ".conf") + "z.conf"
		}
	}
	return "/etc/sysctl.d/" + name
}
