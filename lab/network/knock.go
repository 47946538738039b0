package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// waiting is how many connections of Knock may be open at once.
const waiting = 30

// Knock opens one connection after the other, at that pace, until ctx ends. It
// waits for no answer, and closes each a while later: so do many clients, of whom
// some always have just asked.
func (h *Host) Knock(ctx context.Context, at netip.AddrPort, pace time.Duration) error {
	return h.Do(func() error {
		var open []int
		defer func() {
			for _, fd := range open {
				unix.Close(fd)
			}
		}()
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			fd, err := knock(at)
			if err != nil {
				return fmt.Errorf("cannot knock at %s: %v", at, err)
			}
			if open = append(open, fd); len(open) > waiting {
				unix.Close(open[0])
				open = open[1:]
			}
		}
	})
}

// knock begins a connection. That the network says it cannot be had is an answer.
func knock(at netip.AddrPort) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())})
	if err == nil || errors.Is(err, unix.EINPROGRESS) || errors.Is(err, unix.ECONNREFUSED) ||
		errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH) {
		return fd, nil
	}
	unix.Close(fd)
	return -1, err
}
