package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"rsagent/agent/config"
)

// place makes a file below root, with its directories.
func place(t interface{ Fatal(...any) }, root, path, text string) {
	file := filepath.Join(root, path)
	err := os.MkdirAll(filepath.Dir(file), 0o755)
	if err == nil {
		err = os.WriteFile(file, []byte(text), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// saying is what a source says, as one text.
func saying(percent int, err error) string {
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d%%", percent)
}

func TestTheWeightByLoad(t *testing.T) {
	for _, test := range []struct{ name, load, online, want string }{
		{"an idle node", "0.00 0.01 0.05 1/128 25248\n", "0-3\n", "100%"},
		{"as many processes as processors", "4.00 0.01 0.05 1/128 25248\n", "0-3\n", "100%"},
		{"a little more", "4.05 4.00 4.00 1/128 25248\n", "0-3\n", "98%"},
		{"twice as many", "8.00 4.00 4.00 1/128 25248\n", "0-3\n", "50%"},
		{"so many that it would round to nothing", "4000.00 4.00 4.00 1/128 25248\n", "0\n", "1%"},
		{"processors that are off do not count", "4.00 4.00 4.00 1/128 25248\n", "0,2-3,8\n", "100%"},
		{"no load average", "", "0-3\n", `cannot tell the load by ""`},
		{"a load that is no number", "nan 1 1\n", "0-3\n", `cannot tell the load by "nan 1 1?"`},
		{"no list of processors", "1.00 1 1\n", "\n", `cannot count the processors: "" is no list of processors`},
		{"an odd list of processors", "1.00 1 1\n", "3-0\n", `cannot count the processors: "3-0" is no list of processors`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, saying(weightOf(test.load, test.online))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	root := t.TempDir()
	if got := saying(weightByLoad(root)); !strings.HasPrefix(got, "cannot tell the load: ") {
		t.Errorf("without /proc: %q", got)
	}
	place(t, root, "proc/loadavg", "1.00 0 0\n")
	if got := saying(weightByLoad(root)); !strings.HasPrefix(got, "cannot count the processors: ") {
		t.Errorf("without /sys: %q", got)
	}
	if percent, err := weightByLoad("/"); err != nil || percent < 1 || percent > 100 {
		t.Errorf("of this machine: %d, %v", percent, err)
	}
}

// However many processes want to run, the node is not taken out by that, and more
// of them never get it more clients.
func TestMoreLoadIsNoMoreWeight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		online := fmt.Sprintf("0-%d\n", rapid.IntRange(0, 511).Draw(t, "last processor"))
		before := fullWeight
		for load := 0.0; load < 1e5; load += rapid.Float64Range(0.01, 2e4).Draw(t, "more") {
			got, err := weightOf(fmt.Sprintf("%.2f 0.00 0.00 1/2 3\n", load), online)
			if err != nil || got < 1 || got > before {
				t.Fatalf("at a load of %.2f: %d, %v, and before that %d", load, got, err, before)
			}
			before = got
		}
	})
}

func TestTheWeightInAFile(t *testing.T) {
	file := func(text string) func(*testing.T, string) {
		return func(t *testing.T, path string) { place(t, "/", path, text) }
	}
	for _, test := range []struct {
		name string
		make func(t *testing.T, path string)
		want string
	}{
		{"a number", file("30"), "30%"},
		{"a line", file("30\n"), "30%"},
		{"with space around it", file("\r\n  100\t\r\n"), "100%"},
		{"nothing wanted", file("0\n"), "0%"},
		{"too much", file("101\n"), "it holds something else"},
		{"far too much", file(strings.Repeat("1", 5000)), "it holds something else"},
		{"a number before a lot more", file("30" + strings.Repeat(" ", 5000)), "it holds something else"},
		{"less than nothing", file("-1\n"), "it holds something else"},
		{"a part", file("30.5\n"), "it holds something else"},
		{"a percent sign", file("30%\n"), "it holds something else"},
		{"words, which are nobody's business", file("root:$6$hash\n"), "it holds something else"},
		{"two numbers", file("30 40\n"), "it holds something else"},
		{"nothing", file(""), "it is empty"},
		{"no file", func(*testing.T, string) {}, "there is no such file"},
		{"a link to a file", func(t *testing.T, path string) {
			place(t, "/", path+".there", "40")
			if err := os.Symlink(path+".there", path); err != nil {
				t.Fatal(err)
			}
		}, "40%"},
		{"a directory", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
		}, "it is not a regular file"},
		{"a FIFO that nobody writes to", func(t *testing.T, path string) {
			if err := unix.Mkfifo(path, 0o644); err != nil {
				t.Fatal(err)
			}
		}, "it is not a regular file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "weight")
			test.make(t, path)
			if diff := cmp.Diff(test.want, saying(weightInFile(path))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// program writes a shell script that root alone can change.
func program(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "weigh")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheWeightThatAProgramPrints(t *testing.T) {
	for _, test := range []struct{ name, script, want string }{
		{"a number", "echo 30", "30%"},
		{"by its arguments, and no shell", `[ "$1" = 'a $b' ] && echo 31`, "31%"},
		{"nothing wanted", "echo 0", "0%"},
		{"something else", `printf 'load: 3\n'`, `it prints "load: 3"`},
		{"something odd", `printf '30\0337\n'`, `it prints "30?7"`},
		{"nothing", "true", `it prints ""`},
		{"too much", "echo 300", `it prints "300"`},
		{"a number, and it fails", "echo 30; echo no disk >&2; exit 4", "exit status 4: no disk"},
		{"a number, and no end", "echo 30; sleep 60", "it did not end within 400ms"},
	} {
		t.Run(test.name, func(t *testing.T) {
			command, timeout := []string{program(t, test.script), "a $b"}, time.Minute
			if strings.Contains(test.script, "sleep") {
				timeout = 400 * time.Millisecond
			}
			if diff := cmp.Diff(test.want, saying(weightByCommand(t.Context(), command, timeout))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAProgramThatOthersCanChangeIsNotRun(t *testing.T) {
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// Dir is root's, and path in it the program.
	for _, test := range []struct {
		name  string
		spoil func(t *testing.T, dir, path string) (command string)
		want  string // DIR stands for dir
	}{
		{"root's alone", func(_ *testing.T, _, path string) string { return path }, "30%"},
		{"of another user", func(t *testing.T, _, path string) string {
			must(t, os.Chown(path, 1, 0))
			return path
		}, "DIR/weigh belongs to user 1, want root"},
		{"that a group may write", func(t *testing.T, _, path string) string {
			must(t, os.Chmod(path, 0o775))
			return path
		}, "DIR/weigh can be written by others than root (mode 0775)"},
		{"that anybody may write", func(t *testing.T, _, path string) string {
			must(t, os.Chmod(path, 0o757))
			return path
		}, "DIR/weigh can be written by others than root (mode 0757)"},
		{"in a directory of another user", func(t *testing.T, dir, path string) string {
			must(t, os.Chown(dir, 1, 0))
			return path
		}, "DIR belongs to user 1, want root"},
		{"in a directory that anybody may write", func(t *testing.T, dir, path string) string {
			must(t, os.Chmod(dir, 0o777))
			return path
		}, "DIR can be written by others than root (mode 0777)"},
		{"in a directory like /tmp, where root's files stay", func(t *testing.T, dir, path string) string {
			must(t, os.Chmod(dir, 0o777|os.ModeSticky))
			return path
		}, "30%"},
		{"by root's link", func(t *testing.T, dir, path string) string {
			must(t, os.Symlink("weigh", dir+"/link"))
			return dir + "/link"
		}, "30%"},
		{"by root's link through another directory", func(t *testing.T, dir, path string) string {
			must(t, os.Mkdir(dir+"/sub", 0o755))
			must(t, os.Symlink("./../weigh", dir+"/sub/link"))
			return dir + "/sub/link"
		}, "30%"},
		{"by the link of another user", func(t *testing.T, dir, path string) string {
			must(t, os.Symlink(path, dir+"/link"))
			must(t, os.Lchown(dir+"/link", 1, 0))
			return dir + "/link"
		}, "DIR/link belongs to user 1, want root"},
		{"by a link to a directory of another user", func(t *testing.T, dir, path string) string {
			must(t, os.Mkdir(dir+"/home", 0o755))
			must(t, os.Rename(path, dir+"/home/weigh"))
			must(t, os.Chown(dir+"/home", 1, 0))
			must(t, os.Symlink(dir+"/home/weigh", dir+"/link"))
			return dir + "/link"
		}, "DIR/home belongs to user 1, want root"},
		{"by links that go round", func(t *testing.T, dir, path string) string {
			must(t, os.Symlink("link", dir+"/link"))
			return dir + "/link"
		}, "DIR/link: too many symbolic links"},
		{"that is not there", func(t *testing.T, dir, path string) string { return dir + "/none" }, "DIR/none: no such file or directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := program(t, "echo 30")
			dir := filepath.Dir(path)
			command := test.spoil(t, dir, path)
			want := strings.ReplaceAll(test.want, "DIR", dir)
			if want != "30%" {
				want = "not run, since it would have the rights of the daemon: " + want
			}
			if diff := cmp.Diff(want, saying(weightByCommand(t.Context(), []string{command}, time.Minute))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheLoadIsLookedAtAtItsPace(t *testing.T) {
	root := t.TempDir()
	place(t, root, "sys/devices/system/cpu/online", "0\n")
	place(t, root, "proc/loadavg", "1.00 0 0\n")
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		var heard []string
		began := time.Now()
		source := weightSourceOf(config.Config{Weight: config.Weight{From: config.WeightLoad, Interval: 10 * time.Second}}, root)
		go source.follow(ctx, func(percent int, err error) {
			heard = append(heard, fmt.Sprintf("%v %s", time.Since(began), saying(percent, err)))
		})
		synctest.Wait()
		place(t, root, "proc/loadavg", "4.00 0 0\n")
		time.Sleep(15 * time.Second)
		place(t, root, "proc/loadavg", "2.00 0 0\n")
		time.Sleep(10 * time.Second)
		end()
		synctest.Wait()
		if diff := cmp.Diff([]string{"0s 100%", "10s 25%", "20s 50%"}, heard); diff != "" {
			t.Errorf("heard (-want +got):\n%s", diff)
		}
	})
}

// A change of a file is told by the kernel: the sweep, which is the truth behind
// that, is an hour off.
func TestAChangeOfTheFileIsHeardAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weight")
	c := config.Config{Weight: config.Weight{From: config.WeightFile, File: path}, Repair: config.Repair{Sweep: time.Hour}}
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan struct{})
	heard := make(chan string, 1000)
	go func() {
		defer close(ended)
		weightSourceOf(c, "/").follow(ctx, func(percent int, err error) { heard <- saying(percent, err) })
	}()
	hear := func(want string) {
		t.Helper()
		limit := time.After(5 * time.Second)
		for {
			select {
			case got := <-heard:
				if got == want {
					return
				}
				if got != "there is no such file" && got != "40%" { // looked at in between
					t.Errorf("heard %q, want %q", got, want)
				}
			case <-limit:
				t.Fatalf("%q is not heard", want)
			}
		}
	}
	hear("there is no such file")
	// Made empty first, as a shell does; nobody must believe that.
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(writeTime / 5)
	f.WriteString("40\n")
	f.Close()
	hear("40%")
	place(t, "/", path+".new", "0\n")
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	hear("0%")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	hear("there is no such file")
	end()
	<-ended
}
