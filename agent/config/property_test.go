package config

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
	"pgregory.net/rapid"

	"rsagent/sysctl"
)

func TestWhatIsPrintedReadsBackTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := configs(t)
		got, err := Parse("printed.toml", want.TOML())
		if err != nil {
			t.Fatalf("%v\nin\n%s", err, want.TOML())
		}
		if diff := cmp.Diff(want, got, sameConfig); diff != "" {
			t.Fatalf("(-want +got):\n%s\nin\n%s", diff, want.TOML())
		}
	})
}

// configs draws a configuration that keeps every rule.
func configs(t *rapid.T) Config {
	mode := rapid.SampledFrom([]string{ModeIPIP, ModeNone}).Draw(t, "mode")
	c := Config{
		Directors: some(rapid.SliceOfNDistinct(rapid.Custom(directorPrefix), 0, 4, rapid.ID), t, "directors"),
		Tunnel: Tunnel{
			Mode:   mode,
			Device: rapid.SampledFrom([]string{"tunl0", "ipip-1", "t.1"}).Draw(t, "device"),
			OnStop: rapid.SampledFrom([]string{OnStopKeep, OnStopRemove}).Draw(t, "on_stop"),
			Guard:  rapid.Bool().Draw(t, "guard"),
			ClampMSS: rapid.OneOf(rapid.SampledFrom([]MSSClamp{{}, {Auto: true}}),
				rapid.Map(rapid.IntRange(MinMSS, MaxMSS), func(n int) MSSClamp { return MSSClamp{Bytes: n} })).Draw(t, "clamp_mss"),
		},
		Sysctl: some(rapid.SliceOfNDistinct(rapid.Custom(setting), 0, 5, func(s Sysctl) string { return s.Key }), t, "sysctl"),
		Health: Health{
			Listen:      rapid.SampledFrom([]string{":9380", "10.0.0.5:80", "[::1]:65535", "localhost:1"}).Draw(t, "listen"),
			AgentListen: rapid.SampledFrom([]string{"", ":9381", "[::]:9382"}).Draw(t, "agent_listen"),
			DrainStatus: rapid.IntRange(400, 599).Draw(t, "drain_status"),
			Allow:       some(rapid.SliceOfN(rapid.Custom(anyPrefix), 0, 4), t, "allow"),
		},
		Drain: Drain{
			Notice:  durations(0).Draw(t, "notice"),
			Timeout: durations(0).Draw(t, "timeout"),
			Fall:    rapid.IntRange(1, 1000).Draw(t, "fall"),
			Idle:    durations(0).Draw(t, "idle"),
			File:    rapid.SampledFrom([]string{"", "/etc/rsagent/drain", "/a b"}).Draw(t, "file"),
		},
		Weight: weights(t),
		Repair: Repair{
			Sweep: rapid.Map(rapid.Int64Range(int64(MinSweep), int64(MaxSweep)), func(n int64) time.Duration { return time.Duration(n) }).Draw(t, "sweep"),
			Flaps: rapid.IntRange(0, MaxFlaps).Draw(t, "flaps"),
		},
		Log: Log{
			Level:  rapid.SampledFrom([]string{"trace", "debug", "info", "warn", "error"}).Draw(t, "level"),
			Format: rapid.SampledFrom([]string{"auto", "console", "json"}).Draw(t, "format"),
		},
	}
	addresses := rapid.Custom(func(t *rapid.T) netip.Addr {
		return netip.AddrFrom4([4]byte{198, 51, rapid.Byte().Draw(t, "third"), rapid.Byte().Draw(t, "fourth")})
	})
	vips := rapid.SliceOfNDistinct(addresses, 1, 4, rapid.ID).Draw(t, "vips")
	if mode == ModeIPIP {
		c.VIPs = vips
	}
	c.Pools = pools(t, vips)
	return c
}

func weights(t *rapid.T) Weight {
	w := Weight{
		From:      rapid.SampledFrom([]string{WeightNone, WeightLoad, WeightFile, WeightExec}).Draw(t, "from"),
		Interval:  durations(int64(MinWeightInterval)).Draw(t, "interval"),
		Timeout:   durations(int64(time.Millisecond)).Draw(t, "timeout"),
		SlowStart: durations(0).Draw(t, "slow_start"),
	}
	switch w.From {
	case WeightFile:
		w.File = rapid.SampledFrom([]string{"/run/weight", "/a b", `/a "b" \ größe`}).Draw(t, "file")
	case WeightExec:
		w.Command = commands(t)
	}
	return w
}

// commands draws a program and its arguments.
func commands(t *rapid.T) []string {
	args := rapid.SliceOfN(rapid.String().Filter(func(s string) bool { return !strings.Contains(s, "\x00") }), 0, 3)
	return append([]string{"/bin/check"}, args.Draw(t, "args")...)
}

// some makes an empty list nil, as Parse does.
func some[T any](g *rapid.Generator[[]T], t *rapid.T, label string) []T {
	if list := g.Draw(t, label); len(list) > 0 {
		return list
	}
	return nil
}

func directorPrefix(t *rapid.T) netip.Prefix {
	a := netip.AddrFrom4([4]byte{10, rapid.Byte().Draw(t, "2"), rapid.Byte().Draw(t, "3"), rapid.Byte().Draw(t, "4")})
	return netip.PrefixFrom(a, rapid.IntRange(8, 32).Draw(t, "bits")).Masked()
}

func anyPrefix(t *rapid.T) netip.Prefix {
	if rapid.Bool().Draw(t, "IPv4") {
		return directorPrefix(t)
	}
	// A prefix of IPv4 addresses in IPv6 clothes is refused.
	b := [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address"))
	b[0] = 0x20
	return netip.PrefixFrom(netip.AddrFrom16(b), rapid.IntRange(8, 128).Draw(t, "bits")).Masked()
}

func setting(t *rapid.T) Sysctl {
	key := rapid.StringMatching(`(kernel|vm)\.[a-z_]{1,9}(/[0-9]+)?|net/ipv4/conf/eth0\.[0-9]{1,3}/forwarding`).Draw(t, "key")
	path, err := sysctl.ParseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return Sysctl{
		Key:   key,
		Path:  path,
		Value: rapid.StringOf(rapid.OneOf(rapid.Rune(), rapid.RuneFrom([]rune("\t\"\\'#= 09\u0085\u202e")))).Filter(lineOfText).Draw(t, "value"),
	}
}

func durations(low int64) *rapid.Generator[time.Duration] {
	whole := rapid.Map(rapid.Int64Range(1, 100000), func(n int64) time.Duration { return time.Duration(n) * time.Second })
	any := rapid.Map(rapid.Int64Range(low, math.MaxInt64), func(n int64) time.Duration { return time.Duration(n) })
	return rapid.OneOf(whole, any)
}

func pools(t *rapid.T, vips []netip.Addr) []Pool {
	type place struct {
		vip  int
		port uint16
	}
	places := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) place {
		return place{rapid.IntRange(0, len(vips)-1).Draw(t, "vip"), rapid.Uint16Min(1).Draw(t, "port")}
	}), 0, 4, rapid.ID).Draw(t, "places")
	var all []Pool
	for i, p := range places {
		all = append(all, Pool{
			Name:    rapid.StringMatching(`[A-Za-z0-9._-]{1,9}`).Draw(t, "name") + "-" + strconv.Itoa(i),
			Address: netip.AddrPortFrom(vips[p.vip], p.port),
			Probe:   rapid.Custom(probes).Draw(t, "probe"),
		})
	}
	return all
}

func probes(t *rapid.T) Probe {
	p := Probe{
		Type:     rapid.SampledFrom([]string{ProbeTCP, ProbeHTTP, ProbeHTTPS, ProbeExec}).Draw(t, "type"),
		Interval: durations(int64(10*time.Millisecond)).Draw(t, "interval"),
		Timeout:  durations(int64(time.Millisecond)).Draw(t, "timeout"),
		Rise:     rapid.IntRange(1, 1000).Draw(t, "rise"),
		Fall:     rapid.IntRange(1, 1000).Draw(t, "fall"),
	}
	if p.Type == ProbeHTTP || p.Type == ProbeHTTPS {
		p.Path = rapid.StringMatching(`/[a-z"\\?=&;{}]{0,9}`).Draw(t, "path")
		p.Host = rapid.SampledFrom([]string{"", "www.example.org", "www.example.org:8080", "[::1]"}).Draw(t, "host")
		p.Status = rapid.SliceOfN(rapid.Custom(statusRange), 1, 4).Draw(t, "status")
	}
	if p.Type == ProbeHTTPS {
		verification(t, &p)
	}
	if p.Type == ProbeExec {
		p.Command = commands(t)
	}
	return p
}

func verification(t *rapid.T, p *Probe) {
	p.ServerName = strings.TrimSuffix(p.Host, ":8080")
	if strings.HasPrefix(p.Host, "[") {
		p.ServerName = ""
	}
	if rapid.Bool().Draw(t, "named") {
		p.ServerName = rapid.SampledFrom([]string{"a", "192.0.2.1", "x-1.example.org"}).Draw(t, "server_name")
	}
	p.Verify = VerifyOff
	if p.ServerName != "" {
		p.Verify = rapid.SampledFrom([]string{VerifyName, VerifyChain, VerifyOff}).Draw(t, "verify")
	}
	if p.Verify == VerifyChain {
		p.CAFile = rapid.SampledFrom([]string{"", "/etc/ssl/ca.pem", `/a "b" \ größe`}).Draw(t, "ca_file")
	}
}

func statusRange(t *rapid.T) StatusRange {
	from := rapid.IntRange(100, 599).Draw(t, "from")
	return StatusRange{from, rapid.IntRange(from, 599).Draw(t, "to")}
}

// What the file names is what sysctl(8) takes the same words for, whatever the
// file looks like: no key gets in that the agent cannot read.
func TestAKeyThatIsTakenNamesASetting(t *testing.T) {
	plain := rapid.RuneFrom([]rune("ab0_-~\u2215é"))
	trap := rapid.OneOf(rapid.RuneFrom([]rune("./ *?[]{}'\"\\\t\u0085")), rapid.Rune())
	part := rapid.StringOfN(rapid.OneOf(plain, plain, plain, plain, plain, plain, plain, trap), 0, 3, -1)
	key := rapid.Custom(func(t *rapid.T) string {
		parts := rapid.SliceOfN(part, 1, 3).Draw(t, "parts")
		return rapid.SampledFrom([]string{"net.", "net/", ""}).Draw(t, "start") +
			strings.Join(parts, rapid.SampledFrom([]string{".", "/", `".a/b."`}).Draw(t, "between"))
	})
	taken := 0
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		text.WriteString("tunnel.mode = \"none\"\n[sysctl]\n")
		for _, k := range rapid.SliceOfN(key, 1, 2).Draw(t, "keys") {
			if rapid.Bool().Draw(t, "in quotes") {
				k = quote(k)
			}
			text.WriteString(k + " = 1\n")
		}
		c, err := Parse("f.toml", []byte(text.String()))
		if err != nil {
			return
		}
		taken++
		for _, s := range c.Sysctl {
			if path, err := sysctl.ParseKey(s.Key); err != nil || path != s.Path {
				t.Fatalf("%q is taken for %q, but read it is %q, %v", s.Key, s.Path, path, err)
			}
		}
	})
	if taken == 0 {
		t.Error("no file was taken, so the test proves nothing")
	}
}

// sound fails if what Parse says of a text does not hold together.
func sound(t interface{ Fatalf(string, ...any) }, data []byte) {
	c, err := Parse("f.toml", data)
	if err != nil {
		var ps Problems
		if !errors.As(err, &ps) || len(ps) == 0 {
			t.Fatalf("got the error %T %v, want Problems", err, err)
		}
		lines := slices.Collect(strings.Lines(string(data) + "\n"))
		for i, p := range ps {
			if p.Line < 1 || p.Line > len(lines) || p.Column < 1 || p.Column > len([]rune(lines[p.Line-1]))+1 {
				t.Fatalf("problem %v is outside of the file\n%q", p, data)
			}
			if i > 0 && (p.Line < ps[i-1].Line || p.Line == ps[i-1].Line && p.Column < ps[i-1].Column) {
				t.Fatalf("problem %v comes after %v\n%q", p, ps[i-1], data)
			}
			if s := p.String(); strings.ContainsAny(s, "\n\r\x1b\x00") || p.Found == "" {
				t.Fatalf("problem %q is no line of text", s)
			}
		}
		return
	}
	again, err := Parse("printed.toml", c.TOML())
	if err != nil {
		t.Fatalf("printed, it is no longer good: %v\n%s", err, c.TOML())
	}
	if diff := cmp.Diff(c, again, sameConfig); diff != "" {
		t.Fatalf("printed and read again (-want +got):\n%s", diff)
	}
}

// pieces are what the files of the tests are made of, to be put together anew.
func pieces(tb testing.TB) []string {
	var all []string
	for _, pattern := range []string{"testdata/good/*.toml", "testdata/bad/*.toml", "example.toml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			tb.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				tb.Fatal(err)
			}
			all = slices.AppendSeq(all, strings.Lines(string(data)))
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) < 100 {
		tb.Fatalf("found %d lines, want at least 100", len(all))
	}
	return all
}

func TestNoTextBreaksParse(t *testing.T) {
	line := rapid.SampledFrom(pieces(t))
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(line, 0, 12).Draw(t, "lines"), "")
		if n := len(text); n > 0 && rapid.Bool().Draw(t, "spoil") {
			at := rapid.IntRange(0, n-1).Draw(t, "at")
			text = text[:at] + rapid.SampledFrom([]string{"", "\"", "[", "}", "\x00", "\xff", "é", "\r", ".", "=", "\n"}).Draw(t, "by") + text[at+1:]
		}
		sound(t, []byte(text))
	})
}

// The tree has rules of its own on what may be defined twice, to give each
// slip its place. They must be those of TOML.
func TestTheTreeTakesWhatTOMLTakes(t *testing.T) {
	name := rapid.SampledFrom([]string{"a", "b", "c", `"a"`, "a.b", "b.a", "a.b.c", "a.a"})
	value := rapid.SampledFrom([]string{"1", "{}", "[]", "{ a = 1 }", "{ a.b = 1, a.c = 2 }", "[{ a = 1 }]", "{ a = 1, a = 2 }", "[{ b = 1, b = 1 }]"})
	line := rapid.Custom(func(t *rapid.T) string {
		n := name.Draw(t, "name")
		return fmt.Sprintf(rapid.SampledFrom([]string{"[%s]\n", "[[%s]]\n", "%s = "}).Draw(t, "form"), n)
	})
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		for _, l := range rapid.SliceOfN(line, 0, 7).Draw(t, "lines") {
			text.WriteString(l)
			if strings.HasSuffix(l, "= ") {
				text.WriteString(value.Draw(t, "value") + "\n")
			}
		}
		var any map[string]any
		want := toml.Unmarshal([]byte(text.String()), &any)
		ps := newProblems("f.toml", []byte(text.String()))
		plant(ps.source, ps)
		if got := ps.err(); (got == nil) != (want == nil) {
			t.Fatalf("got %v, but go-toml says %v, of\n%s", got, want, text.String())
		}
	})
}

// Every file of three lines like these, so that no combination is left to luck.
func TestTheTreeTakesWhatTOMLTakesInThreeLines(t *testing.T) {
	var lines []string
	for _, name := range []string{"a", "b", "a.b", "a.b.c", "b.a"} {
		lines = append(lines, "["+name+"]\n", "[["+name+"]]\n", name+" = 1\n", name+" = {}\n")
	}
	for _, first := range lines {
		for _, second := range lines {
			for _, third := range lines {
				text := []byte(first + second + third)
				var any map[string]any
				want := toml.Unmarshal(text, &any)
				ps := newProblems("f.toml", text)
				plant(text, ps)
				if got := ps.err(); (got == nil) != (want == nil) {
					t.Errorf("got %v, but go-toml says %v, of\n%s", got, want, text)
				}
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.toml", "testdata/bad/*.toml", "example.toml"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) { sound(t, data) })
}
