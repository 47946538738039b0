package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"rsagent/probe"
)

const webPool = `
vips = ["203.0.113.10"]
[[pool]]
name = "web"
vip = "203.0.113.10"
port = 80
probe = { type = "http", path = "/alive", status = "200", interval = "2s" }
`

// hour is when the tests take place.
var hour = time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)

func TestPoolsAreRememberedWhileTheyAreAskedTheSame(t *testing.T) {
	up := probe.Result{State: probe.Up, Since: hour.Add(-time.Hour)}
	shaky := probe.Result{State: probe.Up, Detail: "no answer within 1s", Since: hour.Add(-time.Minute)}
	down := probe.Result{State: probe.Down, Detail: "connection refused \"\u00e9\x01", Since: hour}
	changed := func(old, new string) string { return strings.Replace(webPool, old, new, 1) }
	for _, test := range []struct {
		name   string
		known  probe.Result
		config string // of the daemon that follows
		later  time.Duration
		want   probe.Result
	}{
		{"one that is up", up, webPool, time.Second, up},
		{"one that is up in spite of its last answer", shaky, webPool, time.Second, shaky},
		{"one that is down", down, webPool, 10 * time.Second, down},
		{"one that was not asked yet", probe.Result{}, webPool, 0, probe.Result{}},
		{"one that is asked at another pace", up, changed(`"2s"`, `"9s", timeout = "3s", rise = 7, fall = 8`), 0, up},
		{"another name", up, changed(`"web"`, `"web2"`), 0, probe.Result{}},
		{"another port", up, changed(`= 80`, `= 81`), 0, probe.Result{}},
		{"another way to ask", up, changed(`type = "http", path = "/alive", status = "200"`, `type = "tcp"`), 0, probe.Result{}},
		{"another path", up, changed(`/alive`, `/ready`), 0, probe.Result{}},
		{"another status", up, changed(`status = "200"`, `status = "200-204"`), 0, probe.Result{}},
		{"another host", up, changed(`path =`, `host = "www.example.org", path =`), 0, probe.Result{}},
		{"asked from another address", up, changed(`vips = ["203.0.113.10"]`, "[tunnel]\nmode = \"none\"") /* and address */, 0, probe.Result{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			directory := t.TempDir()
			known := map[string]probe.Result{"web": test.known, "gone": up}
			if err := remember(directory, declared(t, webPool), known, hour); err != nil {
				t.Fatal(err)
			}
			text := test.config
			if strings.Contains(text, "mode") {
				text = strings.Replace(text, "vip = ", "address = ", 1)
			}
			got, err := recall(directory, declared(t, text), hour.Add(test.later))
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]probe.Result{}
			if test.want.State != probe.Unknown {
				want["web"] = test.want
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("known (-want +got):\n%s", diff)
			}
			left, err := os.ReadDir(directory)
			if err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func TestMemoryIsForItsOwnerAlone(t *testing.T) {
	directory := t.TempDir()
	defer unix.Umask(unix.Umask(0))
	draft := filepath.Join(directory, "pools.json.new") // of a daemon that was killed
	if err := os.WriteFile(draft, []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := remember(directory, declared(t, webPool), nil, hour); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(directory)
	if err != nil || len(files) != 1 {
		t.Fatalf("got %v, %v, want one file", files, err)
	}
	info, err := files[0].Info()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := info.Mode().String()+" "+info.Name(), "-rw------- pools.json"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestNothingOddIsBelieved(t *testing.T) {
	good := `{"Written":"2026-01-02T03:04:05Z","Pools":[]}`
	pool := func(name, state string) string {
		return `{"Name":"` + name + `","Asked":{},"State":"` + state + `","Detail":"","Since":"2026-01-02T03:04:05Z"}`
	}
	write := func(text string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	try := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		place func(t *testing.T, path string)
		want  string // part of the error
	}{
		"no file":         {func(*testing.T, string) {}, ""},
		"a good file":     {write(good), ""},
		"an empty file":   {write(""), "EOF"},
		"half a file":     {write(good[:30]), "unexpected EOF"},
		"no JSON":         {write("up"), "invalid character 'u'"},
		"something after": {write(good + "{}"), "something stands after its end"},
		"an unknown key":  {write(`{"Written":"2026-01-02T03:04:05Z","Pools":[],"x":1}`), `unknown field "x"`},
		"no time":         {write(`{"Pools":[]}`), "it was written"},
		"too old":         {write(`{"Written":"2026-01-02T03:03:54Z","Pools":[]}`), "it was written 11s ago, want 0 s to 10s"},
		"of the future":   {write(`{"Written":"2026-01-02T03:04:06Z","Pools":[]}`), "it was written -1s ago"},
		"no such state":   {write(strings.Replace(good, "[]", "["+pool("web", "unknown")+"]", 1)), `pool "web" is in the state "unknown"`},
		"a pool twice":    {write(strings.Replace(good, "[]", "["+pool("web", "up")+","+pool("web", "down")+"]", 1)), `pool "web" is there twice`},
		"no address":      {write(strings.Replace(good, "[]", "["+strings.Replace(pool("web", "up"), "{}", `{"Addr":"x"}`, 1)+"]", 1)), "not an ip:port"},
		"others may write it": {func(t *testing.T, path string) {
			write(good)(t, path)
			try(t, os.Chmod(path, 0o620))
		}, "can be written by others (user 0, mode 0620)"},
		"of another user": {func(t *testing.T, path string) {
			write(good)(t, path)
			try(t, os.Chown(path, 1, 0))
		}, "can be written by others (user 1, mode 0600)"},
		"a link to a good file": {func(t *testing.T, path string) {
			write(good)(t, path+".real")
			try(t, os.Symlink(path+".real", path))
		}, "too many levels of symbolic links"},
		"a FIFO":      {func(t *testing.T, path string) { try(t, unix.Mkfifo(path, 0o600)) }, "is not a regular file"},
		"a directory": {func(t *testing.T, path string) { try(t, os.Mkdir(path, 0o700)) }, "is not a regular file"},
		"a large file": {func(t *testing.T, path string) {
			write(good)(t, path)
			try(t, os.Truncate(path, memorySize+1))
		}, "is longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "pools.json")
			test.place(t, path)
			known, err := recall(filepath.Dir(path), declared(t, webPool), hour)
			switch {
			case len(known) > 0:
				t.Errorf("believed %v", known)
			case test.want == "" && err != nil:
				t.Errorf("got %v", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want it to have %q", err, test.want)
			}
			if _, err := os.Lstat(path); !os.IsNotExist(err) {
				t.Errorf("it is there still: %v", err)
			}
		})
	}
}
