package sysctl

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// openTree opens a directory that holds the given files.
func openTree(t *testing.T, files map[string]string) (*FS, string) {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, root
}

func TestOpenNeedsADirectory(t *testing.T) {
	_, root := openTree(t, map[string]string{"file": ""})
	if _, err := Open(filepath.Join(root, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: got %v", err)
	}
	if _, err := Open(filepath.Join(root, "file")); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("a file: got %v", err)
	}
}

func TestRead(t *testing.T) {
	long := strings.TrimSpace(strings.Repeat("1024-1025 ", 20000))
	f, _ := openTree(t, map[string]string{
		"net/ipv4/ip_forward":              "1\n",
		"net/ipv4/ip_local_port_range":     "1024\t65535\n",
		"net/ipv4/conf/eth0.100/rp_filter": " 2 \n",
		"kernel/core_pattern":              "",
		"net/ipv4/long":                    long + "\n",
		"net/ipv4/page":                    strings.Repeat("x", firstRead),
	})
	tests := map[Key]string{
		"net/ipv4/ip_forward":            "1",
		"net/ipv4/ip_local_port_range":   "1024 65535",
		ConfKey("eth0.100", "rp_filter"): "2",
		"kernel/core_pattern":            "",
		"net/ipv4/long":                  long,
		"net/ipv4/page":                  strings.Repeat("x", firstRead),
	}
	for key, want := range tests {
		t.Run(key.String(), func(t *testing.T) {
			got, err := f.Read(key)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	all := f.Snapshot(append([]Key{"net/ipv4/none"}, keysOf(tests)...))
	for key, want := range tests {
		if got := all[key]; got.Text != want || got.Err != nil {
			t.Errorf("snapshot of %s: got %d bytes, %v", key, len(got.Text), got.Err)
		}
	}
	if got := all["net/ipv4/none"].Err; !errors.Is(got, fs.ErrNotExist) {
		t.Errorf("snapshot of a missing key: got %v", got)
	}
}

func keysOf(m map[Key]string) []Key {
	var keys []Key
	for key := range maps.Keys(m) {
		keys = append(keys, key)
	}
	return keys
}

func TestReadErrors(t *testing.T) {
	f, root := openTree(t, map[string]string{
		"net/ipv4/ip_forward": "1\n",
		"net/ipv4/huge":       strings.Repeat("x", longest+1),
	})
	if err := os.Symlink("/etc/passwd", filepath.Join(root, "net/ipv4/link")); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		key  Key
		is   error
		want string
	}{
		"missing":               {"net/ipv4/tcp_tw_recycle", fs.ErrNotExist, "cannot read net.ipv4.tcp_tw_recycle: no such file or directory"},
		"below a value":         {"net/ipv4/ip_forward/x", syscall.ENOTDIR, "cannot read net.ipv4.ip_forward.x: not a directory"},
		"a directory":           {"net/ipv4", syscall.EISDIR, "cannot read net.ipv4: is a directory"},
		"a link out":            {"net/ipv4/link", syscall.ELOOP, "cannot read net.ipv4.link: too many levels of symbolic links"},
		"too long":              {"net/ipv4/huge", nil, "cannot read net.ipv4.huge: it is longer than 1048576 bytes"},
		"a key that was forged": {"net/../../etc/passwd", nil, `cannot read "net/../../etc/passwd": ".." is not a name`},
		"an absolute key":       {"/etc/passwd", nil, `cannot read "/etc/passwd": it must not begin with a separator`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := f.Read(test.key)
			if err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%v is not %v", err, test.is)
			}
		})
	}
}

func TestWriteLeavesTheValueAndNothingElse(t *testing.T) {
	f, root := openTree(t, map[string]string{"net/ipv4/ip_local_port_range": "32768\t60999\n"})
	for _, value := range []string{"1024 65535", "1", "", "1024\t65535", "  2  "} {
		if err := f.Write("net/ipv4/ip_local_port_range", value); err != nil {
			t.Errorf("%q: %v", value, err)
		}
		got, err := os.ReadFile(filepath.Join(root, "net/ipv4/ip_local_port_range"))
		if err != nil || string(got) != value+"\n" {
			t.Errorf("%q: the file holds %q, %v", value, got, err)
		}
	}
}

func TestWriteErrors(t *testing.T) {
	f, root := openTree(t, map[string]string{"net/ipv4/ip_forward": "1\n"})
	tests := map[string]struct {
		key   Key
		value string
		is    error
		want  string
	}{
		"missing":      {"net/ipv4/tcp_tw_recycle", "1", fs.ErrNotExist, `cannot set net.ipv4.tcp_tw_recycle to "1": no such file or directory`},
		"a directory":  {"net/ipv4", "1", syscall.EISDIR, `cannot set net.ipv4 to "1": is a directory`},
		"two lines":    {"net/ipv4/ip_forward", "1\n2", nil, `cannot set net.ipv4.ip_forward to "1\n2": a value is one line of text`},
		"a zero byte":  {"net/ipv4/ip_forward", "1\x00", nil, `cannot set net.ipv4.ip_forward to "1\x00": a value is one line of text`},
		"a forged key": {"../x", "1", nil, `cannot set //.x to "1": ".." is not a name`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := f.Write(test.key, test.value)
			if err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%v is not %v", err, test.is)
			}
		})
	}
	if _, err := os.Lstat(filepath.Join(root, "net/ipv4/tcp_tw_recycle")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing key was created: %v", err)
	}
	if got, err := f.Read("net/ipv4/ip_forward"); got != "1" || err != nil {
		t.Errorf("the old value is lost: %q, %v", got, err)
	}
}

func TestEqual(t *testing.T) {
	tests := map[string]struct {
		a, b string
		want bool
	}{
		"the same":                 {"1", "1", true},
		"the kernel's line":        {"1024 65535", "1024\t65535\n", true},
		"runs of spaces":           {" 1  2 ", "1 2", true},
		"nothing and a blank line": {"", "\n", true},
		"other numbers":            {"1 2", "1 3", false},
		"spaces separate":          {"12", "1 2", false},
		"numbers are not compared": {"1", "01", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Equal(test.a, test.b); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
