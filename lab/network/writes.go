package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Writes records all that is changed on a host, as the kernel tells it: links,
// addresses, routes, network settings and packet filters by netlink, and every
// write to a setting, also of the same value, by inotify.
type Writes struct {
	route, filter, inotify int

	stop    *os.File
	stopped *os.File
	held    []*os.File
	byWatch map[int]string
	each    func(what string)
	done    chan struct{}
	seen    []string
	err     error
}

// WatchWrites begins to record, before it returns. Settings are patterns of
// paths below /proc/sys.
func (h *Host) WatchWrites(settings ...string) (*Writes, error) {
	return h.OnWrites(func(string) {}, settings...)
}

// OnWrites is WatchWrites that calls each at every change. It runs at the
// highest priority: who shares CPU 0 with nothing else gets no further until
// each returns.
func (h *Host) OnWrites(each func(what string), settings ...string) (*Writes, error) {
	w := &Writes{
		route: -1, filter: -1, inotify: -1,
		byWatch: make(map[int]string), each: each, done: make(chan struct{}),
	}
	err := h.Do(func() error {
		var err error
		w.stopped, w.stop, err = os.Pipe()
		return errors.Join(err, w.subscribe(), w.watch(settings))
	})
	if err != nil {
		w.close()
		return nil, fmt.Errorf("cannot watch what is written on %s: %v", h.Name, err)
	}
	started := make(chan struct{})
	go w.record(started)
	<-started
	return w, nil
}

func (w *Writes) subscribe() error {
	var routeErr, filterErr error
	w.route, routeErr = listen(unix.NETLINK_ROUTE,
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE,
		unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV4_NETCONF)
	const nftables = 7 // NFNLGRP_NFTABLES in linux/netfilter/nfnetlink.h
	w.filter, filterErr = listen(unix.NETLINK_NETFILTER, nftables)
	return errors.Join(routeErr, filterErr)
}

// listen opens a netlink socket to which the kernel sends what happens in the
// groups. It returns -1 with an error.
func listen(family int, groups ...int) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, family)
	if err != nil {
		return -1, err
	}
	address := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	for _, group := range groups {
		address.Groups |= 1 << (group - 1)
	}
	if err := unix.Bind(fd, address); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// watch holds each file open: the kernel drops the watch of a file of
// /proc/sys when it forgets the name, which it does not while it is open.
func (w *Writes) watch(patterns []string) (err error) {
	w.inotify, err = unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return err
	}
	for _, pattern := range patterns {
		files, err := filepath.Glob("/proc/sys/" + pattern)
		if err != nil || len(files) == 0 {
			return fmt.Errorf("no setting is called %s: %v", pattern, err)
		}
		for _, file := range files {
			held, err := os.Open(file)
			if err != nil {
				return err
			}
			w.held = append(w.held, held)
			id, err := unix.InotifyAddWatch(w.inotify, file, unix.IN_MODIFY)
			if err != nil {
				return fmt.Errorf("cannot watch %s: %v", file, err)
			}
			w.byWatch[id] = strings.TrimPrefix(file, "/proc/sys/")
		}
	}
	return nil
}

// record waits in the kernel itself, not in Go's poller, so that the thread
// that is woken is this one.
func (w *Writes) record(started chan<- struct{}) {
	defer close(w.done)
	runtime.LockOSThread() // for good: nothing else shall run at its priority
	w.err = first()
	close(started)
	fds := []unix.PollFd{
		{Fd: int32(w.stopped.Fd()), Events: unix.POLLIN},
		{Fd: int32(w.route), Events: unix.POLLIN},
		{Fd: int32(w.filter), Events: unix.POLLIN},
		{Fd: int32(w.inotify), Events: unix.POLLIN},
	}
	buffer := make([]byte, 64<<10)
	for fds[0].Revents == 0 {
		_, err := unix.Poll(fds, -1)
		if err != nil && err != unix.EINTR {
			w.err = errors.Join(w.err, err)
			return
		}
		w.drain(w.route, buffer, w.notes)
		w.drain(w.filter, buffer, func([]byte) { w.note("packet filter changed") })
		w.drain(w.inotify, buffer, w.writes)
	}
}

// first puts the calling thread before all others of the CPU it is on, and
// keeps it on CPU 0.
func first() error {
	var cpu0 unix.CPUSet
	cpu0.Set(0)
	attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
	return errors.Join(unix.SchedSetaffinity(0, &cpu0), unix.SchedSetAttr(0, attr, 0))
}

// drain reads all there is.
func (w *Writes) drain(fd int, buffer []byte, note func([]byte)) {
	for {
		n, err := unix.Read(fd, buffer)
		switch {
		case err == unix.EAGAIN:
			return
		case err == unix.EINTR:
		case err != nil:
			w.err = errors.Join(w.err, err)
			return
		default:
			note(buffer[:n])
		}
	}
}

// notes reads netlink messages: struct nlmsghdr, its length and type first.
func (w *Writes) notes(data []byte) {
	for len(data) >= unix.NLMSG_HDRLEN {
		length := int(binary.NativeEndian.Uint32(data))
		w.note(netlinkName(binary.NativeEndian.Uint16(data[4:])))
		if length < unix.NLMSG_HDRLEN || length > len(data) {
			return
		}
		data = data[min(len(data), (length+3)&^3):]
	}
}

func netlinkName(kind uint16) string {
	names := map[uint16]string{
		unix.RTM_NEWLINK: "link new", unix.RTM_DELLINK: "link gone",
		unix.RTM_NEWADDR: "address new", unix.RTM_DELADDR: "address gone",
		unix.RTM_NEWROUTE: "route new", unix.RTM_DELROUTE: "route gone",
		unix.RTM_NEWRULE: "rule new", unix.RTM_DELRULE: "rule gone",
		unix.RTM_NEWNETCONF: "setting changed",
	}
	if name, ok := names[kind]; ok {
		return name
	}
	return fmt.Sprintf("netlink message %d", kind)
}

// writes reads struct inotify_event: watch, mask, cookie, length of the name.
func (w *Writes) writes(data []byte) {
	for len(data) >= unix.SizeofInotifyEvent {
		id := int(int32(binary.NativeEndian.Uint32(data)))
		if mask := binary.NativeEndian.Uint32(data[4:]); mask&unix.IN_MODIFY != 0 {
			w.note("write " + w.byWatch[id])
		}
		name := int(binary.NativeEndian.Uint32(data[12:]))
		data = data[min(len(data), unix.SizeofInotifyEvent+name):]
	}
}

func (w *Writes) note(what string) {
	w.seen = append(w.seen, what)
	w.each(what)
}

// Stop ends the recording and returns what was seen: "write
// net/ipv4/conf/all/arp_ignore" or "address new".
func (w *Writes) Stop() ([]string, error) {
	time.Sleep(50 * time.Millisecond) // for what is under way
	w.stop.Close()
	<-w.done
	w.close()
	if w.err != nil {
		return nil, fmt.Errorf("cannot trust what was seen of writes: %v", w.err)
	}
	return w.seen, nil
}

func (w *Writes) close() {
	for _, fd := range []int{w.route, w.filter, w.inotify} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	for _, f := range append(w.held, w.stop, w.stopped) {
		if f != nil {
			f.Close()
		}
	}
}
