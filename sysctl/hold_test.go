package sysctl

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func wantValue(t *testing.T, f *FS, k Key, want string) {
	t.Helper()
	if got, err := f.Read(k); got != want || err != nil {
		t.Errorf("%s is %q, %v, want %q", k, got, err, want)
	}
}

func TestHeldKeyFollowsItsInterface(t *testing.T) {
	inNewNamespace(t, func(t *testing.T, f *FS) {
		others, err := Open("/proc/sys")
		if err != nil {
			t.Error(err)
			return
		}
		defer others.Close()
		ip := func(args ...string) {
			t.Helper()
			if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
				t.Errorf("ip %v: %v: %s", args, err, out)
			}
		}
		own, all := ConfKey("eth0", "arp_ignore"), ConfKey("all", "arp_ignore")
		f.Hold([]Key{own, all, own, ConfKey("none0", "arp_ignore"), "../../etc/passwd"})

		write(t, others, all, "1")
		wantValue(t, f, all, "1")
		write(t, f, all, "2")
		wantValue(t, others, all, "2")
		write(t, f, own, "8")
		wantValue(t, others, own, "8")

		ip("link", "del", "eth0")
		if _, err := f.Read(own); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v of an interface that has gone, want that it does not exist", err)
		}
		if err := f.Write(own, "1"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v of an interface that has gone, want that it does not exist", err)
		}
		ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth0.100")
		wantValue(t, f, own, "0")
		write(t, f, own, "1")
		wantValue(t, others, own, "1")

		ip("link", "set", "eth0", "name", "eth1")
		ip("link", "set", "eth0.100", "name", "eth0")
		wantValue(t, f, own, "0")
		write(t, f, own, "2")
		wantValue(t, others, own, "2")
		wantValue(t, others, ConfKey("eth1", "arp_ignore"), "1")
		wantValue(t, f, all, "2")
	})
}

func TestHeldKeyIsNotLookedFor(t *testing.T) {
	dir := t.TempDir()
	const key = Key("net/one")
	file := filepath.Join(dir, string(key))
	if err := os.Mkdir(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("10\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.Hold([]Key{key})
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	write(t, f, key, "5")
	wantValue(t, f, key, "5")
	if got := f.Snapshot([]Key{key})[key]; got.Text != "5" || got.Err != nil {
		t.Errorf("got %v, want 5", got)
	}
	f.Hold(nil)
	if _, err := f.Read(key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v of a key that is held no more, want that it does not exist", err)
	}
}
