package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// TOML writes the configuration with every default filled in. Parse reads it
// back as the same Config.
func (c Config) TOML() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "vips = %s\n", texts(c.VIPs))
	fmt.Fprintf(&b, "directors = %s\n", prefixTexts(c.Directors))

	t := c.Tunnel
	fmt.Fprintf(&b, "\n[tunnel]\nmode = %s\ndevice = %s\non_stop = %s\nguard = %t\nclamp_mss = %s\n",
		quote(t.Mode), quote(t.Device), quote(t.OnStop), t.Guard, t.ClampMSS.toml())

	b.WriteString("\n[sysctl]\n")
	for _, s := range c.Sysctl {
		fmt.Fprintf(&b, "%s = %s\n", quote(s.Key), quote(s.Value))
	}

	h := c.Health
	fmt.Fprintf(&b, "\n[health]\nlisten = %s\nagent_listen = %s\ndrain_status = %d\nallow = %s\n",
		quote(h.Listen), quote(h.AgentListen), h.DrainStatus, prefixTexts(h.Allow))
	fmt.Fprintf(&b, "\n[drain]\nnotice = %q\ntimeout = %q\nfall = %d\nidle = %q\nfile = %s\n",
		shortDuration(c.Drain.Notice), shortDuration(c.Drain.Timeout), c.Drain.Fall, shortDuration(c.Drain.Idle), quote(c.Drain.File))
	b.WriteString(c.Weight.toml())
	fmt.Fprintf(&b, "\n[repair]\nsweep = %q\nflaps = %d\n", shortDuration(c.Repair.Sweep), c.Repair.Flaps)
	fmt.Fprintf(&b, "\n[log]\nlevel = %s\nformat = %s\n", quote(c.Log.Level), quote(c.Log.Format))

	address := "vip"
	if t.Mode == ModeNone {
		address = "address"
	}
	for _, p := range c.Pools {
		fmt.Fprintf(&b, "\n[[pool]]\nname = %s\n%s = %q\nport = %d\nprobe = { %s }\n",
			quote(p.Name), address, p.Address.Addr(), p.Address.Port(), strings.Join(p.Probe.toml(), ", "))
	}
	return []byte(b.String())
}

// texts writes a list of values by their names.
func texts[T fmt.Stringer](list []T) string {
	all := make([]string, len(list))
	for i, v := range list {
		all[i] = quote(v.String())
	}
	return "[" + strings.Join(all, ", ") + "]"
}

// prefixTexts writes a single address without its length.
func prefixTexts(list []netip.Prefix) string {
	all := make([]fmt.Stringer, len(list))
	for i, p := range list {
		all[i] = p
		if p.IsSingleIP() {
			all[i] = p.Addr()
		}
	}
	return texts(all)
}

func (m MSSClamp) toml() string {
	switch {
	case m.Auto:
		return `"auto"`
	case m.Bytes == 0:
		return `"off"`
	default:
		return strconv.Itoa(m.Bytes)
	}
}

// toml writes the keys that the probe's type uses.
func (p Probe) toml() []string {
	keys := []string{"type = " + quote(p.Type)}
	text := func(key, value string) {
		if value != "" {
			keys = append(keys, key+" = "+quote(value))
		}
	}
	text("path", p.Path)
	text("host", p.Host)
	text("status", statusText(p.Status))
	text("server_name", p.ServerName)
	text("verify", p.Verify)
	text("ca_file", p.CAFile)
	if len(p.Command) > 0 {
		keys = append(keys, "command = "+commandText(p.Command))
	}
	return append(keys,
		fmt.Sprintf("interval = %q", shortDuration(p.Interval)),
		fmt.Sprintf("timeout = %q", shortDuration(p.Timeout)),
		fmt.Sprintf("rise = %d", p.Rise),
		fmt.Sprintf("fall = %d", p.Fall))
}

// toml writes the table, but for a command that is not used.
func (w Weight) toml() string {
	text := fmt.Sprintf("\n[weight]\nfrom = %s\nfile = %s\n", quote(w.From), quote(w.File))
	if len(w.Command) > 0 {
		text += "command = " + commandText(w.Command) + "\n"
	}
	return text + fmt.Sprintf("interval = %q\ntimeout = %q\nslow_start = %q\n",
		shortDuration(w.Interval), shortDuration(w.Timeout), shortDuration(w.SlowStart))
}

func commandText(command []string) string {
	all := make([]string, len(command))
	for i, w := range command {
		all[i] = quote(w)
	}
	return "[" + strings.Join(all, ", ") + "]"
}

// statusText writes codes and ranges as the key status has them.
func statusText(ranges []StatusRange) string {
	all := make([]string, len(ranges))
	for i, r := range ranges {
		all[i] = strconv.Itoa(r.From)
		if r.To != r.From {
			all[i] += "-" + strconv.Itoa(r.To)
		}
	}
	return strings.Join(all, ",")
}
