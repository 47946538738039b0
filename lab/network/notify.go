package network

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Notification is one assignment of a message to systemd, such as READY=1
// (sd_notify(3)).
type Notification struct {
	Time        time.Time
	Name, Value string
}

// NotifySocket stands where systemd's is.
type NotifySocket struct {
	conn *net.UnixConn
	over sync.WaitGroup

	mu      sync.Mutex
	heard   []Notification
	changed chan struct{} // closed at the next message
}

// ListenNotify opens a socket for what a daemon on the host tells systemd.
func (h *Host) ListenNotify() (*NotifySocket, error) {
	path := filepath.Join(h.Dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("cannot stand in for systemd: %v", err)
	}
	n := &NotifySocket{conn: conn, changed: make(chan struct{})}
	n.over.Go(n.listen)
	return n, nil
}

// Tell makes a command tell the socket. A watchdog above 0 is what it should
// keep up with.
func (n *NotifySocket) Tell(cmd *exec.Cmd, watchdog time.Duration) {
	cmd.Env = append(cmd.Environ(), "NOTIFY_SOCKET="+n.conn.LocalAddr().String())
	if watchdog > 0 {
		cmd.Env = append(cmd.Env, fmt.Sprintf("WATCHDOG_USEC=%d", watchdog.Microseconds()))
	}
}

func (n *NotifySocket) listen() {
	buffer := make([]byte, 64<<10)
	for {
		size, err := n.conn.Read(buffer)
		if err != nil {
			return // closed
		}
		n.note(time.Now(), string(buffer[:size]))
	}
}

func (n *NotifySocket) note(now time.Time, message string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for line := range strings.SplitSeq(strings.TrimSpace(message), "\n") {
		name, value, _ := strings.Cut(line, "=")
		n.heard = append(n.heard, Notification{now, name, value})
	}
	close(n.changed)
	n.changed = make(chan struct{})
}

// Heard is all that was said under a name; all there is with "".
func (n *NotifySocket) Heard(name string) []Notification {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(n.heard), func(h Notification) bool {
		return name != "" && h.Name != name
	})
}

// Wait waits until something is said under the name whose value contains the
// text, and returns the first.
func (n *NotifySocket) Wait(name, text string, timeout time.Duration) (Notification, error) {
	deadline := time.After(timeout)
	for {
		n.mu.Lock()
		changed := n.changed
		n.mu.Unlock()
		for _, h := range n.Heard(name) {
			if strings.Contains(h.Value, text) {
				return h, nil
			}
		}
		select {
		case <-changed:
		case <-deadline:
			return Notification{}, fmt.Errorf("cannot hear %s=%s within %v, only %v", name, text, timeout, n.Heard(""))
		}
	}
}

// Close ends the listening.
func (n *NotifySocket) Close() error {
	err := n.conn.Close()
	n.over.Wait()
	return err
}
