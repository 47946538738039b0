package tunnel

import (
	"context"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// listener is a netlink socket to which the kernel sends word of changes. What
// has come is taken in at once, by whoever asks first: by run, which waits for
// it, or by a look that wants to know the present.
type listener struct {
	subscribe func() (*os.File, error)
	take      func(message) // one message; mu is held
	lost      func()        // some did not come through; mu is held

	mu     sync.Mutex // guards what follows, and all that take and lost keep
	file   *os.File
	fd     int // of file, which Fd would make blocking
	buffer []byte
}

// The queue of the socket holds some ten thousand messages. It takes memory
// only while they wait.
const eventQueue = 16 << 20

func (l *listener) open() error {
	file, err := l.subscribe()
	if err != nil {
		return err
	}
	raw, err := file.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { l.fd = int(fd) })
	}
	if err != nil {
		file.Close()
		return err
	}
	l.file = file
	if l.buffer == nil {
		l.buffer = make([]byte, answerBuffer)
	}
	return nil
}

// drain takes in all that has come so far. The error is that of a socket that
// is of no use any more. The caller holds mu.
func (l *listener) drain() error {
	for {
		n, err := unix.Read(l.fd, l.buffer)
		switch {
		case err == unix.EAGAIN:
			return nil
		case err == unix.EINTR:
		case err == unix.ENOBUFS:
			l.lost()
		case err != nil:
			return err
		default:
			l.takeAll(l.buffer[:n])
		}
	}
}

func (l *listener) takeAll(b []byte) {
	for len(b) > 0 {
		m, rest, err := nextMessage(b)
		if err != nil {
			l.lost() // what does not fit or parse may have been anything
			return
		}
		b = rest
		l.take(m)
	}
}

// The first and the longest wait between two tries to subscribe anew.
const (
	firstRetry   = 100 * time.Millisecond
	longestRetry = 10 * time.Second
)

// run takes in what comes until ctx ends. A socket that breaks is replaced, and
// what may have come meanwhile counts as lost.
func (l *listener) run(ctx context.Context) {
	retry := firstRetry
	for {
		since := time.Now()
		l.follow(ctx)
		if time.Since(since) > longestRetry {
			retry = firstRetry
		}
		for again := true; again; retry = min(2*retry, longestRetry) {
			select {
			case <-ctx.Done():
				return
			case <-time.After(retry):
			}
			again = l.reopen() != nil // the next try may fare better
		}
	}
}

func (l *listener) reopen() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.file.Close()
	if err := l.open(); err != nil {
		l.lost()
		return err
	}
	l.lost()
	return nil
}

// follow takes in what comes until ctx ends or the socket breaks.
func (l *listener) follow(ctx context.Context) {
	l.mu.Lock()
	file := l.file
	l.mu.Unlock()
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_ = file.SetReadDeadline(time.Unix(1, 0)) // ends the wait
	})
	defer func() {
		if !stop() {
			<-woken
		}
	}()
	raw, err := file.SyscallConn()
	if err != nil {
		return
	}
	// It goes on waiting until the socket is broken or the deadline has come.
	_ = raw.Read(func(uintptr) bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.drain() != nil
	})
}

func (l *listener) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.file.Close()
}

func subscribeTo(protocol int, groups ...uint) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, err
	}
	// Without CAP_NET_ADMIN the queue stays as short as the system has it.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, eventQueue)
	address := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	for _, g := range groups {
		address.Groups |= 1 << (g - 1)
	}
	if err := unix.Bind(fd, address); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "netlink"), nil
}
