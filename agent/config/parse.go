package config

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Parse reads a configuration. The file is only named in messages. The error
// is of type Problems and has all that is wrong, unless the text is not TOML:
// then it has the first place where it is not. A column counts characters, not
// bytes, from 1; a byte order mark is not counted.
func Parse(name string, data []byte) (Config, error) {
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))
	ps := newProblems(name, data)
	root, ok := plant(data, ps)
	if !ok {
		return Config{}, ps.err()
	}
	f := &file{section: section{ps, "", 0, root}}
	c := f.config()
	if err := ps.err(); err != nil {
		return Config{}, err
	}
	return c, nil
}

// FromFlags makes the configuration of "run --vip A --director B" without a
// file. It checks what Parse checks; its Problems name the flag instead of a
// line.
func FromFlags(vips, directors []string) (Config, error) {
	ps := newProblems("", nil)
	c := defaults()
	c.VIPs = ps.vips(flagWords("--vip", vips))
	if len(vips) == 0 {
		ps.note(nowhere, "--vip", noVIP, wantVIP)
	}
	c.Directors = ps.directors(flagWords("--director", directors), c.VIPs, c.Tunnel.Guard)
	if err := ps.err(); err != nil {
		return Config{}, err
	}
	return c, nil
}

func flagWords(flag string, values []string) []word {
	var all []word
	for _, v := range values {
		all = append(all, word{v, flag, nowhere})
	}
	return all
}

// defaults is the configuration of an empty file, which lacks only VIPs.
func defaults() Config {
	empty := section{newProblems("", nil), "", 0, newTable(header)}
	f := &file{section: empty}
	return f.config()
}

// tableKeys names the keys of one table.
type tableKeys struct {
	name string // as in a message; empty for the top of the file
	keys []string
}

// tables names every key of the file but those under [sysctl], which takes any.
func tables() []tableKeys {
	return []tableKeys{
		{"", []string{"vips", "directors", "tunnel", "sysctl", "health", "drain", "weight", "repair", "log", "pool"}},
		{"[tunnel]", []string{"mode", "device", "on_stop", "guard", "clamp_mss"}},
		{"[sysctl]", nil},
		{"[health]", []string{"listen", "agent_listen", "drain_status", "allow"}},
		{"[drain]", []string{"notice", "timeout", "fall", "idle", "file"}},
		{"[weight]", []string{"from", "file", "command", "interval", "timeout", "slow_start"}},
		{"[repair]", []string{"sweep", "flaps"}},
		{"[log]", []string{"level", "format"}},
		{"[[pool]]", []string{"name", "vip", "address", "port", "probe"}},
		{"probe of a [[pool]]", []string{"type", "path", "host", "status", "server_name", "verify", "ca_file",
			"command", "interval", "timeout", "rise", "fall"}},
	}
}

// keysOf gives the keys of the table with this name.
func keysOf(name string) []string {
	for _, t := range tables() {
		if t.name == name {
			return t.keys
		}
	}
	return nil
}

func poolKeys() []string  { return keysOf("[[pool]]") }
func probeKeys() []string { return keysOf("probe of a [[pool]]") }

// usedBy names the probe types that a key is for; none if it is for all.
func usedBy(key string) []string {
	switch key {
	case "path", "host", "status":
		return []string{ProbeHTTP, ProbeHTTPS}
	case "server_name", "verify", "ca_file":
		return []string{ProbeHTTPS}
	case "command":
		return []string{ProbeExec}
	default:
		return nil
	}
}

// file is a configuration while it is read: its top table, and what the later
// parts need of the earlier ones.
type file struct {
	section
	tunnel    Tunnel
	addresses []netip.Addr // the VIPs
	vipsGood  bool         // nothing was wrong with vips
}

// config reads the whole file. The tunnel comes first since the rest depends
// on its mode.
func (f *file) config() Config {
	f.onlyKnown(keysOf(""))
	var c Config
	f.tunnel = f.top("tunnel").tunnelTable()
	f.readVIPs()
	c.Tunnel = f.tunnel
	c.VIPs = f.addresses
	c.Directors = f.directors(f.words("directors", `a list of addresses such as ["10.179.109.69", "10.179.119.61"]`), c.VIPs, c.Tunnel.Guard)
	c.Sysctl = f.sysctls()
	c.Health = f.top("health").health()
	c.Drain = f.top("drain").drain()
	c.Weight = f.top("weight").weight()
	c.Repair = f.top("repair").repair()
	c.Log = f.top("log").log()
	c.Pools = f.pools()
	return c
}

// readVIPs reads vips, which only a node behind a proxy goes without.
func (f *file) readVIPs() {
	const expected = `a list of addresses such as ["203.0.113.10"]`
	before := len(f.noted)
	words := f.words("vips", expected)
	e := f.table.byName["vips"]
	switch {
	case f.tunnel.Mode == ModeNone && len(words) > 0:
		f.note(e.value.at, "vips", `VIPs together with mode = "none"`, `no vips, or mode = "ipip"`)
		return
	case f.tunnel.Mode == ModeIPIP && e == nil:
		f.note(0, "vips", noVIP, `vips = ["203.0.113.10"] with this site's virtual addresses`)
	case f.tunnel.Mode == ModeIPIP && e.value.kind == arrayKind && len(e.value.items) == 0:
		f.note(e.value.at, "vips", noVIP, expected)
	}
	f.addresses = f.vips(words)
	f.vipsGood = len(f.noted) == before
}

func (s section) tunnelTable() Tunnel {
	s.onlyKnown(keysOf("[tunnel]"))
	return Tunnel{
		Mode:     s.choice("mode", ModeIPIP, ModeIPIP, ModeNone),
		Device:   s.text("device", DefaultDevice, `a device name such as "tunl0": at most 15 characters, without space, "/", ":" or "%", and not all, default or lo`, deviceName),
		OnStop:   s.choice("on_stop", OnStopKeep, OnStopKeep, OnStopRemove),
		Guard:    s.boolean("guard", true),
		ClampMSS: s.clampMSS(),
	}
}

// deviceName tells whether an interface can have this name (dev_valid_name in
// net/core/dev.c) and is not one of those that mean something else. A "%"
// would make the kernel choose a number.
func deviceName(name string) bool {
	return len(name) > 0 && len(name) < 16 && printable(name) && !strings.ContainsAny(name, "/:%") &&
		!slices.Contains([]string{".", "..", "all", "default", "lo"}, name)
}

func (s section) clampMSS() MSSClamp {
	e := s.table.byName["clamp_mss"]
	if e == nil {
		return MSSClamp{Auto: true}
	}
	expected := fmt.Sprintf(`"auto", "off" or a number of bytes from %d to %d, without quotes`, MinMSS, MaxMSS)
	n, err := strconv.ParseInt(e.value.text, 0, 64)
	switch v := e.value; {
	case v.kind == textKind && v.text == "auto":
		return MSSClamp{Auto: true}
	case v.kind == textKind && v.text == "off":
		return MSSClamp{}
	case v.kind == integerKind && err == nil && n >= MinMSS && n <= MaxMSS:
		return MSSClamp{Bytes: int(n)}
	case v.kind == integerKind || v.kind == textKind:
		s.bad("clamp_mss", e, expected)
	default:
		s.note(v.at, s.full("clamp_mss"), withKind(v), expected)
	}
	return MSSClamp{Auto: true}
}

func (s section) health() Health {
	s.onlyKnown(keysOf("[health]"))
	h := Health{
		Listen: s.text("listen", ":9380", `host:port or :port such as ":9380"`, listenAddress),
		AgentListen: s.text("agent_listen", "", `host:port or :port such as ":9381", or "" for none`, func(t string) bool {
			return t == "" || listenAddress(t)
		}),
		DrainStatus: s.integer("drain_status", 503, 400, 599, "an HTTP status"),
		Allow:       s.prefixes("allow"),
	}
	if h.AgentListen != "" && sameSocket(h.Listen, h.AgentListen) {
		s.note(s.table.byName["agent_listen"].value.at, s.full("agent_listen"), short(h.AgentListen), "another port than listen has")
	}
	return h
}

func (s section) drain() Drain {
	s.onlyKnown(keysOf("[drain]"))
	return Drain{
		Notice:  s.duration("notice", 30*time.Second, 0),
		Timeout: s.duration("timeout", 5*time.Minute, 0),
		Fall:    s.count("fall", 3),
		Idle:    s.duration("idle", 5*time.Second, 0),
		File: s.text("file", "", `an absolute path such as "/etc/rsagent/drain", or "" for none`, func(t string) bool {
			return t == "" || absoluteFile(t)
		}),
	}
}

func (s section) repair() Repair {
	s.onlyKnown(keysOf("[repair]"))
	return Repair{
		Sweep: s.durationWithin("sweep", 10*time.Second, MinSweep, MaxSweep),
		Flaps: s.integer("flaps", 10, 0, MaxFlaps, "a whole number"),
	}
}

func (s section) log() Log {
	s.onlyKnown(keysOf("[log]"))
	return Log{
		Level:  s.choice("level", "info", "trace", "debug", "info", "warn", "error"),
		Format: s.choice("format", "auto", "auto", "console", "json"),
	}
}
