package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// patience is how long a repair may take. It is longer than the agent's sweep,
// so that an event which got lost shows as one slow repair.
const patience = 15 * time.Second

// netlinkDrift is what the kernel tells of by a netlink group.
type netlinkDrift struct {
	events   int // the socket with the group, blocking
	commands int
	bad      []byte // the request that breaks
	good     []byte // the request that mends
	state    func(message []byte) (good, known bool)

	buffer []byte
}

// openAddress is the VIP on the device, as a /32 with scope host.
func openAddress(vip string) (drift, error) {
	all, err := openAddresses(vip)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// openAddresses are several VIPs, of which one is broken at a time.
func openAddresses(vips ...string) ([]drift, error) {
	link, err := net.InterfaceByName(device)
	if err != nil {
		return nil, err
	}
	shared, err := openNetlink(unix.RTMGRP_IPV4_IFADDR)
	if err != nil {
		return nil, err
	}
	var all []drift
	for _, vip := range vips {
		address, err := netip.ParseAddr(vip)
		if err != nil {
			return nil, err
		}
		d := *shared
		d.bad = addressRequest(unix.RTM_DELADDR, unix.NLM_F_ACK, link.Index, address)
		d.good = addressRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, link.Index, address)
		d.state = vipThere(link.Index, address)
		all = append(all, &d)
	}
	return all, nil
}

func addressRequest(kind, flags, index int, address netip.Addr) []byte {
	r := nl.NewNetlinkRequest(kind, flags)
	head := nl.NewIfAddrmsg(unix.AF_INET)
	head.Prefixlen, head.Scope, head.Index = 32, unix.RT_SCOPE_HOST, uint32(index)
	r.AddData(head)
	r.AddData(nl.NewRtAttr(unix.IFA_LOCAL, address.AsSlice()))
	r.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, address.AsSlice()))
	return r.Serialize()
}

// vipThere is good when the device has the address. The kernel puts the address
// first of all attributes (inet_fill_ifaddr, net/ipv4/devinet.c).
func vipThere(index int, vip netip.Addr) func([]byte) (good, known bool) {
	const first = unix.SizeofNlMsghdr + unix.SizeofIfAddrmsg + unix.SizeofRtAttr
	wanted := vip.AsSlice()
	return func(m []byte) (good, known bool) {
		kind := binary.NativeEndian.Uint16(m[4:])
		if kind != unix.RTM_NEWADDR && kind != unix.RTM_DELADDR || len(m) < first+len(wanted) {
			return false, false
		}
		on := binary.NativeEndian.Uint32(m[unix.SizeofNlMsghdr+4:])
		known = int(on) == index && bytes.Equal(m[first:first+len(wanted)], wanted)
		return kind == unix.RTM_NEWADDR, known
	}
}

// openLink is the device being up.
func openLink(string) (drift, error) {
	link, err := net.InterfaceByName(device)
	if err != nil {
		return nil, err
	}
	request := func(ask int, flags uint32) []byte {
		r := nl.NewNetlinkRequest(unix.RTM_NEWLINK, ask)
		head := nl.NewIfInfomsg(unix.AF_UNSPEC)
		head.Index, head.Change, head.Flags = int32(link.Index), unix.IFF_UP, flags
		r.AddData(head)
		return r.Serialize()
	}
	d, err := openNetlink(unix.RTMGRP_LINK)
	if err != nil {
		return nil, err
	}
	d.bad, d.good, d.state = request(unix.NLM_F_ACK, 0), request(0, unix.IFF_UP), linkUp(link.Index)
	return d, nil
}

func linkUp(index int) func([]byte) (good, known bool) {
	return func(m []byte) (good, known bool) {
		if binary.NativeEndian.Uint16(m[4:]) != unix.RTM_NEWLINK || len(m) < unix.SizeofNlMsghdr+unix.SizeofIfInfomsg {
			return false, false
		}
		head := m[unix.SizeofNlMsghdr:]
		of, flags := binary.NativeEndian.Uint32(head[4:]), binary.NativeEndian.Uint32(head[8:])
		return flags&unix.IFF_UP != 0, int(of) == index
	}
}

func openNetlink(group uint32) (*netlinkDrift, error) {
	d := &netlinkDrift{buffer: make([]byte, 64<<10)}
	var err error
	if d.events, err = netlinkSocket(group); err != nil {
		return nil, err
	}
	d.commands, err = netlinkSocket(0)
	return d, err
}

// netlinkSocket lives as long as the process, which has one drift only.
func netlinkSocket(groups uint32) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	wait := unix.NsecToTimeval(patience.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		return 0, os.NewSyscallError("setsockopt", err)
	}
	const room = 64 << 20 // for a storm
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room); err != nil {
		return 0, os.NewSyscallError("setsockopt", err)
	}
	return fd, os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}))
}

func (d *netlinkDrift) Settle() error {
	for {
		_, _, err := unix.Recvfrom(d.events, d.buffer, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			return d.acknowledged()
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("recvfrom", err)
		}
	}
}

// acknowledged reads what the kernel answered to the requests until now.
func (d *netlinkDrift) acknowledged() error {
	for {
		n, _, err := unix.Recvfrom(d.commands, d.buffer, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		if err != nil || n < unix.SizeofNlMsghdr+4 {
			return fmt.Errorf("cannot read an answer of the kernel: %v", err)
		}
		if code := int32(binary.NativeEndian.Uint32(d.buffer[unix.SizeofNlMsghdr:])); code != 0 {
			return fmt.Errorf("the kernel refuses the change: %v", unix.Errno(-code))
		}
	}
}

func (d *netlinkDrift) Break() error { return d.send(d.bad) }
func (d *netlinkDrift) Mend() error  { return d.send(d.good) }

func (d *netlinkDrift) send(request []byte) error {
	return unix.Sendto(d.commands, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

// Mended wants to see the damage before the repair: word of an earlier repair
// may still be on its way.
func (d *netlinkDrift) Mended() error {
	if err := d.await(false); err != nil {
		return err
	}
	return d.await(true)
}

// Listen has nothing to do: the socket listens since it is open.
func (d *netlinkDrift) Listen() error { return nil }

// Broken waits for as long as it takes.
func (d *netlinkDrift) Broken() error {
	for {
		if err := d.await(false); !errors.Is(err, unix.EAGAIN) {
			return err
		}
	}
}

// await waits for the next message that says that the state is as wanted. The
// kernel sends each note in a datagram of its own.
func (d *netlinkDrift) await(wanted bool) error {
	for {
		n, _, err := unix.Recvfrom(d.events, d.buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot see a change within %v: %w", patience, err)
		}
		if n < unix.SizeofNlMsghdr {
			continue
		}
		if good, known := d.state(d.buffer[:n]); known && good == wanted {
			return nil
		}
	}
}
