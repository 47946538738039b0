package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Writes records all that is changed on a host, as the kernel tells it: links,
// addresses, routes and network settings by netlink, and every write to a
// setting, also of the same value, by inotify.
type Writes struct {
	netlink, inotify *os.File
	held             []*os.File
	byWatch          map[int]string
	over             sync.WaitGroup

	mu   sync.Mutex
	seen []string
}

// WatchWrites begins to record, before it returns. Settings are paths or
// patterns below /proc/sys.
func (h *Host) WatchWrites(settings ...string) (*Writes, error) {
	w := &Writes{byWatch: make(map[int]string)}
	err := h.Do(func() error {
		return errors.Join(w.subscribe(), w.watch(settings))
	})
	if err != nil {
		w.close()
		return nil, fmt.Errorf("cannot watch what is written on %s: %v", h.Name, err)
	}
	w.over.Go(func() { follow(w.netlink, w.notes) })
	w.over.Go(func() { follow(w.inotify, w.writes) })
	return w, nil
}

func (w *Writes) subscribe() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	w.netlink = os.NewFile(uintptr(fd), "netlink")
	address := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	for _, group := range []int{
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE,
		unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV4_NETCONF,
	} {
		address.Groups |= 1 << (group - 1)
	}
	return unix.Bind(fd, address)
}

// watch holds each file open: the kernel drops the watch of a file of
// /proc/sys when it forgets the name, which it does not while it is open.
func (w *Writes) watch(patterns []string) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return err
	}
	w.inotify = os.NewFile(uintptr(fd), "inotify")
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
			id, err := unix.InotifyAddWatch(fd, file, unix.IN_MODIFY)
			if err != nil {
				return fmt.Errorf("cannot watch %s: %v", file, err)
			}
			w.byWatch[id] = strings.TrimPrefix(file, "/proc/sys/")
		}
	}
	return nil
}

// follow hands each message of a descriptor on until a deadline ends it.
func follow(f *os.File, note func([]byte)) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := f.Read(buffer)
		if err != nil {
			return
		}
		note(buffer[:n])
	}
}

// notes reads netlink messages: struct nlmsghdr, its length and type first.
func (w *Writes) notes(data []byte) {
	for len(data) >= unix.NLMSG_HDRLEN {
		length := int(binary.NativeEndian.Uint32(data))
		kind := binary.NativeEndian.Uint16(data[4:])
		w.note(netlinkName(kind))
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
		mask := binary.NativeEndian.Uint32(data[4:])
		name := int(binary.NativeEndian.Uint32(data[12:]))
		if mask&unix.IN_MODIFY != 0 {
			w.note("write " + w.byWatch[id])
		} else {
			w.note(fmt.Sprintf("inotify %#x %s", mask, w.byWatch[id]))
		}
		data = data[min(len(data), unix.SizeofInotifyEvent+name):]
	}
}

func (w *Writes) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, what)
}

// Stop ends the recording and returns what was seen: "write
// net/ipv4/conf/all/arp_ignore" or "address new".
func (w *Writes) Stop() []string {
	past := time.Now().Add(50 * time.Millisecond)
	_ = w.netlink.SetReadDeadline(past)
	_ = w.inotify.SetReadDeadline(past)
	w.over.Wait()
	w.close()
	return w.seen
}

func (w *Writes) close() {
	for _, f := range append(w.held, w.netlink, w.inotify) {
		if f != nil {
			f.Close()
		}
	}
}
