package sysctl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// tree writes files; one whose text begins with "->" is a link.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		file := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(file), 0o755)
		if to, link := strings.CutPrefix(text, "->"); err == nil && link {
			err = os.Symlink(to, file)
		} else if err == nil {
			err = os.WriteFile(file, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const ignore = Key("net/ipv4/conf/all/arp_ignore")

func TestTheLineThatCountsAtBoot(t *testing.T) {
	const sets = "net.ipv4.conf.all.arp_ignore=1\n"
	for _, test := range []struct {
		name  string
		files map[string]string
		want  string // what sets the key, and what would and is not read
	}{
		{"none", nil, "nothing"},
		{"one", map[string]string{"etc/sysctl.d/lvs.conf": "\n" + sets}, "/etc/sysctl.d/lvs.conf:2 1"},
		{"the later name, whatever the directory", map[string]string{"usr/lib/sysctl.d/60.conf": "net/ipv4/conf/all/arp_ignore = 2", "etc/sysctl.d/50.conf": sets},
			"/usr/lib/sysctl.d/60.conf:1 2"},
		{"the later line", map[string]string{"etc/sysctl.d/a.conf": sets + "-net.ipv4.conf.all.arp_ignore = 0"}, "/etc/sysctl.d/a.conf:2 0"},
		{"of two with one name that of the administrator", map[string]string{"usr/lib/sysctl.d/a.conf": sets, "etc/sysctl.d/a.conf": "net.ipv4.conf.all.arp_ignore=8"},
			"/etc/sysctl.d/a.conf:1 8; /usr/lib/sysctl.d/a.conf:1 1 in place of which /etc/sysctl.d/a.conf counts"},
		{"masked", map[string]string{"usr/lib/sysctl.d/a.conf": sets, "etc/sysctl.d/a.conf": "->/dev/null"},
			"nothing; /usr/lib/sysctl.d/a.conf:1 1 in place of which /etc/sysctl.d/a.conf counts"},
		{"a name without .conf", map[string]string{"etc/sysctl.d/lvs": sets}, "nothing; /etc/sysctl.d/lvs:1 1 whose name does not end in .conf"},
		{"a copy that somebody left", map[string]string{"etc/sysctl.d/lvs.conf.bak": sets, "etc/sysctl.d/lvs.conf~": sets, "etc/sysctl.d/.lvs.conf.swp": sets,
			"etc/sysctl.d/README": sets, "etc/sysctl.d/old.rpmsave": sets}, "nothing"},
		{"the old file, which nothing reads", map[string]string{"etc/sysctl.conf": sets}, "nothing; /etc/sysctl.conf:1 1 which nothing reads at boot"},
		{"the old file, by a link", map[string]string{"etc/sysctl.conf": sets, "etc/sysctl.d/99-sysctl.conf": "->../sysctl.conf"}, "/etc/sysctl.d/99-sysctl.conf:1 1"},
		{"a link that leads nowhere", map[string]string{"etc/sysctl.d/99-sysctl.conf": "->../sysctl.conf"}, "nothing"},
		{"/lib is /usr/lib", map[string]string{"usr/lib/sysctl.d/a.conf": sets, "lib": "->usr/lib"}, "/usr/lib/sysctl.d/a.conf:1 1"},
		{"comments", map[string]string{"etc/sysctl.d/a.conf": "# " + sets + "; " + sets + "\t#" + sets}, "nothing"},
		{"a pattern", map[string]string{"etc/sysctl.d/a.conf": "net.ipv4.conf.*.arp_ignore = 2"}, "/etc/sysctl.d/a.conf:1 2"},
		{"the key itself counts before a later pattern", map[string]string{"etc/sysctl.d/a.conf": sets + "net.ipv4.conf.*.arp_ignore = 2"}, "/etc/sysctl.d/a.conf:1 1"},
		{"kept from patterns", map[string]string{"etc/sysctl.d/a.conf": "net.ipv4.conf.*.arp_ignore = 2\n-net.ipv4.conf.all.arp_ignore"}, "nothing"},
		{"a pattern of which a star is no slash", map[string]string{"etc/sysctl.d/a.conf": "net.ipv4.*.arp_ignore = 2"}, "nothing"},
		{"a directory that looks like a file", map[string]string{"etc/sysctl.d/a.conf/b": sets}, "nothing"},
		{"lines that mean nothing", map[string]string{"etc/sysctl.d/a.conf": "=\nx\n- = 1\n" + sets}, "/etc/sysctl.d/a.conf:4 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, err := AtBoot(tree(t, test.files))
			if err != nil {
				t.Fatal(err)
			}
			got := "nothing"
			if a, set := b.At(ignore); set {
				got = a.String() + " " + a.Value
			}
			for _, u := range b.Unread {
				for _, a := range u.Assignments {
					got += "; " + a.String() + " " + a.Value + " " + u.Why
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestAKeyOfAnInterfaceWithADotIsFoundHoweverItIsWritten(t *testing.T) {
	key := ConfKey("eth0.100", "rp_filter")
	for _, line := range []string{"net/ipv4/conf/eth0.100/rp_filter=2", "net.ipv4.conf.eth0/100.rp_filter = 2", " -net.ipv4.conf.eth0/100.rp_filter= 2 ", "net.ipv4.conf.eth*.rp_filter=2"} {
		b := Boot{Read: assignments("f", line)}
		if a, set := b.At(key); !set || a.Value != "2" {
			t.Errorf("%q: %+v, %v", line, a, set)
		}
	}
}

// A pipe that nobody writes to is not waited for.
func TestAPipeAmongTheFilesIsPassedOver(t *testing.T) {
	root := tree(t, map[string]string{"etc/sysctl.d/b.conf": "net.ipv4.conf.all.arp_ignore=1"})
	if err := unix.Mkfifo(filepath.Join(root, "etc/sysctl.d/a.conf"), 0o644); err != nil {
		t.Fatal(err)
	}
	b, err := AtBoot(root)
	if a, set := b.At(ignore); err != nil || !set || a.Value != "1" {
		t.Errorf("%+v, %v", b, err)
	}
}

func TestWhatCannotBeReadIsAnError(t *testing.T) {
	if _, err := AtBoot(tree(t, map[string]string{"etc/sysctl.d": "a file"})); err == nil {
		t.Error("a file in place of a directory is no error")
	}
}

// What counts is what is left if all lines are done one after the other, patterns
// first, as systemd-sysctl does them for a key.
func TestTheLastLineCounts(t *testing.T) {
	lines := []string{"net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.arp_ignore=2", "net.ipv4.conf.*.arp_ignore=3",
		"net.ipv4.conf.a*.arp_ignore=4", "-net.ipv4.conf.all.arp_ignore", "net.ipv4.conf.eth0.arp_ignore=5", "# net.ipv4.conf.all.arp_ignore=6"}
	rapid.Check(t, func(t *rapid.T) {
		chosen := rapid.SliceOf(rapid.SampledFrom(lines)).Draw(t, "lines")
		want, exact := "", false
		for _, l := range chosen {
			switch key, value, _ := strings.Cut(l, "="); {
			case key == "net.ipv4.conf.all.arp_ignore":
				want, exact = value, true
			case key == "-net.ipv4.conf.all.arp_ignore":
				want, exact = "", true
			case strings.Contains(key, "*") && !exact:
				want = value
			}
		}
		b := Boot{Read: assignments("f", strings.Join(chosen, "\n"))}
		if a, _ := b.At(ignore); a.Value != want {
			t.Fatalf("got %+v, want %q", a, want)
		}
	})
}
