package tunnel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// message is one netlink message: netlink(7).
type message struct {
	kind, flags uint16
	seq         uint32
	port        uint32 // of who caused it, 0 for the kernel
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
		port:  binary.NativeEndian.Uint32(b[12:]),
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
	if err := m.errno(); err != nil {
		return err
	}
	return errors.New("the kernel gives no list")
}

// parseSocket reads a struct inet_diag_msg (include/uapi/linux/inet_diag.h).
func parseSocket(family uint8, b []byte) (socket, error) {
	const (
		length                                = 72
		stateAt, portAt, localAt, remoteAt    = 1, 4, 8, 24
		cookieAt, receiveQueueAt, sendQueueAt = 44, 56, 60
	)
	if len(b) < length {
		return socket{}, fmt.Errorf("the kernel describes a socket in %d bytes, not %d", len(b), length)
	}
	if b[0] != family {
		return socket{}, fmt.Errorf("the kernel lists a socket of family %d among those of %d", b[0], family)
	}
	s := socket{
		state:          b[stateAt],
		cookie:         uint64(binary.NativeEndian.Uint32(b[cookieAt:])) | uint64(binary.NativeEndian.Uint32(b[cookieAt+4:]))<<32,
		unread:         binary.NativeEndian.Uint32(b[receiveQueueAt:]),
		unacknowledged: binary.NativeEndian.Uint32(b[sendQueueAt:]),
		sent:           -1, received: -1,
	}
	if err := s.parseInfo(b[length:]); err != nil {
		return socket{}, err
	}
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

// inetDiagInfo is INET_DIAG_INFO, the attribute that holds a struct tcp_info
// (include/uapi/linux/tcp.h).
const inetDiagInfo = 2

// parseInfo reads when data moved last, and how often, from the attributes behind a
// socket, if it is there.
func (s *socket) parseInfo(b []byte) error {
	const sentAt, receivedAt, length = 44, 52, 56
	const bytesReceivedAt, segsOutAt, minRTTAt, dataSegsInAt, dataSegsOutAt, longer = 128, 136, 148, 152, 156, 160
	for len(b) > 0 {
		if len(b) < unix.SizeofNlAttr {
			return fmt.Errorf("the kernel describes a socket with %d bytes too many", len(b))
		}
		size, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if size < unix.SizeofNlAttr || size > len(b) {
			return fmt.Errorf("the kernel describes a socket by an attribute of %d bytes, and there are %d", size, len(b))
		}
		if info := b[unix.SizeofNlAttr:size]; kind == inetDiagInfo && len(info) >= length {
			s.sent = time.Duration(binary.NativeEndian.Uint32(info[sentAt:])) * time.Millisecond
			s.received = time.Duration(binary.NativeEndian.Uint32(info[receivedAt:])) * time.Millisecond
			if s.counted = len(info) >= longer; s.counted {
				s.said = binary.NativeEndian.Uint64(info[bytesReceivedAt:])
				s.heard = binary.NativeEndian.Uint32(info[dataSegsInAt:])
				s.told = binary.NativeEndian.Uint32(info[dataSegsOutAt:])
				s.bare = binary.NativeEndian.Uint32(info[segsOutAt:]) - s.told
				s.nearest = time.Duration(binary.NativeEndian.Uint32(info[minRTTAt:])) * time.Microsecond
				if s.nearest == math.MaxUint32*time.Microsecond {
					s.nearest = 0 // nothing was measured yet
				}
			}
		}
		b = b[min(len(b), (size+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1)):]
	}
	return nil
}
