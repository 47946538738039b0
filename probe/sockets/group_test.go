package sockets

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTheControlGroupOfAProcess(t *testing.T) {
	for _, x := range []struct {
		name, cgroup, events string
		want                 Group
		unit                 string
	}{
		{"a unit of systemd", "0::/system.slice/nginx.service\n", "populated 1\nfrozen 0\n", Group{Path: "/system.slice/nginx.service"}, "nginx.service"},
		{"a frozen one", "0::/system.slice/nginx.service\n", "populated 1\nfrozen 1\n", Group{Path: "/system.slice/nginx.service", Frozen: true}, "nginx.service"},
		{"both hierarchies", "12:cpu:/a\n1:name=systemd:/b\n0::/machine/x\n", "", Group{Path: "/machine/x"}, ""},
		{"the first hierarchy only", "1:name=systemd:/b\n", "", Group{}, ""},
		{"outside of this container", "0::/../../x.service\n", "", Group{}, ""},
		{"nothing", "", "", Group{}, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			root := t.TempDir()
			process, group := filepath.Join(root, "proc", "7"), filepath.Join(root, "sys/fs/cgroup", x.want.Path)
			for _, dir := range []string{process, group} {
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for file, text := range map[string]string{filepath.Join(process, "cgroup"): x.cgroup, filepath.Join(group, "cgroup.events"): x.events} {
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got := groupOf(process, filepath.Join(root, "sys/fs/cgroup"))
			if got != x.want || got.Unit() != x.unit {
				t.Errorf("got %+v of %q, want %+v of %q", got, got.Unit(), x.want, x.unit)
			}
		})
	}
}
