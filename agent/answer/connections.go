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

	bare atomic.Int32 // connections that are being answered and were not held for it
}

// serve has each connection greeted that comes in by the listener, until that is
// closed. Whoever greets one ends it, and must not wait.
func (o *connections) serve(l net.Listener, allow func(netip.Addr) bool, greet func(*connection)) error {
	admit := func(c *connection) {
		if allow != nil && !allow(c.from) {
			c.close()
			return
		}
		o.over.Add(1)
		greet(c)
	}
	for {
		one, err := l.Accept()
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
		tcp, ok := one.(*net.TCPConn)
		if !ok {
			one.Close()
			return fmt.Errorf("cannot answer on connections of the kind %T", one)
		}
		admit(&connection{from: tcp.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap().WithZone(""), file: tcp})
		if err := alsoWaiting(l, admit); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
	}
}

// alsoWaiting admits what has come in meanwhile. Package net makes eight system calls
// for each connection, to set and ask what matters to none of those that are answered
// at once; here there are none but accept.
func alsoWaiting(l net.Listener, admit func(*connection)) error {
	raw, err := l.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	for range mostAtOnce {
		c := new(connection)
		var at unix.Sockaddr
		var failed error
		if err := raw.Control(func(fd uintptr) {
			c.fd, at, failed = unix.Accept4(int(fd), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		}); err != nil {
			return err
		}
		if failed != nil {
			return nil // Accept waits for more, or says what is wrong
		}
		switch a := at.(type) {
		case *unix.SockaddrInet4:
			c.from = netip.AddrFrom4(a.Addr)
		case *unix.SockaddrInet6:
			c.from = netip.AddrFrom16(a.Addr).Unmap()
		}
		admit(c)
	}
	return nil
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
