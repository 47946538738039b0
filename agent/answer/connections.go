package answer

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// connections are those that are open, the oldest first.
type connections struct {
	mu    sync.Mutex
	first *connection
	last  *connection
	count int
	over  sync.WaitGroup
}

type connection struct {
	net.Conn
	before, after *connection
	gone          bool
}

// serve has each connection served that comes in by the listener, until that is
// closed.
func (o *connections) serve(l net.Listener, allow func(netip.Addr) bool, serve func(net.Conn, netip.Addr)) error {
	for {
		c, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case isPassing(err):
			o.closeOldest()
			time.Sleep(restTime)
			continue
		case err != nil:
			return err
		}
		from := remote(c)
		if allow != nil && !allow(from) {
			c.Close()
			continue
		}
		one := o.add(c)
		go func() {
			serve(c, from)
			o.remove(one)
		}()
	}
}

// isPassing tells whether a later try to accept may go well: accept(2).
func isPassing(err error) bool {
	for _, e := range []error{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.ECONNABORTED, unix.EPERM, unix.EPROTO} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func remote(c net.Conn) netip.Addr {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// add has a connection count, and closes the oldest if that makes too many.
func (o *connections) add(c net.Conn) *connection {
	o.over.Add(1)
	one := &connection{Conn: c}
	o.mu.Lock()
	var old *connection
	if o.count == maxOpen {
		old = o.first
		o.unlink(old)
	}
	one.before = o.last
	if o.last != nil {
		o.last.after = one
	} else {
		o.first = one
	}
	o.last = one
	o.count++
	o.mu.Unlock()
	if old != nil {
		hangUp(old.Conn)
	}
	return one
}

// unlink takes a connection out of the list. The lock is held.
func (o *connections) unlink(c *connection) {
	if c.gone {
		return
	}
	c.gone = true
	if c.before != nil {
		c.before.after = c.after
	} else {
		o.first = c.after
	}
	if c.after != nil {
		c.after.before = c.before
	} else {
		o.last = c.before
	}
	o.count--
}

// remove closes a connection that was served.
func (o *connections) remove(c *connection) {
	o.mu.Lock()
	o.unlink(c)
	o.mu.Unlock()
	c.Close()
	o.over.Done()
}

func (o *connections) closeOldest() {
	o.mu.Lock()
	old := o.first
	if old != nil {
		o.unlink(old)
	}
	o.mu.Unlock()
	if old != nil {
		hangUp(old.Conn)
	}
}

func (o *connections) closeAll() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for c := o.first; c != nil; c = o.first {
		o.unlink(c)
		hangUp(c.Conn)
	}
}

// hangUp ends a connection with a reset, which leaves nothing of it in the
// kernel: there may be thousands.
func hangUp(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.Close()
}

// finish waits until all are served, and hangs up on those that are not by the
// limit.
func (o *connections) finish(limit time.Duration) {
	end := time.AfterFunc(limit, o.closeAll)
	defer end.Stop()
	o.over.Wait()
}
