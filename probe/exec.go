package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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

// tryExec runs the command; what it writes is of use only where it fails.
func (t Target) tryExec(ctx context.Context) error {
	if len(t.Command) == 0 || !filepath.IsAbs(t.Command[0]) {
		return fmt.Errorf("cannot probe: a command needs an absolute path, not %q", t.Command)
	}
	var said tail
	err := run(ctx, t.Command, &said, &said)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return commandError(err, said.lastLine())
}

// outputLimit is how many bytes a command may print that is asked for something.
const outputLimit = 4 << 10

// Output runs a command as an Exec probe does, and returns what it prints. It is
// an error if the command fails, takes longer than the timeout, or prints more
// than 4 KiB. If ctx ends first, Output ends at once and returns the cause.
func Output(ctx context.Context, command []string, timeout time.Duration) (string, error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var out head
	var said tail
	err := run(limited, command, &out, &said)
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case limited.Err() != nil:
		return "", fmt.Errorf("it did not end within %v", timeout)
	}
	if err := commandError(err, said.lastLine()); err != nil {
		return "", err
	}
	if out.more {
		return "", fmt.Errorf("it prints more than %d bytes", outputLimit)
	}
	return string(out.text), nil
}

// run runs a command, its absolute path and its arguments, in a process group of
// its own, and leaves nothing of that group behind. The command gets no input and
// a fixed environment: the agent's own, such as NOTIFY_SOCKET, is not meant for it.
func run(ctx context.Context, command []string, out, said io.Writer) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Stdout, cmd.Stderr = out, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = leftOpen
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot run the command: %w", err)
	}
	awaitExit(cmd.Process.Pid)
	// The command has ended, by itself or killed when ctx did, but was not waited
	// for: the group's number cannot belong to anyone else yet.
	unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
	return cmd.Wait()
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

// head keeps the beginning of what is written to it. More says that there was
// more. Like tail it is for one goroutine.
type head struct {
	text []byte
	more bool
}

func (w *head) Write(p []byte) (int, error) {
	room := outputLimit - len(w.text)
	w.more = w.more || len(p) > room
	w.text = append(w.text, p[:min(len(p), room)]...)
	return len(p), nil
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
