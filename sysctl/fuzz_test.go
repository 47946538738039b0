package sysctl

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// A key that is read is printed so that it is read as the same key again, and
// leads nowhere but below the root.
func FuzzParseKey(f *testing.F) {
	for _, s := range []string{"net.ipv4.ip_forward", "net/ipv4/conf/eth0.100/rp_filter", "net.ipv4.conf.eth0/100.rp_filter",
		"../etc/passwd", "a/../b", "a..b", "/proc/sys/a", "net.ipv4.conf.*.rp_filter", "", ".", "a/b\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParseKey(s)
		if err != nil {
			return
		}
		if again, err := ParseKey(k.String()); err != nil || again != k {
			t.Fatalf("%q is %q, which is printed as %q and read as %q, %v", s, string(k), k, string(again), err)
		}
		if !filepath.IsLocal(string(k)) || filepath.Clean(string(k)) != string(k) {
			t.Fatalf("%q is the path %q", s, string(k))
		}
		_, _ = Removed(k), Range(k)
		_ = Spreads(k)
	})
}

// A value is what stands in the file but for white space.
func FuzzRead(f *testing.F) {
	f.Add([]byte("1\n"))
	f.Add([]byte("32768\t60999\n"))
	f.Add([]byte("  a  b\x00\tc\r\n\n"))
	f.Add([]byte(strings.Repeat("123456 ", 3000)))
	directory := f.TempDir()
	fs, err := Open(directory)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { fs.Close() })
	if err := os.Mkdir(filepath.Join(directory, "net"), 0o755); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(filepath.Join(directory, "net/key"), text, 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := fs.Read("net/key")
		if err != nil {
			return
		}
		if strings.TrimSpace(got) != got || !Equal(got, string(text)) {
			t.Fatalf("%q is read as %q", text, got)
		}
		squeeze := func(s string) string {
			return strings.Map(func(r rune) rune {
				if unicode.IsSpace(r) {
					return -1
				}
				return r
			}, s)
		}
		if strings.ToValidUTF8(squeeze(got), "?") != strings.ToValidUTF8(squeeze(string(text)), "?") {
			t.Fatalf("%q is read as %q", text, got)
		}
	})
}

// The value that the kernel acts on is one of those that stand there, or a truth
// of them.
func FuzzEffective(f *testing.F) {
	f.Add("eth0.100", "rp_filter", "1", "2", "0")
	f.Add("eth0", "accept_redirects", "1", "0", "1")
	f.Add("all", "log_martians", "", "x", "99999999999999999999")
	f.Fuzz(func(t *testing.T, iface, name, own, all, forwarding string) {
		v := Values{
			ConfKey(iface, name): {Text: own}, ConfKey("all", name): {Text: all},
			ConfKey(iface, "forwarding"): {Text: forwarding},
		}
		got, err := Effective(v, iface, name)
		if err != nil {
			return
		}
		for _, text := range []string{own, all, forwarding} {
			if n, err := strconv.Atoi(text); err == nil && n == got {
				return
			}
		}
		if got != 0 && got != 1 {
			t.Fatalf("of %q and %q the kernel makes %d", own, all, got)
		}
	})
}

// What is read of a file is lines that it has, and each of them sets its own key.
func FuzzAssignments(f *testing.F) {
	f.Add("# x\n net.ipv4.conf.all.arp_ignore = 1\n;\n-net.ipv4.conf.*.rp_filter=2\n-net.ipv4.conf.all.rp_filter\nwrong\n")
	f.Add("net/ipv4/conf/eth0.100/rp_filter=\x00\r\n= =\n[=]\n*?[=")
	f.Add("../../etc/passwd=1\n/=\n-=\n.=/")
	f.Fuzz(func(t *testing.T, text string) {
		last := 0
		for _, a := range assignments("/f", text) {
			if a.Line <= last || a.Line > strings.Count(text, "\n")+1 {
				t.Fatalf("%+v comes after line %d of %q", a, last, text)
			}
			last = a.Line
			if !a.Sets(a.Key) {
				t.Fatalf("%+v does not set itself", a)
			}
			if got, set := (Boot{Read: []Assignment{a}}).At(a.Key); set == a.Excludes || set && got != a {
				t.Fatalf("%+v is not found", a)
			}
		}
	})
}
