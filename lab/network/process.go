package network

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a program that runs on a host. It ends with the site at the
// latest, and with this process if that dies.
type Process struct {
	Name    string
	Started time.Time

	cmd  *exec.Cmd
	log  *log
	done chan struct{} // closed when it has ended
}

// Start starts a command on the host. What it writes goes to Log; its
// RUNTIME_DIRECTORY is the host's own.
func (h *Host) Start(cmd *exec.Cmd) (*Process, error) {
	p := &Process{Name: filepath.Base(cmd.Path), cmd: cmd, log: newLog(), done: make(chan struct{})}
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, "RUNTIME_DIRECTORY="+filepath.Join(h.Dir, "run"))
	cmd.Stdout, cmd.Stderr = p.log, p.log
	// A group of its own, so that its children end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	// A child that lives on must not keep Wait waiting for its output.
	cmd.WaitDelay = time.Second
	err := h.Do(func() error {
		p.Started = time.Now()
		return cmd.Start()
	})
	if err != nil {
		return nil, fmt.Errorf("cannot start %s on %s: %v", p.Name, h.Name, err)
	}
	go func() {
		_ = cmd.Wait() // the state says it all
		p.log.end()
		close(p.done)
	}()
	h.mu.Lock()
	h.processes = append(h.processes, p)
	h.mu.Unlock()
	return p, nil
}

// forget drops a process that has ended from those of the host.
func (h *Host) forget(p *Process) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.processes {
		if h.processes[i] == p {
			h.processes = append(h.processes[:i], h.processes[i+1:]...)
			return
		}
	}
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal to the process itself.
func (p *Process) Signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("cannot send %v to %s: %v", s, p.Name, err)
	}
	return nil
}

// Kill ends the process and its children with SIGKILL and waits for it. One
// that has ended is success.
func (p *Process) Kill() error {
	select {
	case <-p.done:
		return nil
	default:
	}
	if err := syscall.Kill(-p.PID(), syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("cannot kill %s: %v", p.Name, err)
	}
	_, err := p.Wait(10 * time.Second)
	return err
}

// Stop sends SIGTERM and waits for the end.
func (p *Process) Stop(timeout time.Duration) (status int, err error) {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	return p.Wait(timeout)
}

// Wait waits for the end of the process and returns its Status.
func (p *Process) Wait(timeout time.Duration) (status int, err error) {
	select {
	case <-p.done:
		return p.Status(), nil
	case <-time.After(timeout):
		return 0, fmt.Errorf("cannot wait for %s: it still runs after %v; it wrote: %s", p.Name, timeout, p.Log())
	}
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Status is the exit status of a process that has ended, and -1 if a signal
// ended it.
func (p *Process) Status() int { return p.cmd.ProcessState.ExitCode() }

// Log is what the process has written until now.
func (p *Process) Log() string { return p.log.String() }

// WaitLog waits until the process has written the text.
func (p *Process) WaitLog(text string, timeout time.Duration) error {
	deadline := time.After(timeout)
	for {
		written, changed := p.log.look()
		if strings.Contains(written, text) {
			return nil
		}
		select {
		case <-changed:
		case <-deadline:
			return fmt.Errorf("cannot see %q in what %s wrote within %v: %s", text, p.Name, timeout, written)
		case <-p.done:
			if written := p.Log(); !strings.Contains(written, text) {
				return fmt.Errorf("cannot see %q in what %s wrote before it ended: %s", text, p.Name, written)
			}
			return nil
		}
	}
}

// log holds what a process wrote.
type log struct {
	mu      sync.Mutex
	text    []byte
	changed chan struct{} // closed at the next write
}

func newLog() *log { return &log{changed: make(chan struct{})} }

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	close(l.changed)
	l.changed = make(chan struct{})
	return len(p), nil
}

func (l *log) end() { _, _ = l.Write(nil) }

func (l *log) look() (string, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text), l.changed
}

func (l *log) String() string {
	text, _ := l.look()
	return text
}
