package tunnel

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// The kernel cannot be made to answer wrongly, so these answers are written
// here and come through a pair of sockets that keeps datagrams whole.

const askedSeq = 7

func netlinkMessage(kind, flags uint16, seq uint32, body []byte) []byte {
	var b []byte
	b = binary.NativeEndian.AppendUint32(b, uint32(unix.SizeofNlMsghdr+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = append(b, body...)
	for len(b)%unix.NLMSG_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}

// established is a socket between 203.0.113.10:80 and 198.51.100.1, as the kernel
// describes it with one attribute behind.
func established() []byte {
	body := make([]byte, 72, 77)
	body[0], body[1] = unix.AF_INET, tcpEstablished
	binary.BigEndian.PutUint16(body[4:], 80)
	copy(body[8:], []byte{203, 0, 113, 10})
	copy(body[24:], []byte{198, 51, 100, 1})
	body = append(body, 5, 0, 8, 0, 0)
	return netlinkMessage(unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_MULTI, askedSeq, body)
}

func errnoBody(errno unix.Errno) []byte {
	return binary.NativeEndian.AppendUint32(nil, uint32(-int32(errno)))
}

func done(errno unix.Errno) []byte {
	return netlinkMessage(unix.NLMSG_DONE, unix.NLM_F_MULTI, askedSeq, errnoBody(errno))
}

func join(messages ...[]byte) []byte { return slices.Concat(messages...) }

// read has the datagrams answered to a dump and returns how many sockets it
// visited.
func read(t rapid.TB, datagrams ...[]byte) (int, error) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	timeout := unix.Timeval{Usec: 5000}
	if err := unix.SetsockoptTimeval(pair[0], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		t.Fatal(err)
	}
	for _, d := range datagrams {
		if err := unix.Sendto(pair[1], d, 0, nil); err != nil {
			t.Fatal(err)
		}
	}
	visited := 0
	asked := &requests{fd: pair[0], seq: askedSeq, buffer: make([]byte, 4096)}
	err = asked.list(unix.SOCK_DIAG_BY_FAMILY, visitSockets(unix.AF_INET, func(s socket) {
		visited++
		want := socket{state: tcpEstablished, local: netip.MustParseAddrPort("203.0.113.10:80"), remote: netip.MustParseAddr("198.51.100.1"), sent: -1, received: -1}
		if s != want {
			t.Errorf("got %+v, want %+v", s, want)
		}
	}))
	return visited, err
}

func TestACompleteAnswerIsReadToItsEnd(t *testing.T) {
	old := netlinkMessage(unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_MULTI, askedSeq-1, nil)
	visited, err := read(t, join(old, established(), established()), established(), done(0), established())
	if visited != 3 || err != nil {
		t.Errorf("visited %d, error %v, want 3 and none", visited, err)
	}
}

func TestAnAnswerThatIsNotWholeIsAnError(t *testing.T) {
	one := established()
	wrongFamily := established()
	wrongFamily[unix.SizeofNlMsghdr] = unix.AF_INET6
	interrupted := netlinkMessage(unix.NLMSG_DONE, unix.NLM_F_MULTI|unix.NLM_F_DUMP_INTR, askedSeq, errnoBody(0))
	refused := func(errno unix.Errno) []byte {
		return netlinkMessage(unix.NLMSG_ERROR, 0, askedSeq, errnoBody(errno))
	}
	tests := []struct {
		name      string
		datagrams [][]byte
		want      string
	}{
		{"no end", [][]byte{one}, "no answer from the kernel within 10s"},
		{"nothing", nil, "no answer from the kernel within 10s"},
		{"an empty datagram", [][]byte{{}}, "the kernel's answer is empty"},
		{"half a header", [][]byte{one[:9]}, "the kernel's answer ends within a header: 9 bytes"},
		{"half a message", [][]byte{one[:60]}, "the kernel's answer has a message of 93 bytes in 60"},
		{"a length of nothing", [][]byte{make([]byte, 16)}, "the kernel's answer has a message of 0 bytes in 16"},
		{"a socket of few words", [][]byte{netlinkMessage(unix.SOCK_DIAG_BY_FAMILY, 0, askedSeq, make([]byte, 71))}, "the kernel describes a socket in 71 bytes, not 72"},
		{"a socket of another family", [][]byte{wrongFamily}, "the kernel lists a socket of family 10 among those of 2"},
		{"a datagram that does not fit", [][]byte{slices.Repeat(one, 50)}, "the kernel's answer does not fit into 4096 bytes"},
		{"an error at the end", [][]byte{one, done(unix.ENOMEM)}, "cannot allocate memory"},
		{"an end without a word", [][]byte{netlinkMessage(unix.NLMSG_DONE, 0, askedSeq, nil)}, "the kernel's answer ends without saying how"},
		{"a change meanwhile", [][]byte{one, interrupted}, netlink.ErrDumpInterrupted.Error()},
		{"another dump under way", [][]byte{refused(unix.EBUSY)}, "device or resource busy"},
		{"a mere acknowledgement", [][]byte{refused(0)}, "the kernel gives no list"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := read(t, test.datagrams...)
			wantError(t, err, test.want)
		})
	}
}

func TestAnAnswerCutAnywhereIsAnErrorAndNeverASmallerCount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		whole := join(slices.Repeat(established(), rapid.IntRange(0, 20).Draw(t, "sockets")), done(0))
		cut := rapid.IntRange(0, len(whole)-1).Draw(t, "cut")
		if visited, err := read(t, whole[:cut]); err == nil {
			t.Errorf("%d of %d bytes: visited %d and no error", cut, len(whole), visited)
		}
	})
}

func TestNoAnswerMakesTheReaderPanic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 0, 400).Draw(t, "bytes")
		for len(b) > 0 {
			m, rest, err := nextMessage(b)
			if err != nil {
				return
			}
			_, _ = m.errno(), m.refusal()
			_, _ = parseSocket(unix.AF_INET, m.body)
			if len(rest) >= len(b) {
				t.Fatal("no byte of the answer was used")
			}
			b = rest
		}
	})
}

func TestADumpGivenUpDoesNotSpoilTheNext(t *testing.T) {
	s := newSite(t)
	const n = 800 // more than one message holds
	allowFiles(t, n+500)
	port := portOf(s.listen("tcp4", "0.0.0.0:0", nil))
	for range n {
		s.dial(client, vip1, port)
	}
	d := s.h.diag
	must(t, d.send(seal(append(d.request(nil, unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP), socketRequest(unix.AF_INET, seenStates)...), 0)))
	if _, err := d.receive(); err != nil { // the first part only
		t.Fatal(err)
	}
	err := s.h.sockets(unix.AF_INET, seenStates, func(socket) {})
	if !errors.Is(err, unix.EBUSY) {
		t.Errorf("got %v, want that a dump is under way", err)
	}
	visited := 0
	must(t, s.h.sockets(unix.AF_INET, seenStates, func(s socket) {
		if s.local.Addr() == netip.MustParseAddr(vip1) {
			visited++
		}
	}))
	if visited != n {
		t.Errorf("%d of %d connections listed", visited, n)
	}
}
