package sysctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// inNewNamespace runs the test in network and mount namespaces of its own, with
// the interfaces lo, eth0 and eth0.100. Its thread is never used again.
func inNewNamespace(t *testing.T, test func(t *testing.T, f *FS)) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
			t.Errorf("these tests need root: %v", err)
			return
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Error(err)
			return
		}
		out, err := exec.Command("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0.100").CombinedOutput()
		if err != nil {
			t.Errorf("ip link add: %v: %s", err, out)
			return
		}
		f, err := Open("/proc/sys")
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		test(t, f)
	}()
	<-done
}

func TestKernelReachesEveryInterface(t *testing.T) {
	inNewNamespace(t, func(t *testing.T, f *FS) {
		values := map[string]string{"all": "1", "default": "3", "lo": "0", "eth0": "2", "eth0.100": "1"}
		for name, value := range values {
			if err := f.Write(ConfKey(name, "arp_announce"), value); err != nil {
				t.Error(err)
			}
		}
		for name, want := range values {
			if got, err := f.Read(ConfKey(name, "arp_announce")); got != want || err != nil {
				t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
			}
		}
	})
}

func TestKernelKeepsNamespacesApart(t *testing.T) {
	outside, err := Open("/proc/sys")
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	before, err := outside.Read("net/ipv4/ip_forward")
	if err != nil {
		t.Fatal(err)
	}
	inNewNamespace(t, func(t *testing.T, f *FS) {
		for _, value := range []string{"1", "0"} {
			if err := f.Write("net/ipv4/ip_forward", value); err != nil {
				t.Error(err)
			}
			if got, err := outside.Read("net/ipv4/ip_forward"); got != value || err != nil {
				t.Errorf("an FS opened earlier shows %q, %v to this thread, want %q", got, err, value)
			}
		}
	})
	if got, err := outside.Read("net/ipv4/ip_forward"); got != before || err != nil {
		t.Errorf("outside, ip_forward went from %q to %q, %v", before, got, err)
	}
}

func TestKernelRefusals(t *testing.T) {
	inNewNamespace(t, func(t *testing.T, f *FS) {
		tests := map[string]struct {
			key   Key
			value string
			is    error
			want  string
		}{
			"a port too high":        {"net/ipv4/ip_local_port_range", "1024 65536", syscall.EINVAL, `cannot set net.ipv4.ip_local_port_range to "1024 65536": invalid argument`},
			"a port below the first": {"net/ipv4/ip_local_port_range", "1023 65535", syscall.EINVAL, `cannot set net.ipv4.ip_local_port_range to "1023 65535": invalid argument`},
			"above the range":        {"net/ipv4/tcp_tw_reuse", "3", syscall.EINVAL, `cannot set net.ipv4.tcp_tw_reuse to "3": invalid argument`},
			"nothing for a number":   {"net/ipv4/ip_forward", "", syscall.EINVAL, `cannot set net.ipv4.ip_forward to "": invalid argument`},
			"a word for a number":    {"net/ipv4/ip_forward", "yes", syscall.EINVAL, `cannot set net.ipv4.ip_forward to "yes": invalid argument`},
			"two for one":            {ConfKey("eth0.100", "rp_filter"), "1 2", nil, `cannot set net.ipv4.conf.eth0/100.rp_filter to "1 2": the kernel made it "1"`},
			"a key only to be read":  {"net/ipv4/tcp_available_congestion_control", "cubic", fs.ErrPermission, `cannot set net.ipv4.tcp_available_congestion_control to "cubic": permission denied`},
			"a key that was removed": {"net/ipv4/tcp_tw_recycle", "1", fs.ErrNotExist, `cannot set net.ipv4.tcp_tw_recycle to "1": no such file or directory`},
			"no such interface":      {ConfKey("tunl9", "rp_filter"), "0", fs.ErrNotExist, `cannot set net.ipv4.conf.tunl9.rp_filter to "0": no such file or directory`},
		}
		for name, test := range tests {
			err := f.Write(test.key, test.value)
			if err == nil || err.Error() != test.want {
				t.Errorf("%s:\ngot  %v\nwant %s", name, err, test.want)
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%s: %v is not %v", name, err, test.is)
			}
		}
		if got, err := f.Read("net/ipv4/ip_local_port_range"); got != "32768 60999" || err != nil {
			t.Errorf("after refusals the range is %q, %v", got, err)
		}
	})
}

func TestKernelTakesListsAndWhiteSpace(t *testing.T) {
	inNewNamespace(t, func(t *testing.T, f *FS) {
		for _, value := range []string{"8080,9148-9150", ""} {
			if err := f.Write("net/ipv4/ip_local_reserved_ports", value); err != nil {
				t.Error(err)
			}
			if got, err := f.Read("net/ipv4/ip_local_reserved_ports"); got != value || err != nil {
				t.Errorf("got %q, %v, want %q", got, err, value)
			}
		}
		for _, value := range []string{"1024 65535", " 2048\t 65535 "} {
			if err := f.Write("net/ipv4/ip_local_port_range", value); err != nil {
				t.Error(err)
			}
		}
		if err := f.Write("net/ipv4/route/flush", "1"); err != nil {
			t.Errorf("a key that cannot be read: %v", err)
		}
	})
}

// A list of ports that is longer than the first read must not be cut off.
func TestKernelReadsLongLists(t *testing.T) {
	inNewNamespace(t, func(t *testing.T, f *FS) {
		var list []byte
		for port := 10000; port < 13000; port += 2 {
			list = fmt.Appendf(list, "%d,", port)
		}
		want := string(list[:len(list)-1])
		if err := f.Write("net/ipv4/ip_local_reserved_ports", want); err == nil {
			t.Error("the kernel takes only part of so long a list in one write, yet there was no error")
		}
		if got, err := f.Read("net/ipv4/ip_local_reserved_ports"); got != "" || err != nil {
			t.Errorf("a list that was too long left %.20q, %v", got, err)
		}
		key, err := os.OpenFile("/proc/sys/net/ipv4/ip_local_reserved_ports", os.O_WRONLY, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer key.Close()
		for part := range slices.Chunk(list, 600*len("10000,")) { // whole ports; later parts add to the first
			if _, err := key.Write(part[:len(part)-1]); err != nil {
				t.Error(err)
			}
		}
		got, err := f.Read("net/ipv4/ip_local_reserved_ports")
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v (-want +got)\n%s", err, diff)
		}
	})
}

func TestKernelReadOnlyMount(t *testing.T) {
	inNewNamespace(t, func(t *testing.T, f *FS) {
		dir := filepath.Join(t.TempDir(), "sys")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Error(err)
			return
		}
		if err := unix.Mount("/proc/sys", dir, "", unix.MS_BIND, ""); err != nil {
			t.Error(err)
			return
		}
		defer unix.Unmount(dir, unix.MNT_DETACH)
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
			t.Error(err)
			return
		}
		frozen, err := Open(dir)
		if err != nil {
			t.Error(err)
			return
		}
		defer frozen.Close()
		if err := frozen.Write("net/ipv4/ip_forward", "1"); !errors.Is(err, syscall.EROFS) {
			t.Errorf("got %v, want a read-only file system", err)
		}
		if got, err := frozen.Read("net/ipv4/ip_forward"); got != "0" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

// The kernel tells what it acts on for forwarding and rp_filter only by what it
// does; that its files hold what Effective is given is seen here.
func TestKernelEffectiveOfLiveValues(t *testing.T) {
	inNewNamespace(t, func(t *testing.T, f *FS) {
		for key, value := range map[Key]string{
			ConfKey("all", "rp_filter"):      "1",
			ConfKey("eth0.100", "rp_filter"): "2",
			ConfKey("eth0", "rp_filter"):     "0",
		} {
			if err := f.Write(key, value); err != nil {
				t.Error(err)
			}
		}
		v := f.Snapshot([]Key{ConfKey("all", "rp_filter"), ConfKey("eth0", "rp_filter"), ConfKey("eth0.100", "rp_filter")})
		for iface, want := range map[string]int{"eth0": 1, "eth0.100": 2} {
			if got, err := Effective(v, iface, "rp_filter"); got != want || err != nil {
				t.Errorf("%s: got %d, %v, want %d", iface, got, err, want)
			}
		}
	})
}

func BenchmarkSnapshotOf500Interfaces(b *testing.B) {
	f, err := Open("/proc/sys")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	var keys []Key
	for range 500 {
		keys = append(keys, ConfKey("lo", "rp_filter"), ConfKey("lo", "arp_ignore"))
	}
	for b.Loop() {
		f.Snapshot(keys)
	}
	b.ReportAllocs()
}
