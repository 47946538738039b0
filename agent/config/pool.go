package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Names that need no escaping in a path, a label or a generated file.
var poolName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

const wantPoolName = `a name of letters, digits, ".", "_" and "-"`

// pools reads every [[pool]].
func (f *file) pools() []Pool {
	const expected = "[[pool]] and its keys below it, once for each pool"
	e, ok := f.scalar("pool", arrayKind, expected)
	if !ok {
		return nil
	}
	var all []Pool
	names, addresses := map[string]int{}, map[netip.AddrPort]word{}
	for i, item := range e.value.items {
		if item.kind != tableKind {
			f.note(item.at, "pool", withKind(item), expected)
			continue
		}
		s := section{f.problems, fmt.Sprintf("pool[%d]", i+1), item.at, item.table}
		p := Pool{Name: s.poolName(names)}
		if p.Name != "" {
			s.name = "pool." + p.Name
		}
		s.onlyKnown(poolKeys())
		p.Address = f.poolAddress(s, addresses)
		p.Probe = s.probe()
		all = append(all, p)
	}
	return all
}

// poolName reads the name, which must not be among those taken.
func (s section) poolName(taken map[string]int) string {
	if !s.has("name") {
		s.note(s.at, s.full("name"), "a pool without a name", wantPoolName)
		return ""
	}
	name := s.text("name", "", wantPoolName, func(t string) bool {
		return poolName.MatchString(t) && t != "." && t != ".."
	})
	if name == "" {
		return ""
	}
	at := s.table.byName["name"].value.at
	if line, twice := taken[name]; twice {
		s.note(at, s.full("name"), fmt.Sprintf("%q again (first on line %d)", name, line), "another name for each pool")
		return name
	}
	taken[name] = s.line(at)
	return name
}

// poolAddress reads the address and the port at which the pool is served. No
// two pools may have the same.
func (f *file) poolAddress(s section, taken map[netip.AddrPort]word) netip.AddrPort {
	var a netip.Addr
	switch f.tunnel.Mode {
	case ModeIPIP:
		a = f.poolVIP(s)
	case ModeNone:
		a = s.plainAddress()
	}
	if !s.has("port") {
		s.note(s.at, s.full("port"), "a pool without a port", "port = 80, or another from 1 to 65535")
	}
	port := s.integer("port", 0, 1, 65535, "a port")
	ap := netip.AddrPortFrom(a, uint16(port))
	if !a.IsValid() || port == 0 {
		return ap
	}
	if old, twice := taken[ap]; twice {
		at := s.table.byName["port"].value.at
		s.note(at, s.full("port"), fmt.Sprintf("%s again (first in %s on line %d)", ap, old.key, s.line(old.at)), "each address and port in one pool")
		return ap
	}
	taken[ap] = word{key: s.name, at: s.at}
	return ap
}

// poolVIP reads the vip of a pool behind the tunnel, which is one of vips.
func (f *file) poolVIP(s section) netip.Addr {
	switch e := s.table.byName["address"]; {
	case e != nil:
		s.note(e.at, s.full("address"), "an address", `vip instead: address is for mode = "none"`)
	case !s.has("vip"):
		s.note(s.at, s.full("vip"), "a pool without a vip", "vip = one of vips")
	}
	e, ok := s.scalar("vip", textKind, wantVIP)
	if !ok {
		return netip.Addr{}
	}
	a, ok := f.vip(word{e.value.text, s.full("vip"), e.value.at})
	if !ok || !f.vipsGood || slices.Contains(f.addresses, a) {
		return a
	}
	s.bad("vip", e, "one of vips: "+list(f.addresses))
	return netip.Addr{}
}

// list names addresses, but not thousands of them.
func list(addresses []netip.Addr) string {
	const most = 4
	var all []string
	for _, a := range addresses[:min(most, len(addresses))] {
		all = append(all, a.String())
	}
	if more := len(addresses) - most; more > 0 {
		all = append(all, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, ", ")
}

// plainAddress reads the address of a pool behind a proxy.
func (s section) plainAddress() netip.Addr {
	const expected = `an address of this node such as "10.0.0.5"`
	switch e := s.table.byName["vip"]; {
	case e != nil:
		s.note(e.at, s.full("vip"), "a vip", `address instead: there are no VIPs with mode = "none"`)
	case !s.has("address"):
		s.note(s.at, s.full("address"), "a pool without an address", expected)
	}
	e, ok := s.scalar("address", textKind, expected)
	if !ok || s.placeholder(word{e.value.text, s.full("address"), e.value.at}) {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(e.value.text)
	if err != nil || a.Is4In6() {
		s.bad("address", e, expected)
		return netip.Addr{}
	}
	if why := notUnicast(a); why != "" && !a.IsLoopback() {
		s.note(e.value.at, s.full("address"), why, expected)
		return netip.Addr{}
	}
	return a
}

// probe reads how the pool is checked.
func (s section) probe() Probe {
	given := s.has("probe")
	in := s.sub("probe", `a table such as { type = "tcp" }`)
	p := Probe{Type: ProbeTCP}
	if given {
		p.Type = in.choice("type", "", ProbeTCP, ProbeHTTP, ProbeHTTPS, ProbeExec)
		if e := s.table.byName["probe"]; e.value.kind == tableKind && !in.has("type") {
			in.note(in.at, in.full("type"), "a probe without a type", `type = "tcp", "http", "https" or "exec"`)
		}
	}
	in.onlyKnown(probeKeys())
	in.onlyUsed(p.Type)
	p.Interval = in.duration("interval", 2*time.Second, 10*time.Millisecond)
	p.Timeout = in.duration("timeout", time.Second, time.Millisecond)
	p.Rise = in.count("rise", 2)
	p.Fall = in.count("fall", 3)
	switch p.Type {
	case ProbeHTTP:
		in.http(&p)
	case ProbeHTTPS:
		in.http(&p)
		in.https(&p)
	case ProbeExec:
		p.Command = in.command("an exec probe")
	}
	return p
}

// onlyUsed notes the keys of a probe that its type has no use for.
func (s section) onlyUsed(probeType string) {
	if probeType == "" {
		return
	}
	for _, e := range s.table.entries {
		types := usedBy(e.name)
		if len(types) > 0 && !slices.Contains(types, probeType) {
			s.note(e.at, s.full(e.name), fmt.Sprintf("%s, which type = %q does not use", e.name, probeType),
				`type = "`+strings.Join(types, `" or "`)+`" with it`)
		}
	}
}

// http reads what http and https probes have in common.
func (s section) http(p *Probe) {
	p.Path = s.text("path", "/", `a path such as "/" or "/health?full=1"`, func(t string) bool {
		_, err := url.ParseRequestURI(t)
		return err == nil && strings.HasPrefix(t, "/") && printable(t) && !strings.Contains(t, "#")
	})
	p.Host = s.text("host", "", `a host name such as "www.example.org"`, func(t string) bool {
		return t != "" && printable(t) && !strings.ContainsAny(t, "/@?#")
	})
	p.Status = s.status()
}

var statusItem = regexp.MustCompile(`^([1-5][0-9][0-9])(?:-([1-5][0-9][0-9]))?$`)

// status reads the codes that count as good.
func (s section) status() []StatusRange {
	const expected = `codes from 100 to 599 and ranges of them, such as "200-399" or "200,301-302"`
	fallback := []StatusRange{{200, 399}}
	e, ok := s.scalar("status", textKind, expected)
	if !ok {
		return fallback
	}
	var all []StatusRange
	for item := range strings.SplitSeq(e.value.text, ",") {
		m := statusItem.FindStringSubmatch(strings.TrimSpace(item))
		if m == nil {
			s.bad("status", e, expected)
			return fallback
		}
		// The pattern lets only numbers through.
		from, _ := strconv.Atoi(m[1])
		to := from
		if m[2] != "" {
			to, _ = strconv.Atoi(m[2])
		}
		if from > to {
			s.bad("status", e, fmt.Sprintf("the lower code first: \"%d-%d\"", to, from))
			return fallback
		}
		all = append(all, StatusRange{from, to})
	}
	return all
}

var serverName = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)

// https reads what of the certificate is checked. Without a name to check it
// for, and without a word on it, nothing is.
func (s section) https(p *Probe) {
	const name = `a name on the certificate such as "www.example.org"`
	host, _, _ := strings.Cut(p.Host, ":")
	if !serverName.MatchString(host) {
		host = ""
	}
	p.ServerName = s.text("server_name", host, name, serverName.MatchString)
	p.CAFile = s.text("ca_file", "", `an absolute path such as "/etc/ssl/ca.pem"`, func(t string) bool {
		return path.IsAbs(t) && lineOfText(t)
	})
	fallback := VerifyName
	if p.ServerName == "" {
		fallback = VerifyOff
	}
	if p.CAFile != "" {
		fallback = VerifyChain
	}
	p.Verify = s.choice("verify", fallback, VerifyName, VerifyChain, VerifyOff)
	switch {
	case p.CAFile != "" && p.Verify != VerifyChain && p.Verify != "":
		e := s.table.byName["verify"]
		s.bad("verify", e, `"chain", or no ca_file`)
	case p.ServerName == "" && p.Verify != VerifyOff && p.Verify != "":
		s.note(s.at, s.full("server_name"), "no server_name to verify", `server_name or host, or verify = "off"`)
	}
}

// command reads a program and its arguments; what has it run is named where there
// is none.
func (s section) command(what string) []string {
	const expected = `a list such as ["/usr/local/bin/check", "--fast"]`
	if !s.has("command") {
		s.note(s.at, s.full("command"), what+" without a command", expected)
		return nil
	}
	words := s.words("command", expected)
	var all []string
	for i, w := range words {
		switch {
		case i == 0 && !path.IsAbs(w.text):
			s.note(w.at, w.key, short(w.text), "the program by its absolute path")
		case strings.ContainsRune(w.text, 0):
			s.note(w.at, w.key, short(w.text), "an argument without a zero byte")
		}
		all = append(all, w.text)
	}
	if e := s.table.byName["command"]; e.value.kind == arrayKind && len(e.value.items) == 0 {
		s.note(e.value.at, s.full("command"), "an empty list", expected)
	}
	return all
}

// printable tells whether a text is all visible ASCII, as in a request line.
func printable(t string) bool {
	return strings.TrimFunc(t, func(r rune) bool { return r > ' ' && r < 0x7f }) == ""
}

// lineOfText tells whether a text has no control characters but tabs.
func lineOfText(t string) bool {
	return !strings.ContainsFunc(t, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}
