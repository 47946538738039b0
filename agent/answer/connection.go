package answer

import (
	"io"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// connection is one that was accepted. Who asks has often sent the question by then and
// takes the answer at once, so it is a bare descriptor at first, of one goroutine. One
// that has to wait for the other end is held: the runtime knows it from then on, and
// it may be hung up on.
type connection struct {
	fd   int // while it is not held
	from netip.Addr
	file *os.File // nil: it is not held
	bare bool     // see connections.bear

	before, after *connection // of those that are held
	gone          bool        // it is not among them any more
}

func (c *connection) held() bool { return c.file != nil }

// tryRead reads what is there; no bytes and no error: there is nothing yet.
func (c *connection) tryRead(into []byte) (int, error) {
	for {
		n, err := unix.Read(c.fd, into)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return 0, nil
		case err == nil && n == 0:
			return 0, io.EOF
		default:
			return max(n, 0), err
		}
	}
}

// tryWrite writes what the kernel takes at once.
func (c *connection) tryWrite(text []byte) (int, error) {
	for {
		n, err := unix.Write(c.fd, text)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return 0, nil
		default:
			return max(n, 0), err
		}
	}
}

// by sets until when reads and writes wait. It fails on a connection only that is
// closed, as they do.
func (c *connection) by(t time.Time) { c.file.SetDeadline(t) }

func (c *connection) close() {
	if c.held() {
		c.file.Close()
		return
	}
	unix.Close(c.fd)
}

// hangUp ends a held connection with a reset, which leaves nothing of it in the
// kernel: there may be thousands.
func (c *connection) hangUp() {
	c.control(func(fd int) error {
		return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	})
	c.file.Close()
}

// control calls f with the descriptor of a held connection, unless that is closed.
func (c *connection) control(f func(fd int) error) error {
	raw, err := c.file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return err
	}
	return failed
}

// linger ends the answer on a held connection and reads what still comes.
func (c *connection) linger(into []byte) {
	if c.control(func(fd int) error { return unix.Shutdown(fd, unix.SHUT_WR) }) != nil {
		return
	}
	c.by(time.Now().Add(lingerTime))
	for left := maxLinger; left > 0; {
		n, err := c.file.Read(into)
		if left -= n; err != nil {
			return
		}
	}
}
