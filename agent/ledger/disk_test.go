package ledger

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// smallDisk mounts a file system of 512 KiB in memory, which only this test sees
// and which goes with it.
func smallDisk(t *testing.T) string {
	t.Helper()
	directory := t.TempDir()
	runtime.LockOSThread() // and never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		t.Fatalf("cannot make a mount namespace (the tests need root): %v", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", directory, "tmpfs", 0, "size=512k,mode=700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(directory, unix.MNT_DETACH) })
	return directory
}

// fill leaves no page of the disk free.
func fill(t fatal, directory string) {
	f, err := os.OpenFile(filepath.Join(directory, "ballast"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil && !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 64<<10))
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
}

func free(t fatal, directory string) {
	if err := os.Remove(filepath.Join(directory, "ballast")); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
}

type fatal interface{ Fatal(...any) }

func remount(t *testing.T, directory string, flags uintptr) {
	t.Helper()
	// Nothing may be open for writing when it becomes read-only: see the callers.
	if err := unix.Mount("none", directory, "tmpfs", unix.MS_REMOUNT|flags, ""); err != nil {
		t.Fatal(err)
	}
}

func TestRecordCatchesUpWhenTheDiskWasFull(t *testing.T) {
	directory := smallDisk(t)
	l := open(t, directory)
	record(t, l, arpIgnore)
	fill(t, directory)

	batch := vips(200) // a part of them finds room in the page that is begun
	want := "cannot write to " + filepath.Join(directory, "changes") + " what the node was before: no space left on device"
	wantError(t, l.Record(batch...), want)
	wantEntries(t, l, append([]Entry{arpIgnore}, batch...)...)
	wantError(t, l.Record(), want)
	wantError(t, l.Record(batch...), want)
	wantError(t, l.Forget(arpIgnore.Kind, arpIgnore.Name), want)
	wantEntries(t, l, batch...)
	if size := len(textIn(t, directory)); size != 4096 {
		t.Errorf("%d bytes were written, want the one page that was there", size)
	}

	// Killed now, it loses no more than the errors were about.
	killed := open(t, directory)
	if killed.Damage() == nil {
		t.Error("the line that was cut off is not reported")
	}
	wantEntries(t, killed, append([]Entry{arpIgnore}, batch[:len(killed.Entries())-1]...)...)

	free(t, directory)
	record(t, l)
	l = open(t, directory)
	wantNoDamage(t, l)
	wantEntries(t, l, batch...)
}

func TestMemoryIsBoundedWhileTheDiskStaysFull(t *testing.T) {
	directory := smallDisk(t)
	l := open(t, directory)
	record(t, l, arpIgnore)
	fill(t, directory)
	flapping := Entry{"sysctl", "k", "0", "1"}
	for i := range 10_000 {
		flapping.After = string(rune('a' + i%2))
		_ = l.Record(flapping)
		if len(l.unwritten) > 100_000 {
			t.Fatalf("%d bytes wait to be written after %d changes", len(l.unwritten), i)
		}
	}
	wantEntries(t, open(t, directory), arpIgnore, Entry{"sysctl", "k", "0", flapping.After})

	free(t, directory)
	record(t, l)
	l = open(t, directory)
	wantNoDamage(t, l)
	wantEntries(t, l, arpIgnore, flapping)
}

func TestReadOnlyDiskIsNoReasonNotToOpen(t *testing.T) {
	directory := smallDisk(t)
	l := open(t, directory)
	record(t, l, arpIgnore)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	remount(t, directory, unix.MS_RDONLY)
	l = open(t, directory)
	wantNoDamage(t, l)
	wantEntries(t, l, arpIgnore)
	want := "cannot write to " + filepath.Join(directory, "changes") + " what the node was before: read-only file system"
	wantError(t, l.Record(vip), want)
	wantEntries(t, l, arpIgnore, vip)
	wantError(t, l.Close(), want)

	remount(t, directory, 0)
	l = open(t, directory)
	wantEntries(t, l, arpIgnore)
}

func TestReadOnlyDiskThatHoldsAnotherBoot(t *testing.T) {
	directory := smallDisk(t)
	put(t, directory, "boot \"another\"\nrecord \"sysctl\" \"k\" \"0\" \"1\"\n")
	remount(t, directory, unix.MS_RDONLY)
	l := open(t, directory)
	wantEntries(t, l)
	if err := l.Record(vip); err == nil {
		t.Error("no error of a disk that is read-only")
	}
	remount(t, directory, 0)
	record(t, l)
	l = open(t, directory)
	wantNoDamage(t, l)
	wantEntries(t, l, vip)
}

func TestNothingThatWasAcknowledgedIsLost(t *testing.T) {
	directory := smallDisk(t)
	rapid.Check(t, func(t *rapid.T) {
		free(t, directory)
		_ = os.Remove(filepath.Join(directory, "changes"))
		var (
			l     = reopen(t, directory)
			model list
			// What each thing has been since the last call that gave no error.
			since = map[string][]string{}
			acked = true
			full  bool
		)
		said := func(err error, names ...string) {
			if err != nil && !full {
				t.Fatal(err)
			}
			for _, n := range names {
				since[n] = append(since[n], model.state(n))
			}
			if acked = err == nil; acked {
				clear(since)
			}
		}
		names := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", strings.Repeat("long", 50)})
		t.Repeat(map[string]func(*rapid.T){
			"record": func(t *rapid.T) {
				var batch []Entry
				var touched []string
				for _, n := range rapid.SliceOfN(names, 1, 20).Draw(t, "names") {
					e := Entry{"sysctl", n, rapid.StringN(0, 3, -1).Draw(t, "before"), rapid.SampledFrom([]string{"0", "1", "\n\xff"}).Draw(t, "after")}
					batch, touched = append(batch, e), append(touched, n)
					if _, ok := since[n]; !ok {
						since[n] = []string{model.state(n)}
					}
					model.record(e)
					since[n] = append(since[n], model.state(n))
				}
				said(l.Record(batch...), touched...)
			},
			"forget": func(t *rapid.T) {
				n := names.Draw(t, "name")
				if _, ok := since[n]; !ok {
					since[n] = []string{model.state(n)}
				}
				model.forget(n)
				said(l.Forget("sysctl", n), n)
			},
			"fill": func(t *rapid.T) { fill(t, directory); full = true },
			"free": func(t *rapid.T) { free(t, directory); full = false },
			"kill": func(t *rapid.T) {
				l.file.Close() // the kernel does so; nil is let pass
				l = reopen(t, directory)
				got := list(l.Entries())
				if acked {
					if err := l.Damage(); err != nil {
						t.Fatal(err)
					}
					return // the check below compares all of it
				}
				for _, e := range model {
					if _, unsure := since[e.Name]; !unsure && got.state(e.Name) != model.state(e.Name) {
						t.Fatalf("%q was %s, is %s", e.Name, model.state(e.Name), got.state(e.Name))
					}
				}
				for n, states := range since {
					if !slices.Contains(states, got.state(n)) {
						t.Fatalf("%q is %s, which is none of %s", n, got.state(n), states)
					}
				}
				model = got
				clear(since)
			},
			"": func(t *rapid.T) {
				if got := list(l.Entries()); !slices.Equal(model, got) {
					t.Fatalf("entries\nwant %q\ngot  %q", model, got)
				}
			},
		})
		l.file.Close()
	})
}

func reopen(t *rapid.T, directory string) *Ledger {
	l, err := Open(directory, boot)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// list is what a ledger should be.
type list []Entry

func (l *list) record(e Entry) {
	for i := range *l {
		if (*l)[i].Name == e.Name {
			(*l)[i].After = e.After
			return
		}
	}
	*l = append(*l, e)
}

func (l *list) forget(name string) {
	for i := range *l {
		if (*l)[i].Name == name {
			*l = slices.Delete(*l, i, i+1)
			return
		}
	}
}

func (l list) state(name string) string {
	for _, e := range l {
		if e.Name == name {
			return e.Before + " -> " + e.After
		}
	}
	return "absent"
}

func TestAnyDamageLeavesTheOtherLines(t *testing.T) {
	directory := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(`boot "` + boot + `"` + "\n")
		var lines [][]byte
		for i := range rapid.IntRange(1, 5).Draw(t, "lines") {
			line := appendLine(nil, recordWord, "sysctl", string(rune('a'+i)), rapid.String().Draw(t, "before"), "1")
			lines = append(lines, line)
		}
		hurt := rapid.IntRange(0, len(lines)-1).Draw(t, "hurt")
		kept := rapid.IntRange(0, len(lines[hurt])-2).Draw(t, "kept")
		lines[hurt] = append(lines[hurt][:kept:kept], '\n')
		text = append(text, bytes.Join(lines, nil)...)

		if err := os.WriteFile(filepath.Join(directory, "changes"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		l := reopen(t, directory)
		defer l.Close()
		if l.Damage() == nil {
			t.Fatal("the damage is not reported")
		}
		if got := l.Entries(); len(got) != len(lines)-1 {
			t.Fatalf("%d entries of %d whole lines: %q", len(got), len(lines)-1, got)
		}
	})
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte(`boot "` + boot + `"` + "\nrecord \"sysctl\" \"k\" \"0\" \"1\"\nforget \"sysctl\" \"k\"\n"))
	f.Add([]byte("boot \"another\"\nrecord \"\\xff\" \"\" \"\" \"\""))
	f.Add([]byte("record \"a\xff\" 'b' `c` \"\\u2028\"\r\n\x00"))
	directory := f.TempDir()
	f.Fuzz(func(t *testing.T, text []byte) {
		put(t, directory, string(text))
		l := open(t, directory)
		kept := l.Entries()
		record(t, l, vip)
		want := append([]Entry{}, kept...)
		if !slices.ContainsFunc(kept, func(e Entry) bool { return e.Kind == vip.Kind && e.Name == vip.Name }) {
			want = append(want, vip)
		}
		l = open(t, directory)
		wantNoDamage(t, l)
		if len(l.Entries()) != len(want) {
			wantEntries(t, l, want...)
		}
	})
}
