package answer

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// connections are those that are open; the held ones are listed, the oldest first.
type connections struct {
	mu    sync.Mutex
	first *connection
	last  *connection
	count int
	over  sync.WaitGroup

	listener *os.File // from which serve accepts; nil: it does not yet
	stopped  bool

	bare atomic.Int32 // connections that are being answered and were not held for it
}

// serve has each connection greeted that comes in by the listener, until stop.
// Whoever greets one ends it, and must not wait.
func (o *connections) serve(l net.Listener, allow func(netip.Addr) bool, greet func(*connection)) error {
	raw, err := o.listen(l)
	for err == nil {
		var c *connection
		c, err = accept(raw)
		switch {
		case isPassing(err):
			o.closeOldest()
			time.Sleep(restTime)
			err = nil
		case err != nil:
		case allow != nil && !allow(c.from):
			c.close()
		default:
			o.over.Add(1)
			greet(c)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stopped {
		return nil
	}
	return err
}

// listen makes a listener one from which is accepted without what package net does
// with each connection: eight system calls, to set and ask what matters to none of
// those that are answered at once. It does not give its descriptor for that, so this is
// another one.
func (o *connections) listen(l net.Listener) (syscall.RawConn, error) {
	from, ok := l.(*net.TCPListener)
	if !ok {
		return nil, fmt.Errorf("cannot accept from a listener of the kind %T", l)
	}
	file, err := from.File()
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	o.listener = file
	if o.stopped {
		file.Close()
	}
	o.mu.Unlock()
	return file.SyscallConn()
}

// stop has serve return.
func (o *connections) stop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stopped = true; o.listener != nil {
		o.listener.Close()
	}
}

// accept waits for a connection. Package unix would ask each for its protocol.
func accept(l syscall.RawConn) (*connection, error) {
	c := new(connection)
	var at syscall.Sockaddr
	var failed error
	err := l.Read(func(fd uintptr) bool {
		for {
			c.fd, at, failed = syscall.Accept4(int(fd), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			if failed != unix.EINTR {
				return failed != unix.EAGAIN
			}
		}
	})
	if err == nil && failed != nil {
		err = fmt.Errorf("cannot accept a connection: %w", failed)
	}
	if err != nil {
		return nil, err
	}
	switch a := at.(type) {
	case *syscall.SockaddrInet4:
		c.from = netip.AddrFrom4(a.Addr)
	case *syscall.SockaddrInet6:
		c.from = netip.AddrFrom16(a.Addr).Unmap()
	}
	return c, nil
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

// hold has a connection wait, and closes the oldest if that makes too many.
func (o *connections) hold(c *connection) {
	if !c.held() {
		c.file = os.NewFile(uintptr(c.fd), "connection")
	}
	o.mu.Lock()
	var old *connection
	if o.count == maxOpen {
		old = o.first
		o.unlink(old)
	}
	c.before = o.last
	if o.last != nil {
		o.last.after = c
	} else {
		o.first = c
	}
	o.last = c
	o.count++
	o.mu.Unlock()
	if old != nil {
		old.hangUp()
	}
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

// bear counts one that is answered without being held; false: there are too many.
func (o *connections) bear(c *connection) bool {
	if c.bare = o.bare.Add(1) <= mostBare; !c.bare {
		o.bare.Add(-1)
	}
	return c.bare
}

// end closes a connection that was served.
func (o *connections) end(c *connection) {
	if c.bare {
		o.bare.Add(-1)
	}
	if c.held() {
		o.mu.Lock()
		o.unlink(c)
		o.mu.Unlock()
	}
	c.close()
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
		old.hangUp()
	}
}

func (o *connections) closeAll() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for c := o.first; c != nil; c = o.first {
		o.unlink(c)
		c.hangUp()
	}
}

// finish waits until all are served, and hangs up on those that are not by the
// limit.
func (o *connections) finish(limit time.Duration) {
	end := time.AfterFunc(limit, o.closeAll)
	defer end.Stop()
	o.over.Wait()
}
