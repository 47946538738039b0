package ruleset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// conversation is a netlink socket to nf_tables: netlink(7).
type conversation struct {
	fd     int
	seq    uint32
	buffer []byte
}

// A dump comes in messages of at most 32 KiB (netlink_dump,
// net/netlink/af_netlink.c); one that does not fit is an error.
const answerBuffer = 64 << 10

// The kernel answers at once; a lock that others hold may take a while.
const answerTimeout = 5 * time.Second

var (
	errInterrupted = errors.New("the packet filter changed while it was listed")
	errNoNFTables  = errors.New("the kernel has no nf_tables")
)

func converse() (*conversation, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil, errNoNFTables
	}
	if err != nil {
		return nil, err
	}
	timeout := unix.NsecToTimeval(answerTimeout.Nanoseconds())
	err = errors.Join(
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
	)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &conversation{fd: fd, buffer: make([]byte, answerBuffer)}, nil
}

func (c *conversation) close() { unix.Close(c.fd) }

// attribute appends one that is a string.
func attribute(b []byte, kind uint16, value string) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofNlAttr+len(value)+1))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(append(b, value...), 0)
	for len(b)%unix.NLA_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}

// ask sends a request of nf_tables and calls visit for every message that
// answers it, without its struct nfgenmsg. The bytes that visit gets are its own
// to keep.
func (c *conversation) ask(kind, flags uint16, family uint8, attrs []byte, visit func(family uint8, body []byte) error) error {
	c.seq++
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+4+len(attrs)))
	b = binary.NativeEndian.AppendUint16(b, unix.NFNL_SUBSYS_NFTABLES<<8|kind)
	b = binary.NativeEndian.AppendUint16(b, flags|unix.NLM_F_REQUEST)
	b = binary.NativeEndian.AppendUint32(b, c.seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = append(b, family, unix.NFNETLINK_V0, 0, 0)
	b = append(b, attrs...)
	if err := unix.Sendto(c.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	return c.answer(flags&unix.NLM_F_DUMP != 0, visit)
}

// answer reads what answers the last request to its end.
func (c *conversation) answer(list bool, visit func(family uint8, body []byte) error) error {
	interrupted := false
	var failed error // the answer is read to its end all the same
	for {
		b, err := c.receive()
		if err != nil {
			return err
		}
		for len(b) > 0 {
			m, rest, err := nextMessage(b)
			if err != nil {
				return err
			}
			b = rest
			if m.seq != c.seq {
				continue // to a request that was given up
			}
			interrupted = interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
			switch {
			case m.kind == unix.NLMSG_DONE && interrupted:
				return errInterrupted
			case m.kind == unix.NLMSG_DONE || m.kind == unix.NLMSG_ERROR:
				return errors.Join(failed, m.errno())
			case len(m.body) < 4:
				failed = errCut
			case failed == nil:
				failed = visit(m.body[0], m.body[4:])
			}
			if !list {
				return failed
			}
		}
	}
}

func (c *conversation) receive() ([]byte, error) {
	for {
		n, _, flags, _, err := unix.Recvmsg(c.fd, c.buffer, nil, 0)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return nil, fmt.Errorf("no answer from the kernel within %s", answerTimeout)
		case err != nil:
			return nil, err
		case flags&unix.MSG_TRUNC != 0:
			return nil, fmt.Errorf("the kernel's answer does not fit into %d bytes", len(c.buffer))
		case n == 0:
			return nil, errors.New("the kernel's answer is empty")
		}
		return append([]byte(nil), c.buffer[:n]...), nil
	}
}

// message is one netlink message.
type message struct {
	kind, flags uint16
	seq         uint32
	body        []byte
}

func nextMessage(b []byte) (m message, rest []byte, err error) {
	if len(b) < unix.SizeofNlMsghdr {
		return message{}, nil, errCut
	}
	length := binary.NativeEndian.Uint32(b)
	if length < unix.SizeofNlMsghdr || uint64(length) > uint64(len(b)) {
		return message{}, nil, errCut
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

// errno is the error that ends an answer, nil if it is complete.
func (m message) errno() error {
	if len(m.body) < 4 {
		return errors.New("the kernel's answer ends without saying how")
	}
	if n := -int32(binary.NativeEndian.Uint32(m.body)); n != 0 {
		return unix.Errno(n)
	}
	return nil
}
