package tunnel

import (
	"compress/gzip"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const modulesDir = "lib/modules/6.1.0-13-amd64/"

// host is the files of a system whose kernel can load ipip.
func host() map[string]string {
	return map[string]string{
		"proc/sys/kernel/osrelease":        "6.1.0-13-amd64\n",
		"proc/sys/kernel/modules_disabled": "0\n",
		"proc/sys/kernel/modprobe":         "/sbin/modprobe\n",
		"proc/modules":                     "veth 40960 0 - Live 0x0\nip_tunnel 32768 1 sit, Live 0x0\n",
		"proc/cmdline":                     "BOOT_IMAGE=/vmlinuz root=/dev/sda1 module_blacklist=nouveau\n",
		"sbin/modprobe":                    "",
		"etc/modprobe.d/local.conf":        "# install ipip /bin/false\nblacklist pcspkr\ninstall sctp /bin/false\noptions ipip log_ecn_error=0\n",
		modulesDir + "modules.builtin":     "kernel/net/ipv4/tcp_cubic.ko\n",
		modulesDir + "modules.dep": "kernel/net/ipv4/ip_tunnel.ko.xz:\n" +
			"kernel/net/ipv4/ipip.ko.xz: kernel/net/ipv4/tunnel4.ko.xz kernel/net/ipv4/ip_tunnel.ko.xz\n",
		modulesDir + "kernel/net/ipv4/ipip.ko.xz":      "",
		modulesDir + "kernel/net/ipv4/tunnel4.ko.xz":   "",
		modulesDir + "kernel/net/ipv4/ip_tunnel.ko.xz": "",
	}
}

func TestMissingIPIPNamesTheCause(t *testing.T) {
	const removed = "\x00"
	tests := []struct {
		name  string
		files map[string]string // over those of host
		want  Obstacle
	}{
		{"nothing speaks against it", nil, Obstacle{}},
		{"it is loaded, so nothing else matters", map[string]string{
			"proc/modules":                     "ipip 20480 0 - Live 0x0\n",
			"proc/sys/kernel/modules_disabled": "1\n",
		}, Obstacle{}},
		{"it is built in, with parameters", map[string]string{
			"sys/module/ipip/parameters/log_ecn_error": "Y\n",
			modulesDir + "modules.dep":                 "\n",
		}, Obstacle{}},
		{"it is built in, as the list says", map[string]string{
			modulesDir + "modules.builtin": "kernel/net/ipv4/ipip.ko\n",
			"proc/modules":                 removed,
		}, Obstacle{}},
		{"it is built in, as the configuration says", map[string]string{
			"boot/config-6.1.0-13-amd64": "CONFIG_NET_IPIP=y\n",
			"lib/modules":                removed,
		}, Obstacle{}},
		{"the kernel is built without it", map[string]string{
			"boot/config-6.1.0-13-amd64": "CONFIG_INET=y\n# CONFIG_NET_IPIP is not set\n",
		}, Obstacle{
			Cause:   "this kernel, 6.1.0-13-amd64, is built without it (CONFIG_NET_IPIP is not set)",
			Remedy:  "boot a kernel that has it",
			Certain: true,
		}},
		{"the kernel is built without it, as it says itself", map[string]string{
			"proc/config.gz": zip("# CONFIG_NET_IPIP is not set\n"),
		}, Obstacle{
			Cause:   "this kernel, 6.1.0-13-amd64, is built without it (CONFIG_NET_IPIP is not set)",
			Remedy:  "boot a kernel that has it",
			Certain: true,
		}},
		{"the kernel loads no modules", map[string]string{"proc/modules": removed}, Obstacle{
			Cause:  "this kernel, 6.1.0-13-amd64, loads no modules, and nothing shows that ipip is built in",
			Remedy: "boot a kernel that has it",
		}},
		{"modules are locked", map[string]string{"proc/sys/kernel/modules_disabled": "1\n"}, Obstacle{
			Cause:   "loading modules is off until the next boot (kernel.modules_disabled = 1)",
			Remedy:  "put ipip into /etc/modules-load.d/ipip.conf and reboot",
			Certain: true,
		}},
		{"the boot loader forbids it", map[string]string{"proc/cmdline": "quiet module_blacklist=nouveau,ipip\n"}, Obstacle{
			Cause:   "the kernel was booted with module_blacklist=nouveau,ipip",
			Remedy:  "take ipip out of it in the boot loader's settings and reboot",
			Certain: true,
		}},
		{"a container", map[string]string{"lib/modules": removed}, Obstacle{
			Cause:  "there is no /lib/modules here, as in a container or a small VM",
			Remedy: "in a container run modprobe ipip on the host; else install the kernel's modules",
		}},
		{"a kernel update without a reboot", map[string]string{
			modulesDir:                          removed,
			"lib/modules/6.1.0-18-amd64/x.conf": "",
		}, Obstacle{
			Cause:  "there is no /lib/modules/6.1.0-13-amd64, as after an update of the kernel without a reboot",
			Remedy: "reboot, or install the modules of the running kernel",
		}},
		{"no list of modules", map[string]string{modulesDir + "modules.dep": removed}, Obstacle{
			Cause:  "there is no /lib/modules/6.1.0-13-amd64/modules.dep",
			Remedy: "run depmod",
		}},
		{"a package without it", map[string]string{modulesDir + "modules.dep": "kernel/net/ipv4/ip_tunnel.ko.xz:\n"}, Obstacle{
			Cause:   "/lib/modules/6.1.0-13-amd64 has no module ipip",
			Remedy:  "install the package with the rest of this kernel's modules, or boot a kernel that has it",
			Certain: true,
		}},
		{"a file that it needs is gone", map[string]string{modulesDir + "kernel/net/ipv4/tunnel4.ko.xz": removed}, Obstacle{
			Cause:   "there is no /lib/modules/6.1.0-13-amd64/kernel/net/ipv4/tunnel4.ko.xz",
			Remedy:  "install this kernel's modules again",
			Certain: true,
		}},
		{"hardening forbids it", map[string]string{"etc/modprobe.d/cis.conf": "install ipip /bin/false\n"}, Obstacle{
			Cause:   "modprobe runs a command instead of loading it: install ipip /bin/false in /etc/modprobe.d/cis.conf",
			Remedy:  "sed -i -E 's/^ *(install|blacklist) +ipip/# &/' /etc/modprobe.d/cis.conf",
			Certain: true,
		}},
		{"hardening forbids what it needs, over two lines", map[string]string{"usr/lib/modprobe.d/cis.conf": "install tunnel4 \\\n  /usr/bin/true\n"}, Obstacle{
			Cause:   "modprobe runs a command instead of loading it: install tunnel4 /usr/bin/true in /usr/lib/modprobe.d/cis.conf",
			Remedy:  "sed -i -E 's/^ *(install|blacklist) +tunnel4/# &/' /usr/lib/modprobe.d/cis.conf",
			Certain: true,
		}},
		{"hardening forbids what it needs and has already", map[string]string{"etc/modprobe.d/cis.conf": "install ip-tunnel /bin/false\n"}, Obstacle{}},
		{"some command is run for it", map[string]string{"run/modprobe.d/x.conf": "install ipip /usr/local/bin/ask\n"}, Obstacle{
			Cause:  "modprobe runs a command instead of loading it: install ipip /usr/local/bin/ask in /run/modprobe.d/x.conf",
			Remedy: "sed -i -E 's/^ *(install|blacklist) +ipip/# &/' /run/modprobe.d/x.conf",
		}},
		{"a command that loads it too", map[string]string{
			"etc/modprobe.d/x.conf": "install ipip logger ipip; modprobe --ignore-install ipip\n",
		}, Obstacle{}},
		{"a file that another of its name masks", map[string]string{
			"usr/lib/modprobe.d/cis.conf": "install ipip /bin/false\n",
			"etc/modprobe.d/cis.conf":     "",
		}, Obstacle{}},
		{"a file that modprobe does not read", map[string]string{"etc/modprobe.d/cis.conf.bak": "install ipip /bin/false\n"}, Obstacle{}},
		{"it is blacklisted", map[string]string{"etc/modprobe.d/x.conf": "blacklist ipip\n"}, Obstacle{
			Cause:   "the kernel may not load it by itself: blacklist ipip in /etc/modprobe.d/x.conf",
			Remedy:  "modprobe ipip && echo ipip > /etc/modules-load.d/ipip.conf",
			Certain: true,
		}},
		{"what it needs is blacklisted, which does not count", map[string]string{"etc/modprobe.d/x.conf": "blacklist ip_tunnel\n"}, Obstacle{}},
		{"no program to load modules is set", map[string]string{"proc/sys/kernel/modprobe": "\n"}, Obstacle{
			Cause:  "the kernel has no program to load modules with (kernel.modprobe is empty)",
			Remedy: "modprobe ipip && echo ipip > /etc/modules-load.d/ipip.conf",
		}},
		{"the program to load modules is not installed", map[string]string{"sbin/modprobe": removed}, Obstacle{
			Cause:  "the program that the kernel loads modules with, /sbin/modprobe, is not there",
			Remedy: "install the package kmod",
		}},
		{"nothing can be seen at all", map[string]string{"proc": removed, "lib": removed, "etc": removed}, Obstacle{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			files := host()
			maps.Copy(files, test.files)
			for name, text := range files {
				path := filepath.Join(root, name)
				if text == removed {
					continue
				}
				must(t, os.MkdirAll(filepath.Dir(path), 0o755))
				must(t, os.WriteFile(path, []byte(text), 0o644))
			}
			for name, text := range test.files {
				if text == removed {
					must(t, os.RemoveAll(filepath.Join(root, name)))
				}
			}
			if diff := cmp.Diff(test.want, MissingIPIP(root)); diff != "" {
				t.Errorf("obstacle (-want +got):\n%s", diff)
			}
		})
	}
}

func zip(text string) string {
	var b strings.Builder
	z := gzip.NewWriter(&b)
	_, err := z.Write([]byte(text))
	if err = errors.Join(err, z.Close()); err != nil {
		panic(err) // a strings.Builder takes everything
	}
	return b.String()
}

func TestTheErrorForNoIPIPSaysHowSureItIs(t *testing.T) {
	tests := []struct {
		name     string
		obstacle Obstacle
		want     string
	}{
		{"certain", Obstacle{Cause: "it is locked", Remedy: "reboot", Certain: true}, "the kernel has no ipip: it is locked (reboot)"},
		{"likely", Obstacle{Cause: "it is locked", Remedy: "reboot"}, "the kernel has no ipip; perhaps it is locked (reboot)"},
		{"unknown", Obstacle{}, "the kernel has no ipip and did not load it, and nothing here says why (see the kernel's log; a device called tunl0 in any network namespace keeps the module out, too)"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := noIPIP(test.obstacle)
			wantError(t, err, test.want)
			if !errors.Is(err, ErrNoIPIP) {
				t.Error("it is not ErrNoIPIP")
			}
		})
	}
}
