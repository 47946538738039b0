package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lineLimit is how many bytes of a failed command's last line are told.
	lineLimit = 200

	// leftOpen is how long a command's output is waited for after it ended, when
	// a process that it left in another process group holds it open.
	leftOpen = 100 * time.Millisecond
)

// tryExec runs the command in a process group of its own, and leaves nothing of
// that group behind. The command gets no input and a fixed environment: the
// agent's own, such as NOTIFY_SOCKET, is not meant for it.
func (t Target) tryExec(ctx context.Context) error {
	if len(t.Command) == 0 || !filepath.IsAbs(t.Command[0]) {
		return fmt.Errorf("cannot probe: a command needs an absolute path, not %q", t.Command)
	}
	var said tail
	cmd := exec.CommandContext(ctx, t.Command[0], t.Command[1:]...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = leftOpen
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot run the command: %w", err)
	}
	awaitExit(cmd.Process.Pid)
	// The command has ended, by itself or killed when ctx did, but was not waited
	// for: the group's number cannot belong to anyone else yet.
	unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
	err := cmd.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return commandError(err, said.lastLine())
}

// awaitExit returns when the process has ended, without reaping it.
func awaitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return
		}
	}
}

func commandError(err error, line string) error {
	if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	if line == "" {
		return err
	}
	return fmt.Errorf("%v: %s", err, line)
}

// tail keeps the end of what is written to it. One goroutine of os/exec writes,
// and has ended when Wait returns.
type tail struct{ end []byte }

func (w *tail) Write(p []byte) (int, error) {
	const keep = 4 * lineLimit
	w.end = append(w.end, p[max(0, len(p)-keep):]...)
	if over := len(w.end) - keep; over > 0 {
		w.end = append(w.end[:0], w.end[over:]...)
	}
	return len(p), nil
}

// lastLine returns the last line that is not blank, made fit to be shown.
func (w *tail) lastLine() string {
	line := bytes.TrimSpace(w.end)
	line = bytes.TrimSpace(line[bytes.LastIndexAny(line, "\r\n")+1:])
	line = line[:min(len(line), lineLimit)]
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return '?'
		}
		return r
	}, string(line))
}
