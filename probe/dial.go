package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

func (t Target) tryTCP(ctx context.Context) error {
	conn, err := t.dial(ctx)
	if err != nil {
		return err
	}
	conn.Close()
	return nil
}

// dial connects to the service. What waits on the connection ends when ctx does,
// as if a deadline had passed.
func (t Target) dial(ctx context.Context) (*boundConn, error) {
	if !t.Addr.IsValid() || t.Addr.Port() == 0 {
		return nil, errors.New("cannot probe: no address and port to ask")
	}
	dialer := net.Dialer{KeepAlive: -1}
	if t.Source.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(t.Source, 0))
	}
	conn, err := dialer.DialContext(ctx, "tcp", t.Addr.String())
	if err != nil {
		return nil, t.dialError(err)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	return &boundConn{Conn: conn, stop: stop}, nil
}

// boundConn is a connection that ends with a context.
type boundConn struct {
	net.Conn
	stop func() bool
}

func (c *boundConn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// dialError puts into words why there is no connection. From a Source that the
// node does not have, the bind fails, or the connect where
// net.ipv4.ip_nonlocal_bind is on: with EINVAL or ENETUNREACH, depending on the
// kernel. The latter can be taken for this only if there must be a route.
func (t Target) dialError(err error) error {
	var call *os.SyscallError
	if t.Source.IsValid() && errors.As(err, &call) {
		missing := call.Syscall == "bind" && call.Err == syscall.EADDRNOTAVAIL ||
			call.Syscall == "connect" && call.Err == syscall.EINVAL ||
			call.Syscall == "connect" && call.Err == syscall.ENETUNREACH && t.Source == t.Addr.Addr()
		if missing {
			return fmt.Errorf("the address %s is not on this node", t.Source)
		}
	}
	if said, ok := plain(err); ok {
		return said
	}
	return err
}

// plain puts into words what went wrong with a connection, without what the net
// package puts around it, such as ports that are different each time. Timeouts
// stay timeouts. It reports whether it had words for err.
func plain(err error) (said error, ok bool) {
	var errno syscall.Errno
	switch {
	case isTimeout(err):
		return err, true
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		// A server that closes at once is seen as one of these or the other, as
		// chance has it: the same words keep Detail from changing all the time.
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return errors.New("connection closed before the answer was complete"), true
	case errors.As(err, &errno):
		return errno, true
	}
	return err, false
}

// isTimeout reports whether err says that the time of an attempt was up.
func isTimeout(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}
