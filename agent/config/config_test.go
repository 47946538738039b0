package config

import (
	"errors"
	"flag"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "write the golden files anew")

// sameConfig compares configurations to the last field.
var sameConfig = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, netip.AddrPort{})

// golden compares what people read with the file that holds it.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// eachFile runs a test for every file of a folder under testdata, and fails if
// there are none.
func eachFile(t *testing.T, folder string, test func(t *testing.T, data []byte, golden string)) {
	files, err := filepath.Glob(filepath.Join("testdata", folder, "*.toml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in testdata/%s: %v", folder, err)
	}
	for _, file := range files {
		base := strings.TrimSuffix(file, ".toml")
		t.Run(filepath.Base(base), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			test(t, data, base+".txt")
		})
	}
}

func TestEveryMistakeIsNamedWithItsPlace(t *testing.T) {
	eachFile(t, "bad", func(t *testing.T, data []byte, file string) {
		c, err := Parse("rsagent.toml", data)
		if err == nil {
			t.Fatalf("no error; got %s", c.TOML())
		}
		if diff := cmp.Diff(Config{}, c, sameConfig); diff != "" {
			t.Errorf("a bad file gave a configuration (-want +got):\n%s", diff)
		}
		golden(t, file, err.Error()+"\n")
	})
}

func TestGoodFilesAreReadWithTheirDefaults(t *testing.T) {
	eachFile(t, "good", func(t *testing.T, data []byte, file string) {
		c, err := Parse("rsagent.toml", data)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, file, string(c.TOML()))
		again, err := Parse("printed.toml", c.TOML())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, again, sameConfig); diff != "" {
			t.Errorf("printed and read again (-want +got):\n%s", diff)
		}
	})
}

// withDefaults is what a file with one VIP and nothing else says.
func withDefaults() Config {
	return Config{
		VIPs:   []netip.Addr{netip.MustParseAddr("203.0.113.10")},
		Tunnel: Tunnel{Mode: ModeIPIP, Device: "tunl0", OnStop: "keep", Guard: true, ClampMSS: MSSClamp{Auto: true}},
		Health: Health{Listen: ":9380", DrainStatus: 503},
		Drain:  Drain{Notice: 30 * time.Second, Timeout: 5 * time.Minute, Fall: 3, Idle: 5 * time.Second},
		Weight: Weight{From: WeightNone, Interval: 10 * time.Second, Timeout: 5 * time.Second},
		Repair: Repair{Sweep: 10 * time.Second, Flaps: 10},
		Log:    Log{Level: "info", Format: "auto"},
	}
}

func TestAFileWithOnlyAVIPHasEveryDefault(t *testing.T) {
	got, err := Load("testdata/good/vips-alone.toml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(withDefaults(), got, sameConfig); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheContractsExampleSaysWhatItSays(t *testing.T) {
	want := withDefaults()
	want.Directors = []netip.Prefix{netip.MustParsePrefix("10.179.109.69/32"), netip.MustParsePrefix("10.179.119.61/32")}
	want.Sysctl = []Sysctl{{"net.ipv4.tcp_fin_timeout", "net/ipv4/tcp_fin_timeout", "15"}}
	probe := Probe{
		Type: ProbeHTTP, Path: "/", Host: "www.example.org", Status: []StatusRange{{200, 399}},
		Interval: 2 * time.Second, Timeout: time.Second, Rise: 2, Fall: 3,
	}
	tls := probe
	tls.Type, tls.Host, tls.ServerName, tls.Verify = ProbeHTTPS, "", "www.example.org", VerifyName
	want.Pools = []Pool{
		{"http-pool", netip.MustParseAddrPort("203.0.113.10:80"), probe},
		{"ssl-pool", netip.MustParseAddrPort("203.0.113.10:443"), tls},
	}
	got, err := Load("testdata/good/contract.toml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, sameConfig); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestQuotedAndPlainSysctlKeysMeanTheSame(t *testing.T) {
	quoted, err := Load("testdata/good/seed-quoted.toml")
	if err != nil {
		t.Fatal(err)
	}
	plain, err := Load("testdata/good/seed-plain.toml")
	if err != nil {
		t.Fatal(err)
	}
	if len(quoted.Sysctl) != 27 {
		t.Errorf("got %d keys, want the 27 of the published web node file", len(quoted.Sysctl))
	}
	if diff := cmp.Diff(quoted, plain, sameConfig); diff != "" {
		t.Errorf("(-quoted +plain):\n%s", diff)
	}
}

func TestFlagsAloneMakeAConfiguration(t *testing.T) {
	got, err := FromFlags([]string{"203.0.113.10"}, []string{"10.179.109.69", "10.179.0.0/16"})
	if err != nil {
		t.Fatal(err)
	}
	want := withDefaults()
	want.Directors = []netip.Prefix{netip.MustParsePrefix("10.179.109.69/32"), netip.MustParsePrefix("10.179.0.0/16")}
	if diff := cmp.Diff(want, got, sameConfig); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBadFlagsAreNamed(t *testing.T) {
	for _, tc := range []struct {
		name            string
		vips, directors []string
		want            string
	}{
		{"no VIP", nil, []string{"10.0.0.1"}, `--vip: found no VIP, expected an IPv4 address such as "203.0.113.10"`},
		{"the same VIP twice", []string{"203.0.113.10", "203.0.113.10"}, nil,
			`--vip: found 203.0.113.10 again (first in --vip 203.0.113.10), expected each VIP once`},
		{"several at once", []string{"0.0.0.0"}, []string{"10.0.0.1/8", "\x80lb"}, `--vip: found 0.0.0.0, which is no address, expected an IPv4 address such as "203.0.113.10"
--director: found "10.0.0.1/8", expected "10.0.0.0/8" or "10.0.0.1": bits are set beyond the prefix
--director: found "�lb", expected an address such as "10.0.0.5" or a prefix such as "10.0.0.0/24"`},
		{"a director that is a VIP", []string{"203.0.113.10"}, []string{"203.0.113.10"},
			`--director: found 203.0.113.10, which is a VIP, expected the director's own address`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := FromFlags(tc.vips, tc.directors)
			if err == nil {
				t.Fatalf("no error; got %s", c.TOML())
			}
			if diff := cmp.Diff(tc.want, err.Error()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAFileThatCannotBeReadIsNamed(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.toml")
	if err := os.WriteFile(large, []byte(strings.Repeat("#", maxSize+1)), 0o644); err != nil {
		t.Fatal(err)
	}
	loop := filepath.Join(dir, "loop.toml")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, file, want string }{
		{"that is not there", filepath.Join(dir, "none.toml"), "no such file or directory"},
		{"below a file", filepath.Join(large, "none.toml"), "not a directory"},
		{"that is a folder", dir, "it is a directory, expected a file"},
		{"that is too large", large, "it is larger than 1 MiB"},
		{"that has no end", "/dev/zero", "it is larger than 1 MiB"},
		{"that leads to itself", loop, "too many levels of symbolic links"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Load(tc.file)
			want := "cannot read configuration " + tc.file + ": " + tc.want
			if err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
			if got := errors.Is(err, fs.ErrNotExist); got != strings.HasPrefix(tc.want, "no such file") {
				t.Errorf("errors.Is(%v, fs.ErrNotExist) is %t", err, got)
			}
		})
	}
}

func TestProblemsCanBeInspected(t *testing.T) {
	_, err := Load("testdata/bad/pool-port-too-high.toml")
	var got Problems
	if !errors.As(err, &got) {
		t.Fatalf("got %T, want Problems", err)
	}
	want := Problems{{
		File: "testdata/bad/pool-port-too-high.toml", Line: 7, Column: 8,
		Key: "pool.http-pool.port", Found: "70000", Expected: "a port from 1 to 65535",
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
