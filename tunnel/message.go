package tunnel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// message is one netlink message: netlink(7).
type message struct {
	kind, flags uint16
	seq         uint32
	body        []byte
}

// nextMessage takes the first message off b.
func nextMessage(b []byte) (m message, rest []byte, err error) {
	if len(b) < unix.SizeofNlMsghdr {
		return message{}, nil, fmt.Errorf("the kernel's answer ends within a header: %d bytes", len(b))
	}
	length := binary.NativeEndian.Uint32(b)
	if length < unix.SizeofNlMsghdr || uint64(length) > uint64(len(b)) {
		return message{}, nil, fmt.Errorf("the kernel's answer has a message of %d bytes in %d", length, len(b))
	}
	m = message{
		kind:  binary.NativeEndian.Uint16(b[4:]),
		flags: binary.NativeEndian.Uint16(b[6:]),
		seq:   binary.NativeEndian.Uint32(b[8:]),
		body:  b[unix.SizeofNlMsghdr:length],
	}
	aligned := (int(length) + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1)
	return m, b[min(aligned, len(b)):], nil
}

// errno is the error that ends a list, nil if it is complete.
func (m message) errno() error {
	if len(m.body) < 4 {
		return errors.New("the kernel's answer ends without saying how")
	}
	n := -int32(binary.NativeEndian.Uint32(m.body))
	if n == 0 {
		return nil
	}
	return unix.Errno(n)
}

// refusal is the error that stands in place of a list.
func (m message) refusal() error {
	err := m.errno()
	switch {
	case err == nil:
		return errors.New("the kernel gives no list of sockets")
	case errors.Is(err, unix.ENOENT):
		return errors.New("the kernel has no tcp_diag (module missing, or may not be loaded)")
	}
	return err
}

// parseSocket reads a struct inet_diag_msg (include/uapi/linux/inet_diag.h).
func parseSocket(family uint8, b []byte) (socket, error) {
	const (
		length                                    = 72
		stateAt, portAt, localAt, remoteAt, queue = 1, 4, 8, 24, 60
	)
	if len(b) < length {
		return socket{}, fmt.Errorf("the kernel describes a socket in %d bytes, not %d", len(b), length)
	}
	if b[0] != family {
		return socket{}, fmt.Errorf("the kernel lists a socket of family %d among those of %d", b[0], family)
	}
	s := socket{state: b[stateAt], unacknowledged: binary.NativeEndian.Uint32(b[queue:])}
	port := binary.BigEndian.Uint16(b[portAt:])
	if family == unix.AF_INET {
		s.local = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[localAt:])), port)
		s.remote = netip.AddrFrom4([4]byte(b[remoteAt:]))
		return s, nil
	}
	s.local = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[localAt:])).Unmap(), port)
	s.remote = netip.AddrFrom16([16]byte(b[remoteAt:])).Unmap()
	return s, nil
}
