// Package control is how the commands drain, undrain and status reach the
// daemon: by a UNIX socket in its runtime directory that is for root alone. A
// client sends one Request, a line of JSON, and gets Replies, a line each, until
// the connection ends.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What a client may ask for.
const (
	Status  = "status"
	Drain   = "drain"
	Undrain = "undrain"
)

// Request is what a client asks for.
type Request struct {
	Do      string        `json:"do"`                // Status, Drain or Undrain
	Pools   []string      `json:"pools,omitempty"`   // to drain or undrain; empty: the node, and for Undrain its pools too
	Reason  string        `json:"reason,omitempty"`  // why, in words, for people
	Timeout time.Duration `json:"timeout,omitempty"` // for connections to end, in place of the configured; 0: that
	Follow  bool          `json:"follow,omitempty"`  // replies go on, one for each change, until it is over; Status: for ever
}

// Reply is what the daemon answers.
type Reply struct {
	Error string `json:"error,omitempty"` // why it was not done; nothing else is set, and no other reply follows
	State State  `json:"state,omitzero"`
	Done  bool   `json:"done,omitempty"`  // what was asked for is reached
	Ended string `json:"ended,omitempty"` // what was asked for will not be reached, and why
}

// path is where the socket of a daemon is.
func path(directory string) string { return filepath.Join(directory, "control") }

// ioTime is how long one line may take each way.
const ioTime = 5 * time.Second

// maxRequest is more than a request for thousands of pools takes.
const maxRequest = 1 << 20

// Listen makes the socket in a directory that is the caller's alone, in the place
// of one that a daemon before has left. Nobody else may connect.
func Listen(directory string) (*net.UnixListener, error) {
	at := path(directory)
	if err := os.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot make the control socket: %v", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: at, Net: "unix"})
	if err == nil {
		if err = os.Chmod(at, 0o600); err != nil {
			l.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make the control socket: %v", err)
	}
	return l, nil
}

// Handler does what is asked for. It sends replies until one cannot be sent, or
// it is done. Its context ends when the client hangs up.
type Handler func(ctx context.Context, r Request, send func(Reply) error)

// Serve has each client served until ctx ends, which closes the listener, and
// waits for all of them.
func Serve(ctx context.Context, l *net.UnixListener, handle Handler) error {
	ctx, stop := context.WithCancel(ctx)
	var clients sync.WaitGroup
	defer clients.Wait()
	defer stop()
	end := context.AfterFunc(ctx, func() { l.Close() })
	defer end()
	for {
		c, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot serve the control socket: %v", err)
		}
		clients.Go(func() { serve(ctx, c, handle) })
	}
}

func serve(ctx context.Context, c *net.UnixConn, handle Handler) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	end := context.AfterFunc(ctx, func() { c.Close() })
	defer end()
	defer c.Close()
	send := func(r Reply) error {
		c.SetWriteDeadline(time.Now().Add(ioTime))
		return json.NewEncoder(c).Encode(r)
	}
	if err := mayAsk(c); err != nil {
		send(Reply{Error: err.Error()}) // it is gone if this fails
		return
	}
	c.SetReadDeadline(time.Now().Add(ioTime))
	var r Request
	d := json.NewDecoder(io.LimitReader(c, maxRequest))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		send(Reply{Error: fmt.Sprintf("cannot understand the request: %v", err)})
		return
	}
	c.SetReadDeadline(time.Time{})
	var watch sync.WaitGroup
	defer watch.Wait()
	watch.Go(func() {
		io.Copy(io.Discard, c) // until the client hangs up, or c is closed
		stop()
	})
	handle(ctx, r, send)
	c.Close()
}

// mayAsk lets root in, and the daemon's own user: SO_PEERCRED in unix(7).
func mayAsk(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("cannot tell who asks: %v", err)
	}
	var peer *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) { peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("cannot tell who asks: %v", err)
	}
	if peer.Uid != 0 && int(peer.Uid) != os.Geteuid() {
		return fmt.Errorf("only root may control the daemon, not user %d", peer.Uid)
	}
	return nil
}

// ErrNoDaemon is the error of an Ask that nobody answered.
var ErrNoDaemon = errors.New("rsagent does not run on this node")

// Ask asks the daemon of the directory and calls each with every reply until the
// last. It returns an error if the daemon did not do it.
func Ask(ctx context.Context, directory string, r Request, each func(Reply)) error {
	c, err := net.Dial("unix", path(directory))
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("cannot reach the daemon: %w\nStart it: systemctl start rsagent", ErrNoDaemon)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("cannot reach the daemon at %s: only root may; use sudo", path(directory))
	case err != nil:
		return fmt.Errorf("cannot reach the daemon: %v", err)
	}
	defer c.Close()
	end := context.AfterFunc(ctx, func() { c.Close() })
	defer end()
	// One that refuses to listen has said why.
	if err := json.NewEncoder(c).Encode(r); err != nil && !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("cannot ask the daemon: %v", err)
	}
	for replies := json.NewDecoder(c); ; {
		var reply Reply
		err := replies.Decode(&reply)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("cannot understand the daemon: %v", err)
		case reply.Error != "":
			return errors.New(reply.Error)
		}
		each(reply)
	}
}
