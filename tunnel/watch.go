package tunnel

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Watch calls changed once it has subscribed, and again after each thing that
// happens to links, to IPv4 addresses, or to those sysctls of an interface of
// which the kernel sends word (rp_filter and forwarding among them; not the
// arp_ ones: inet_netconf_notify_devconf, net/ipv4/devinet.c). So a caller
// that looks after each call misses nothing.
//
// It blocks until ctx ends, then returns nil; the caller's thread decides the
// network namespace. It fails only if it cannot subscribe at the start. If
// the kernel has dropped messages, or the subscription broke and was made
// anew, changed is called too. changed should return at once: calls come one
// after the other, thousands when thousands of addresses are added.
func Watch(ctx context.Context, changed func()) error {
	return watch(ctx, changed, subscribe)
}

// The first and the longest wait between two tries to subscribe anew.
const (
	firstRetry   = 100 * time.Millisecond
	longestRetry = 10 * time.Second
)

func watch(ctx context.Context, changed func(), subscribe func() (*os.File, error)) error {
	socket, err := subscribe()
	if err != nil {
		return err
	}
	retry := firstRetry
	for {
		since := time.Now()
		follow(ctx, socket, changed)
		if time.Since(since) > longestRetry {
			retry = firstRetry
		}
		for socket = nil; socket == nil; retry = min(2*retry, longestRetry) {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(retry):
			}
			socket, _ = subscribe() // the next try may fare better
		}
	}
}

// WatchFirewall calls changed once it has subscribed, and again after each
// change to the packet filter (nf_tables, any table of the namespace, by
// anybody: ApplyFirewall too). In all else it is as Watch. It needs
// CAP_NET_ADMIN.
func WatchFirewall(ctx context.Context, changed func()) error {
	return watch(ctx, changed, subscribeFirewall)
}

// subscribe returns a netlink socket, not blocking, to which the kernel sends
// its notes.
func subscribe() (*os.File, error) {
	file, err := subscribeTo(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_NETCONF)
	return file, cannot(err, "subscribe to what happens to links and addresses")
}

func subscribeFirewall() (*os.File, error) {
	file, err := subscribeTo(unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTABLES)
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		err = ErrNoNFTables
	}
	return file, cannot(err, "subscribe to what happens to the packet filter")
}

func subscribeTo(protocol int, groups ...uint) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, err
	}
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

// follow calls changed now and for each message, until ctx ends or the socket
// breaks. It closes the socket.
func follow(ctx context.Context, socket *os.File, changed func()) {
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_ = socket.SetReadDeadline(time.Unix(1, 0)) // ends the read under way
	})
	defer func() {
		if !stop() {
			<-woken
		}
		socket.Close()
	}()

	raw, err := socket.SyscallConn()
	if err != nil {
		return
	}
	changed()
	for {
		err := receive(raw)
		if ctx.Err() != nil {
			return
		}
		// ENOBUFS: messages were dropped. The kernel drops all that comes until
		// the queue is empty, and what is read until then calls changed after.
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return
		}
		changed()
	}
}

// receive waits for one message and throws it away: that it came is all.
func receive(raw syscall.RawConn) error {
	var message [1]byte // the kernel cuts the rest off
	var err error
	waitErr := raw.Read(func(fd uintptr) bool {
		for {
			_, _, err = unix.Recvfrom(int(fd), message[:], 0)
			if err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	})
	if waitErr != nil {
		return waitErr
	}
	return err
}
