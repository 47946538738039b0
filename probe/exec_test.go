package probe

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestExec(t *testing.T) {
	noLeaks(t)
	sh := func(script string) Target { return Target{Kind: Exec, Command: []string{"/bin/sh", "-c", script}} }
	tests := map[string]struct {
		target Target
		want   string
	}{
		"good":                       {sh("echo fine"), ""},
		"bad, with a reason":         {sh("echo one; echo 'disk full' >&2; exit 3"), "exit status 3: disk full"},
		"bad, blank lines last":      {sh("echo 'disk full'; echo; echo '  '; exit 3"), "exit status 3: disk full"},
		"bad, without a word":        {sh("exit 3"), "exit status 3"},
		"bad, a long line":           {sh("printf %0500d 7; exit 1"), "exit status 1: " + strings.Repeat("0", lineLimit)},
		"bad, much output":           {sh("i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done; exit 1"), "exit status 1: line 4999"},
		"bad, odd bytes":             {sh(`printf 'a\033[31m\377b'; exit 1`), "exit status 1: a?[31m?b"},
		"bad, last line of progress": {sh(`printf '10%%\r20%%\r'; exit 1`), "exit status 1: 20%"},
		"killed":                     {sh("kill -9 $$"), "signal: killed"},
		"reads nothing":              {sh("read x && exit 1; exit 0"), ""},
		"its own environment":        {sh(`test "$PATH" = /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin && test -z "$NOTIFY_SOCKET"`), ""},
		"in the root directory":      {sh(`test "$(pwd)" = /`), ""},
		"leaves a process behind":    {sh("sleep 60 & exit 0"), ""},
		"leaves one and fails":       {sh("sleep 60 & echo no; exit 1"), "exit status 1: no"},
		"one escapes with output":    {sh("setsid sleep 0.5 & exit 0"), ""},
		"missing":                    {Target{Kind: Exec, Command: []string{"/none"}}, "cannot run the command: fork/exec /none: no such file or directory"},
		"not a program":              {Target{Kind: Exec, Command: []string{"/etc/passwd"}}, "cannot run the command: fork/exec /etc/passwd: permission denied"},
		"not absolute":               {Target{Kind: Exec, Command: []string{"true"}}, `cannot probe: a command needs an absolute path, not ["true"]`},
		"none":                       {Target{Kind: Exec}, `cannot probe: a command needs an absolute path, not []`},
	}
	t.Setenv("NOTIFY_SOCKET", "/run/systemd/notify")
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			tryWant(t, test.target, test.want)
			if took := time.Since(start); took > within/2 {
				t.Errorf("took %v", took)
			}
		})
	}
	if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != syscall.ECHILD {
		t.Errorf("a child is left: %d, %v", pid, err)
	}
}

// At the timeout nothing of the command's process group may live on.
func TestExecKillsTheWholeGroup(t *testing.T) {
	dir := t.TempDir()
	script := "sleep 60 & echo $! > " + dir + "/child; (sleep 60 & echo $! > " + dir + "/grandchild; wait) & wait"
	tryWant(t, Target{Kind: Exec, Command: []string{"/bin/sh", "-c", script}, Timeout: 300 * time.Millisecond}, "no answer within 300ms")
	for _, name := range []string{"child", "grandchild"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		if !goneSoon(pid) {
			t.Errorf("the %s lives on", name)
		}
	}
}

func TestOutput(t *testing.T) {
	noLeaks(t)
	dir := t.TempDir()
	const short = time.Second // of those that have no end
	for name, test := range map[string]struct{ script, want, wantError string }{
		"what it prints":                  {"echo 50; echo odd >&2", "50\n", ""},
		"nothing":                         {"", "", ""},
		"as much as is taken":             {"printf %04096d 7", strings.Repeat("0", outputLimit-1) + "7", ""},
		"more than is taken":              {"printf %04097d 7", "", "it prints more than 4096 bytes"},
		"no end of it":                    {"while :; do echo 1234567890; done", "", "it did not end within 1s"},
		"a failure":                       {"echo 50; echo no such disk >&2; exit 3", "", "exit status 3: no such disk"},
		"a failure after much was said":   {"printf %09000d 7; exit 3", "", "exit status 3"},
		"a process that keeps the output": {"setsid sleep 0.5 & echo 50", "50\n", ""},
		"too slow, with a child":          {"sleep 60 & echo $! > " + dir + "/child; echo 50; wait", "", "it did not end within 1s"},
	} {
		t.Run(name, func(t *testing.T) {
			timeout := time.Minute
			if strings.Contains(test.wantError, "did not end") {
				timeout = short
			}
			got, err := Output(t.Context(), []string{"/bin/sh", "-c", test.script}, timeout)
			gotError := ""
			if err != nil {
				gotError = err.Error()
			}
			if got != test.want || gotError != test.wantError {
				t.Errorf("got %q, %q, want %q, %q", got, gotError, test.want, test.wantError)
			}
		})
	}
	text, err := os.ReadFile(filepath.Join(dir, "child"))
	if err != nil {
		t.Fatal(err)
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err != nil || !goneSoon(pid) {
		t.Errorf("the child lives on (%v)", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(os.ErrClosed)
	if _, err := Output(ctx, []string{"/bin/sleep", "60"}, time.Minute); err != os.ErrClosed {
		t.Errorf("at the end of the context: %v, want %v", err, os.ErrClosed)
	}
}

// goneSoon reports whether the process ends; one that nobody has waited for yet
// counts as ended.
func goneSoon(pid int) bool {
	for range 200 {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return true
		}
		time.Sleep(5 * time.Millisecond)
	}
	return false
}
