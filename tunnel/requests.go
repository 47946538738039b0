package tunnel

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// requests is a netlink socket that asks the kernel and reads what it answers:
// netlink(7). One goroutine at a time may use it.
type requests struct {
	fd     int
	port   uint32 // the socket's address, which the kernel names as the author of changes
	seq    uint32
	buffer []byte
}

// A dump comes in messages of at most 32 KiB (netlink_dump,
// net/netlink/af_netlink.c); one that does not fit is an error.
const answerBuffer = 64 << 10

func openRequests(protocol int) (*requests, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, err
	}
	r := &requests{fd: fd, buffer: make([]byte, answerBuffer)}
	timeout := unix.NsecToTimeval(answerTimeout.Nanoseconds())
	err = errors.Join(
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
	)
	// Lists then hold what was asked for only, and refusals do not carry the
	// request. Kernels before 4.20 and 4.3 know neither, and need neither.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	if err == nil {
		var at unix.Sockaddr
		if at, err = unix.Getsockname(fd); err == nil {
			r.port = at.(*unix.SockaddrNetlink).Pid
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return r, nil
}

func (r *requests) close() { unix.Close(r.fd) }

// request begins a message; its body follows, and seal ends it.
func (r *requests) request(b []byte, kind, flags uint16) []byte {
	r.seq++
	b = binary.NativeEndian.AppendUint32(b, 0) // the length, see seal
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, flags|unix.NLM_F_REQUEST)
	b = binary.NativeEndian.AppendUint32(b, r.seq)
	return binary.NativeEndian.AppendUint32(b, 0) // from: the kernel knows
}

// seal fills in the length of the message that begins at start, a multiple of
// 4 as all bodies are.
func seal(b []byte, start int) []byte {
	binary.NativeEndian.PutUint32(b[start:], uint32(len(b)-start))
	return b
}

func (r *requests) send(b []byte) error {
	return unix.Sendto(r.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

// dump asks for a list and calls visit for each message of it that is of the
// kind. A list that a change interrupted is netlink.ErrDumpInterrupted, when
// all of it was visited.
func (r *requests) dump(request, kind uint16, body []byte, visit func(message) error) error {
	b := append(r.request(nil, request, unix.NLM_F_DUMP), body...)
	if err := r.send(seal(b, 0)); err != nil {
		return err
	}
	err := r.list(kind, visit)
	if err != nil {
		r.discard()
	}
	return err
}

// get asks for one thing and returns what the kernel answers; its body is valid
// until the next request.
func (r *requests) get(kind uint16, body []byte) (message, error) {
	b := append(r.request(nil, kind, 0), body...)
	if err := r.send(seal(b, 0)); err != nil {
		return message{}, err
	}
	for {
		b, err := r.receive()
		if err != nil {
			return message{}, err
		}
		for len(b) > 0 {
			m, rest, err := nextMessage(b)
			switch {
			case err != nil:
				return message{}, err
			case m.seq == r.seq && m.kind == unix.NLMSG_ERROR:
				return message{}, m.refusal()
			case m.seq == r.seq:
				return m, nil
			}
			b = rest // of an answer that was given up
		}
	}
}

// list reads the messages of one dump to its end.
func (r *requests) list(kind uint16, visit func(message) error) error {
	interrupted := false
	for {
		b, err := r.receive()
		if err != nil {
			return err
		}
		for len(b) > 0 {
			m, rest, err := nextMessage(b)
			if err != nil {
				return err
			}
			b = rest
			if m.seq != r.seq {
				continue // of a dump that was given up
			}
			interrupted = interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
			switch m.kind {
			case unix.NLMSG_DONE:
				if err := m.errno(); err != nil {
					return err
				}
				if interrupted {
					return netlink.ErrDumpInterrupted
				}
				return nil
			case unix.NLMSG_ERROR:
				return m.refusal()
			case kind:
				if err := visit(m); err != nil {
					return err
				}
			}
		}
	}
}

// changesAtOnce is how many changes go into one message, so that the answers
// to all of them fit into the socket's queue.
const changesAtOnce = 128

// change makes changes of one kind, each with its own body, and returns the
// kernel's answers in their order: nil for what was done. One that fails does
// not keep the others from being made.
func (r *requests) change(kind, flags uint16, bodies [][]byte) []error {
	errs := make([]error, len(bodies))
	var b []byte
	for done := 0; done < len(bodies); {
		first, some := r.seq+1, bodies[done:min(done+changesAtOnce, len(bodies))]
		b = b[:0]
		for _, body := range some {
			start := len(b)
			b = seal(append(r.request(b, kind, flags|unix.NLM_F_ACK), body...), start)
		}
		err := r.send(b)
		if err == nil {
			err = r.answers(first, errs[done:done+len(some)])
		}
		if err != nil {
			r.discard()
			for i := done; i < len(errs); i++ {
				errs[i] = err
			}
			return errs
		}
		done += len(some)
	}
	return errs
}

// answers reads one answer for each of errs, to requests numbered from first.
func (r *requests) answers(first uint32, errs []error) error {
	for left := len(errs); left > 0; {
		b, err := r.receive()
		if err != nil {
			return err
		}
		for len(b) > 0 {
			m, rest, err := nextMessage(b)
			if err != nil {
				return err
			}
			b = rest
			i := m.seq - first
			if m.kind != unix.NLMSG_ERROR || i >= uint32(len(errs)) {
				continue // an answer that was given up
			}
			errs[i] = m.errno()
			left--
		}
	}
	return nil
}

// receive returns the next datagram; it is valid until the next call.
func (r *requests) receive() ([]byte, error) {
	for {
		n, _, flags, _, err := unix.Recvmsg(r.fd, r.buffer, nil, 0)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return nil, fmt.Errorf("no answer from the kernel within %s", answerTimeout)
		case err != nil:
			return nil, err
		case flags&unix.MSG_TRUNC != 0:
			return nil, fmt.Errorf("the kernel's answer does not fit into %d bytes", len(r.buffer))
		case n == 0:
			return nil, errors.New("the kernel's answer is empty")
		}
		return r.buffer[:n], nil
	}
}

// discard reads what is left of an answer, for the next one to be accepted.
func (r *requests) discard() {
	for {
		_, _, err := unix.Recvfrom(r.fd, r.buffer, unix.MSG_DONTWAIT)
		if err != nil && err != unix.EINTR && err != unix.ENOBUFS {
			return
		}
	}
}
