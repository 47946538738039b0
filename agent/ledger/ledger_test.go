package ledger

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// A test that mounts something does so on a thread of its own, which dies with
// it; the main thread, locked here, cannot and runs no test.
func init() { runtime.LockOSThread() }

const boot = "4f1d9c0e-7d0a-4f0e-9d8e-0c1b2a394857"

var (
	arpIgnore = Entry{"sysctl", "net/ipv4/conf/all/arp_ignore", "0", "1"}
	rpFilter  = Entry{"sysctl", "net/ipv4/conf/tunl0/rp_filter", "1", "2"}
	vip       = Entry{"address", "203.0.113.10/32 tunl0", "", "present"}
)

func open(t testing.TB, directory string) *Ledger {
	t.Helper()
	l, err := Open(directory, boot)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func record(t testing.TB, l *Ledger, entries ...Entry) {
	t.Helper()
	if err := l.Record(entries...); err != nil {
		t.Error(err)
	}
}

func forget(t testing.TB, l *Ledger, e Entry) {
	t.Helper()
	if err := l.Forget(e.Kind, e.Name); err != nil {
		t.Error(err)
	}
}

func wantEntries(t testing.TB, l *Ledger, want ...Entry) {
	t.Helper()
	if diff := cmp.Diff(append([]Entry{}, want...), l.Entries()); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func wantNoDamage(t testing.TB, l *Ledger) {
	t.Helper()
	if err := l.Damage(); err != nil {
		t.Error(err)
	}
}

func wantError(t testing.TB, err error, want string) {
	t.Helper()
	if got := fmt.Sprint(err); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func put(t testing.TB, directory, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(directory, "changes"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func textIn(t testing.TB, directory string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(directory, "changes"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestLedgerOutlivesTheProcess(t *testing.T) {
	odd := Entry{"", "net/ipv4/conf/\xff\x00\"\\\n\u2028eth0.100/é", "4096\t87380\n6291456", ""}
	tests := map[string]struct {
		say  func(*testing.T, *Ledger)
		want []Entry
	}{
		"nothing was recorded": {
			func(*testing.T, *Ledger) {}, nil,
		},
		"the oldest change stands first": {
			func(t *testing.T, l *Ledger) {
				record(t, l, rpFilter, arpIgnore)
				record(t, l, vip)
			},
			[]Entry{rpFilter, arpIgnore, vip},
		},
		"the first Before stays, the newest After counts": {
			func(t *testing.T, l *Ledger) {
				record(t, l, Entry{"sysctl", "k", "0", "1"}, vip, Entry{"sysctl", "k", "7", "2"})
				record(t, l, Entry{"sysctl", "k", "1", "3"})
			},
			[]Entry{{"sysctl", "k", "0", "3"}, vip},
		},
		"things of different kinds may have the same name": {
			func(t *testing.T, l *Ledger) {
				record(t, l, Entry{"device", "tunl0", "down", "up"}, Entry{"address", "tunl0", "", "present"})
			},
			[]Entry{{"device", "tunl0", "down", "up"}, {"address", "tunl0", "", "present"}},
		},
		"what was undone is forgotten": {
			func(t *testing.T, l *Ledger) {
				record(t, l, arpIgnore, vip)
				forget(t, l, arpIgnore)
			},
			[]Entry{vip},
		},
		"what was not known can be forgotten": {
			func(t *testing.T, l *Ledger) {
				record(t, l, vip)
				forget(t, l, Entry{Kind: "sysctl", Name: vip.Name})
			},
			[]Entry{vip},
		},
		"after it was forgotten a thing is new": {
			func(t *testing.T, l *Ledger) {
				record(t, l, Entry{"sysctl", "k", "0", "1"}, vip)
				forget(t, l, Entry{Kind: "sysctl", Name: "k"})
				record(t, l, Entry{"sysctl", "k", "5", "1"})
			},
			[]Entry{vip, {"sysctl", "k", "5", "1"}},
		},
		"any bytes come back": {
			func(t *testing.T, l *Ledger) { record(t, l, odd, Entry{}) },
			[]Entry{odd, {}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			directory := t.TempDir()
			l := open(t, directory)
			test.say(t, l)
			wantEntries(t, l, test.want...)

			for range 2 { // killed, and killed again before it said anything
				l = open(t, directory)
				wantNoDamage(t, l)
				wantEntries(t, l, test.want...)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			l = open(t, directory)
			record(t, l, Entry{"sysctl", "later", "0", "1"})
			l = open(t, directory)
			wantNoDamage(t, l)
			wantEntries(t, l, append(test.want, Entry{"sysctl", "later", "0", "1"})...)
		})
	}
}

func TestFileIsForPeopleToo(t *testing.T) {
	directory := t.TempDir()
	l := open(t, directory)
	record(t, l, arpIgnore, vip)
	forget(t, l, vip)
	want := `boot "4f1d9c0e-7d0a-4f0e-9d8e-0c1b2a394857"
record "sysctl" "net/ipv4/conf/all/arp_ignore" "0" "1"
record "address" "203.0.113.10/32 tunl0" "" "present"
forget "address" "203.0.113.10/32 tunl0"
`
	if diff := cmp.Diff(want, textIn(t, directory)); diff != "" {
		t.Errorf("file (-want +got):\n%s", diff)
	}
	info, err := os.Stat(filepath.Join(directory, "changes"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("mode %v, want -rw-------", info.Mode())
	}
}

func TestAnotherBootHasUndoneAll(t *testing.T) {
	directory := t.TempDir()
	record(t, open(t, directory), arpIgnore, vip)

	l, err := Open(directory, "another")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	wantNoDamage(t, l)
	wantEntries(t, l)
	record(t, l, rpFilter)

	wantEntries(t, open(t, directory)) // the first boot's id again: not that boot
}

func TestOpenKeepsWhatCanBeRead(t *testing.T) {
	const (
		head = `boot "` + boot + `"` + "\n"
		one  = `record "sysctl" "one" "0" "1"` + "\n"
		two  = `record "sysctl" "two" "0" "1"` + "\n"
	)
	first, second := Entry{"sysctl", "one", "0", "1"}, Entry{"sysctl", "two", "0", "1"}
	tests := map[string]struct {
		text   string
		want   []Entry
		damage string
	}{
		"the file is empty": {"", nil, "<nil>"},
		"the last line was cut off": {
			head + one + `record "sysctl" "two" "0" "`, []Entry{first},
			`cannot make sense of 1 of the 3 lines of FILE: line 3, "record \"sysctl\" \"two\" \"0\" \""`,
		},
		"only the last line break was cut off": {
			head + one + strings.TrimSuffix(two, "\n"), []Entry{first, second}, "<nil>",
		},
		"a line in the middle was cut off and another joined to it": {
			head + `record "sysctl" "zero` + one + two, []Entry{second},
			`cannot make sense of 1 of the 3 lines of FILE: line 2, "record \"sysctl\" \"zerorecord \"sysctl\" \"one\" \"0\" \"1\""`,
		},
		"a line is empty": {
			head + one + "\n" + two, []Entry{first, second},
			`cannot make sense of 1 of the 4 lines of FILE: line 3, ""`,
		},
		"a page was never written": {
			head + one + strings.Repeat("\x00", 4096) + "\n" + two, []Entry{first, second},
			`cannot make sense of 1 of the 4 lines of FILE: line 3, "` + strings.Repeat(`\x00`, 80) + `"`,
		},
		"the line of the boot was cut off": {
			`boot "4f1d9c` + "\n" + one, []Entry{first},
			`cannot make sense of 1 of the 2 lines of FILE: line 1, "boot \"4f1d9c"`,
		},
		"the line of the boot is missing": {
			one + two, []Entry{first, second},
			`cannot make sense of 1 of the 2 lines of FILE: line 1, "record \"sysctl\" \"one\" \"0\" \"1\""`,
		},
		"a second boot stands further down": {
			head + one + "boot \"another\"\n" + two, []Entry{first, second},
			`cannot make sense of 1 of the 4 lines of FILE: line 3, "boot \"another\""`,
		},
		"a word of another version": {
			head + one + `note "hello"` + "\n", []Entry{first},
			`cannot make sense of 1 of the 3 lines of FILE: line 3, "note \"hello\""`,
		},
		"fields are too many, too few, or not quoted as Record does it": {
			head + strings.TrimSuffix(one, "\n") + " \"2\"\n" + `record "sysctl" "two" "0"` + "\n" +
				"record `sysctl` \"two\" \"0\" \"1\"\n" + `record  "sysctl" "two" "0" "1"` + "\n" + two,
			[]Entry{second},
			`cannot make sense of 4 of the 6 lines of FILE: ` +
				`line 2, "record \"sysctl\" \"one\" \"0\" \"1\" \"2\""; ` +
				`line 3, "record \"sysctl\" \"two\" \"0\""; ` +
				"line 4, \"record `sysctl` \\\"two\\\" \\\"0\\\" \\\"1\\\"\"; and 1 more",
		},
		"the first line about a thing is lost, a later one holds all": {
			head + "rec\n" + `record "sysctl" "one" "0" "2"` + "\n", []Entry{{"sysctl", "one", "0", "2"}},
			`cannot make sense of 1 of the 3 lines of FILE: line 2, "rec"`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			directory := t.TempDir()
			put(t, directory, test.text)
			l := open(t, directory)
			wantEntries(t, l, test.want...)
			wantError(t, l.Damage(), strings.ReplaceAll(test.damage, "FILE", filepath.Join(directory, "changes")))

			record(t, l, vip)
			l = open(t, directory)
			wantNoDamage(t, l)
			wantEntries(t, l, append(test.want, vip)...)
		})
	}
}

func TestOpenBelievesOnlyAFileOfItsOwn(t *testing.T) {
	tests := map[string]struct {
		make func(path string) error
		want string
	}{
		"a symbolic link": {
			func(path string) error { return os.Symlink("/etc/passwd", path) },
			"cannot read FILE: too many levels of symbolic links",
		},
		"a FIFO": {
			func(path string) error { return unix.Mkfifo(path, 0o600) },
			"cannot read FILE: it is not a regular file",
		},
		"a directory": {
			func(path string) error { return os.Mkdir(path, 0o700) },
			"cannot read FILE: it is not a regular file",
		},
		"a file of another user": {
			func(path string) error {
				if err := os.WriteFile(path, nil, 0o600); err != nil {
					return err
				}
				return os.Chown(path, 4242, -1)
			},
			"cannot read FILE: it belongs to user 4242, who could have written anything",
		},
		"a file that a group may write": {
			func(path string) error {
				if err := os.WriteFile(path, nil, 0o600); err != nil {
					return err
				}
				return os.Chmod(path, 0o620)
			},
			"cannot read FILE: others may write it (mode 0620)",
		},
		"a file that is far too long": {
			func(path string) error {
				if err := os.WriteFile(path, nil, 0o600); err != nil {
					return err
				}
				return os.Truncate(path, longest+1)
			},
			"cannot read FILE: it is longer than 67108864 bytes",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			directory := t.TempDir()
			path := filepath.Join(directory, "changes")
			if err := test.make(path); err != nil {
				t.Fatal(err)
			}
			_, err := Open(directory, boot)
			wantError(t, err, strings.ReplaceAll(test.want, "FILE", path))
		})
	}
}

func TestDraftOfAKilledProcessIsReplaced(t *testing.T) {
	directory := t.TempDir()
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.Symlink(victim, filepath.Join(directory, "changes.new")); err != nil {
		t.Fatal(err)
	}
	record(t, open(t, directory), vip)
	wantEntries(t, open(t, directory), vip)
	if _, err := os.Lstat(victim); !os.IsNotExist(err) {
		t.Errorf("a symbolic link was followed: %v", err)
	}
}

func TestOpenWantsABootID(t *testing.T) {
	_, err := Open(t.TempDir(), "")
	wantError(t, err, "cannot open the ledger: the boot id is empty")
}

func TestOnlyNewsCostsAWrite(t *testing.T) {
	runtime.LockOSThread() // the kernel counts by thread
	defer runtime.UnlockOSThread()
	l := open(t, t.TempDir())
	batch := vips(10_000)
	changed := append([]Entry{}, batch...)
	changed[17].After = "elsewhere"

	tests := []struct {
		name string
		say  func() error
		want int
	}{
		{"10,000 entries", func() error { return l.Record(batch...) }, 1},
		{"the same again", func() error { return l.Record(batch...) }, 0},
		{"another Before", func() error { return l.Record(Entry{batch[0].Kind, batch[0].Name, "other", "present"}) }, 0},
		{"one new After among them", func() error { return l.Record(changed...) }, 1},
		{"nothing", func() error { return l.Record() }, 0},
		{"an entry forgotten", func() error { return l.Forget(batch[0].Kind, batch[0].Name) }, 1},
		{"the same forgotten again", func() error { return l.Forget(batch[0].Kind, batch[0].Name) }, 0},
	}
	for _, test := range tests {
		say := func() int {
			before := writes(t)
			if err := test.say(); err != nil {
				t.Error(err)
			}
			return writes(t) - before
		}
		got := say()
		// Go wakes its own poller by a write now and then, on whichever thread.
		for try := 0; test.want == 0 && got > 0 && try < 3; try++ {
			got = say()
		}
		if got != test.want && (test.want == 0 || got != test.want+1) {
			t.Errorf("%s: %d writes, want %d", test.name, got, test.want)
		}
	}
}

// writes is how often this thread has called write(2) or one like it
// (proc_pid_io(5)).
func writes(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/thread-self/io")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "syscw: ")
	var n int
	if _, err := fmt.Sscan(rest, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func vips(n int) []Entry {
	entries := make([]Entry, n)
	for i := range entries {
		entries[i] = Entry{"address", fmt.Sprintf("10.%d.%d.%d/32 tunl0", i>>16, i>>8&255, i&255), "", "present"}
	}
	return entries
}

func TestFileStaysInProportion(t *testing.T) {
	tests := map[string]struct {
		say  func(l *Ledger, i int) error
		want []Entry
	}{
		"a value that flaps": {
			func(l *Ledger, i int) error {
				return l.Record(Entry{"sysctl", "k", "0", fmt.Sprint(i)})
			},
			[]Entry{vip, {"sysctl", "k", "0", "19999"}},
		},
		"a thing that is changed and undone": {
			func(l *Ledger, i int) error {
				if err := l.Record(arpIgnore); err != nil {
					return err
				}
				return l.Forget(arpIgnore.Kind, arpIgnore.Name)
			},
			[]Entry{vip},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			directory := t.TempDir()
			l := open(t, directory)
			record(t, l, vip)
			longest := 0
			for i := range 20_000 {
				if err := test.say(l, i); err != nil {
					t.Fatal(err)
				}
				if i%100 == 0 {
					longest = max(longest, len(textIn(t, directory)))
				}
			}
			if longest > 100_000 {
				t.Errorf("the file grew to %d bytes", longest)
			}
			wantEntries(t, l, test.want...)
			l = open(t, directory)
			wantNoDamage(t, l)
			wantEntries(t, l, test.want...)
			if lines := strings.Count(textIn(t, directory), "\n"); lines != 1+len(test.want) {
				t.Errorf("after Open the file has %d lines, want %d", lines, 1+len(test.want))
			}
		})
	}
}

func BenchmarkRecord10000New(b *testing.B) {
	batch := vips(10_000)
	for b.Loop() {
		b.StopTimer()
		l := open(b, tmpfs(b))
		b.StartTimer()
		if err := l.Record(batch...); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRecord10000Known(b *testing.B) {
	batch := vips(10_000)
	l := open(b, tmpfs(b))
	record(b, l, batch...)
	for b.Loop() {
		if err := l.Record(batch...); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen10000(b *testing.B) {
	directory := tmpfs(b)
	record(b, open(b, directory), vips(10_000)...)
	for b.Loop() {
		l, err := Open(directory, boot)
		if err != nil {
			b.Fatal(err)
		}
		l.Close()
	}
}

func BenchmarkForget10000(b *testing.B) {
	batch := vips(10_000)
	for b.Loop() {
		b.StopTimer()
		l := open(b, tmpfs(b))
		record(b, l, batch...)
		b.StartTimer()
		for _, e := range batch {
			if err := l.Forget(e.Kind, e.Name); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// tmpfs is a directory in memory, as /run is.
func tmpfs(b *testing.B) string {
	b.Helper()
	directory, err := os.MkdirTemp("/dev/shm", "ledger")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(directory) })
	return directory
}

func BenchmarkMemoryOf10000(b *testing.B) {
	directory := tmpfs(b)
	record(b, open(b, directory), vips(10_000)...)
	for b.Loop() {
		before := live()
		l, err := Open(directory, boot)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(live()-before), "B-kept")
		l.Close()
	}
}

func live() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
