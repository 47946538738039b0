package agent

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rsagent/agent/health"
	"rsagent/sysctl"
)

func TestSettingsThatNoFileBringsBackAreTold(t *testing.T) {
	const later = "it is in force now, and will not be after the next boot, unless something else sets it then, such as tuned or a script of the network"
	const announces = "net.ipv4.conf.all.arp_announce = 2\n"
	const both = "net.ipv4.conf.all.arp_ignore = 1\n" + announces
	for _, test := range []struct {
		name  string
		files map[string]string
		got   string // empty: nothing is said
		does  string // the remedy
	}{
		{"files set them", map[string]string{"etc/sysctl.d/lvs.conf": both}, "", ""},
		{"no file has them: a script of the network may well", nil, "", ""},
		{"files that have nothing to do with it", map[string]string{"etc/sysctl.conf": "net.ipv4.tcp_fin_timeout = 15\nnet.ipv4.conf.all.log_martians = 1"}, "", ""},
		{"they stand in /etc/sysctl.conf", map[string]string{"etc/sysctl.conf": both},
			"net.ipv4.conf.all.arp_ignore = 1 stands in /etc/sysctl.conf:1, which nothing reads at boot; net.ipv4.conf.all.arp_announce = 2 stands in /etc/sysctl.conf:2, which nothing reads at boot",
			`printf '%s\n' 'net.ipv4.conf.all.arp_ignore = 1' 'net.ipv4.conf.all.arp_announce = 2' >> /etc/sysctl.d/zz-lvs.conf`},
		{"they stand in /etc/sysctl.conf, and are set by another file too", map[string]string{"etc/sysctl.conf": both, "etc/sysctl.d/lvs.conf": both}, "", ""},
		{"a later file undoes one", map[string]string{"etc/sysctl.d/10-lvs.conf": both, "usr/lib/sysctl.d/zzz.conf": "\nnet/ipv4/conf/all/arp_ignore = 0"},
			"net.ipv4.conf.all.arp_ignore = 1 stands in /etc/sysctl.d/10-lvs.conf:1, and /usr/lib/sysctl.d/zzz.conf:2 sets 0 after it",
			`printf '%s\n' 'net.ipv4.conf.all.arp_ignore = 1' >> /etc/sysctl.d/zzzz.conf`},
		{"a later file sets another value that protects", map[string]string{"etc/sysctl.d/10-lvs.conf": both, "etc/sysctl.d/20.conf": "net.ipv4.conf.all.arp_ignore = 2"}, "", ""},
		{"each interface is set in place of all of them", map[string]string{"etc/sysctl.conf": both,
			"etc/sysctl.d/a.conf": "net.ipv4.conf.eth0.arp_ignore = 1\nnet/ipv4/conf/eth0.100/arp_ignore=1\nnet.ipv4.conf.*.arp_announce = 2"}, "", ""},
		{"one interface is forgotten", map[string]string{"etc/sysctl.conf": both,
			"etc/sysctl.d/a.conf": "net.ipv4.conf.eth0.arp_ignore = 1\n" + announces},
			"net.ipv4.conf.all.arp_ignore = 1 stands in /etc/sysctl.conf:1, which nothing reads at boot",
			`printf '%s\n' 'net.ipv4.conf.all.arp_ignore = 1' >> /etc/sysctl.d/zz-lvs.conf`},
		{"interfaces yet to come start with it", map[string]string{"etc/sysctl.conf": both,
			"etc/sysctl.d/a.conf": "net.ipv4.conf.default.arp_ignore = 1\nnet.ipv4.conf.default.arp_announce = 2"}, "", ""},
		{"a value that does not protect is not read", map[string]string{"etc/sysctl.conf": "net.ipv4.conf.all.arp_ignore = 3\nnet.ipv4.conf.all.arp_announce = 1"}, "", ""},
		{"a name that is not read", map[string]string{"etc/sysctl.d/lvs": "net.ipv4.conf.all.arp_announce=2"},
			"net.ipv4.conf.all.arp_announce = 2 stands in /etc/sysctl.d/lvs:1, whose name does not end in .conf",
			`printf '%s\n' 'net.ipv4.conf.all.arp_announce = 2' >> /etc/sysctl.d/zz-lvs.conf`},
		{"strict for all, and the exception is not read", map[string]string{"etc/sysctl.d/stig.conf": "net.ipv4.conf.all.rp_filter = 1", "etc/sysctl.conf": "net.ipv4.conf.tunl0.rp_filter = 2"},
			"net.ipv4.conf.tunl0.rp_filter = 2 stands in /etc/sysctl.conf:1, which nothing reads at boot",
			`printf '%s\n' 'net.ipv4.conf.tunl0.rp_filter = 2' >> /etc/sysctl.d/zz-lvs.conf`},
		{"strict for all, and the exception would not be enough", map[string]string{"etc/sysctl.d/stig.conf": "net.ipv4.conf.all.rp_filter = 1", "etc/sysctl.conf": "net.ipv4.conf.tunl0.rp_filter = 0"}, "", ""},
		{"strict by a pattern, after a line for all interfaces", map[string]string{"etc/sysctl.d/a.conf": "net.ipv4.conf.*.rp_filter = 0", "etc/sysctl.d/b.conf": "net.ipv4.conf.*.rp_filter = 1\n-net.ipv4.conf.all.rp_filter"},
			"net.ipv4.conf.tunl0.rp_filter = 0 stands in /etc/sysctl.d/a.conf:1, and /etc/sysctl.d/b.conf:1 sets 1 after it",
			`printf '%s\n' 'net.ipv4.conf.tunl0.rp_filter = 0' >> /etc/sysctl.d/zz-lvs.conf`},
		{"loose by the distribution", map[string]string{"usr/lib/sysctl.d/50-default.conf": "net.ipv4.conf.default.rp_filter = 2\nnet.ipv4.conf.*.rp_filter = 2\n-net.ipv4.conf.all.rp_filter", "etc/sysctl.conf": "net.ipv4.conf.all.rp_filter = 0"}, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			for name, text := range test.files {
				file := filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			n := goodNode()
			n.Examined.Boot, n.Examined.BootErr = sysctl.AtBoot(root)
			f := foundFinding(t, n, afterBootID)
			want := health.Finding{Status: health.OK}
			if test.got != "" {
				want = health.Finding{Status: health.Failed, Got: test.got, Cause: later, Remedy: test.does}
			}
			got := health.Finding{Status: f.Status, Got: f.Got, Cause: f.Cause, Remedy: f.Remedy}
			if f.Status == health.OK {
				got.Got = ""
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if f.Severity != health.Advisory {
				t.Errorf("it is %s", f.Severity)
			}
		})
	}
}

func TestOfSettingsAtBootThatCannotBeLookedAtNothingIsKnown(t *testing.T) {
	n := goodNode()
	n.Examined.BootErr = errors.New("permission denied")
	if f := foundFinding(t, n, afterBootID); f.Status != health.Unknown {
		t.Errorf("%+v", f)
	}
	n = goodNode()
	n.set("net/ipv4/conf/all/arp_ignore=0")
	if f := foundFinding(t, n, afterBootID); f.Status != health.Skipped {
		t.Errorf("with a setting that is wrong now: %+v", f)
	}
}

// foundFinding is one finding of a node without a configuration.
func foundFinding(t *testing.T, n Node, id string) health.Finding {
	t.Helper()
	_, conditions := Found(n)
	for _, f := range evaluate(conditions, n) {
		if f.ID == id {
			return f
		}
	}
	t.Fatalf("there is no %s", id)
	return health.Finding{}
}
