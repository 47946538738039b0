package machine

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRecipeKeyFollowsTheRecipe(t *testing.T) {
	before := recipeKey()
	if again := recipeKey(); again != before {
		t.Fatalf("the same recipe has keys %s and %s", before, again)
	}
	for name, change := range map[string]func() func(){
		"a package": func() func() {
			was := packages
			packages = append([]string{"hello"}, packages...)
			return func() { packages = was }
		},
		"the first process": func() func() {
			was := initrdInit
			initrdInit += "\n"
			return func() { initrdInit = was }
		},
		"the hook": func() func() {
			was := customizeHook
			customizeHook += "\n"
			return func() { customizeHook = was }
		},
	} {
		undo := change()
		if recipeKey() == before {
			t.Errorf("the key is the same with another %s", name)
		}
		undo()
	}
}

func TestModuleOrder(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "modules.dep"), `kernel/virtio.ko:
kernel/virtio_ring.ko: kernel/virtio.ko
kernel/virtio_pci.ko: kernel/virtio_ring.ko kernel/virtio.ko
kernel/virtio-blk.ko: kernel/virtio_ring.ko kernel/virtio.ko
`, 0o644)
	write(t, filepath.Join(dir, "modules.builtin"), "kernel/fs/ext4.ko\n", 0o644)
	got, err := moduleOrder(dir, []string{"virtio_pci", "ext4", "virtio_blk"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"kernel/virtio.ko", "kernel/virtio_ring.ko", "kernel/virtio_pci.ko", "kernel/virtio-blk.ko"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_, err = moduleOrder(dir, []string{"floppy"})
	if want := "cannot boot this kernel: it has no module floppy"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
}

func TestHostAptSources(t *testing.T) {
	const bookworm = "ID=debian\nVERSION_CODENAME=bookworm\n"
	tests := []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"a host that is no Debian", map[string]string{"os-release": "ID=fedora\n"}, nil},
		{"a host without os-release", nil, nil},
		{
			"another Debian",
			map[string]string{
				"os-release":       "ID=debian\nVERSION_CODENAME=trixie\n",
				"apt/sources.list": "deb mirror trixie main\n",
			}, nil,
		},
		{
			"the same Debian in the old style",
			map[string]string{"os-release": bookworm, "apt/sources.list": "deb mirror bookworm main\n"},
			[]string{"apt/sources.list"},
		},
		{
			"the same Debian in the new style, with what the old one left",
			map[string]string{
				"os-release":                        bookworm,
				"apt/sources.list":                  "# deb mirror bookworm main\n",
				"apt/sources.list.d/debian.sources": "Types: deb\nURIs: mirror\nSuites: bookworm bookworm-updates\n",
				"apt/sources.list.d/other.list":     "deb other bookworm main\n",
			},
			[]string{"apt/sources.list.d/debian.sources"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			etc := t.TempDir()
			for name, content := range test.files {
				write(t, filepath.Join(etc, name), content, 0o644)
			}
			var got []string
			for _, path := range hostAptSources(etc) {
				got = append(got, strings.TrimPrefix(path, etc+"/"))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDiscardLeavesWhatIsMounted(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "root/dev/precious"), "", 0o644)
	mount := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
			t.Fatalf("mount: %v: %s", err, out)
		}
	}
	mount("--bind", filepath.Join(dir, "root/dev"), filepath.Join(dir, "root/dev"))
	err := discard(dir)
	if out, umount := exec.Command("umount", filepath.Join(dir, "root/dev")).CombinedOutput(); umount != nil {
		t.Fatalf("umount: %v: %s", umount, out)
	}
	if err == nil || !strings.Contains(err.Error(), "something is mounted in it") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "root/dev/precious")); err != nil {
		t.Error(err)
	}
	if err := discard(dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("still there: %v", err)
	}
}
