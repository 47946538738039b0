package sysctl

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"
)

// watching runs a Watcher for the keys and returns it with the channel on
// which it tells of changes.
func watching(t *testing.T, f *FS, keys ...Key) (*Watcher, <-chan struct{}) {
	t.Helper()
	w, err := f.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Set(keys); err != nil {
		t.Error(err)
	}
	changed := make(chan struct{}, 1000)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx, func() { changed <- struct{}{} }) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(5 * time.Second):
			t.Error("Run does not end with its context")
		}
		w.Close()
	})
	return w, changed
}

func wantChange(t *testing.T, changed <-chan struct{}, want bool) {
	t.Helper()
	limit := 200 * time.Millisecond
	if want {
		limit = 5 * time.Second
	}
	got := false
	select {
	case <-changed:
		got = true
	case <-time.After(limit):
	}
	if got != want {
		t.Errorf("told of a change: %v, want %v", got, want)
	}
}

func write(t *testing.T, f *FS, k Key, value string) {
	t.Helper()
	if err := f.Write(k, value); err != nil {
		t.Error(err)
	}
}

func TestWatcherTellsOfWrites(t *testing.T) {
	inNewNamespace(t, func(t *testing.T, f *FS) {
		dotted, all := ConfKey("eth0.100", "arp_ignore"), ConfKey("all", "arp_announce")
		w, changed := watching(t, f, dotted, all, ConfKey("none0", "arp_ignore"))

		write(t, f, dotted, "1")
		wantChange(t, changed, true)
		write(t, f, all, "2")
		wantChange(t, changed, true)
		write(t, f, ConfKey("all", "log_martians"), "1") // beside a watched one
		wantChange(t, changed, false)

		if err := w.Set([]Key{all}); err != nil {
			t.Error(err)
		}
		write(t, f, dotted, "2")
		wantChange(t, changed, false)
		write(t, f, all, "1")
		wantChange(t, changed, true)
	})
}

func TestWatcherStaysWhenCachesAreDropped(t *testing.T) {
	inNewNamespace(t, func(t *testing.T, f *FS) {
		key := ConfKey("eth0", "arp_ignore")
		_, changed := watching(t, f, key)
		if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0); err != nil {
			t.Error(err)
		}
		write(t, f, key, "1")
		wantChange(t, changed, true)
	})
}

// An interface that was unplugged and plugged in again is another one.
func TestWatcherFollowsAnInterfaceThatCameBack(t *testing.T) {
	inNewNamespace(t, func(t *testing.T, f *FS) {
		key := ConfKey("eth0", "arp_ignore")
		w, changed := watching(t, f, key)
		for _, args := range [][]string{
			{"link", "del", "eth0"},
			{"link", "add", "eth0", "type", "veth", "peer", "name", "eth0.100"},
		} {
			if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
				t.Errorf("ip %v: %v: %s", args, err, out)
			}
			if err := w.Set([]Key{key}); err != nil {
				t.Error(err)
			}
		}
		write(t, f, key, "1")
		wantChange(t, changed, true)
	})
}

func TestWatcherLeavesNoDescriptorBehind(t *testing.T) {
	inNewNamespace(t, func(t *testing.T, f *FS) {
		before := descriptors(t)
		w, err := f.NewWatcher()
		if err != nil {
			t.Error(err)
		}
		keys := []Key{ConfKey("all", "arp_ignore"), ConfKey("eth0", "arp_ignore"), "net/ipv4/tcp_fin_timeout"}
		for range 50 {
			for _, set := range [][]Key{keys, nil, keys[:1], keys} {
				if err := w.Set(set); err != nil {
					t.Error(err)
				}
			}
		}
		w.Close()
		runtime.KeepAlive(w)
		if after := descriptors(t); after > before {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
	})
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
