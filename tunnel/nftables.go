package tunnel

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/google/nftables"
	nfnetlink "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tableName is rsagent's table. Its family is ip and not inet: the directors'
// IPIP and what is in it are IPv4, and so nothing else has to pass its rules.
const tableName = "rsagent"

// setElemCatchAll is NFT_SET_ELEM_CATCHALL of
// include/uapi/linux/netfilter/nf_tables.h.
const setElemCatchAll = 2

// nftSocket speaks with nf_tables. Changes go by the nftables library. Lists
// are read here: the library says nothing of a list that a change interrupted,
// and leaves out the expressions of a rule that it does not know.
type nftSocket struct {
	changes *nftables.Conn
	conn    *nfnetlink.Conn // the one that changes uses
}

// A change goes in one piece, 16 bytes for each VIP. What the kernel answers is
// small.
const nftSendBuffer = 1 << 20

func openNFTables() (*nftSocket, error) {
	s := &nftSocket{}
	keep := nftables.WithSockOptions(func(c *nfnetlink.Conn) error {
		s.conn = c
		return c.SetWriteBuffer(nftSendBuffer)
	})
	var err error
	s.changes, err = nftables.New(nftables.AsLasting(), keep)
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil, fmt.Errorf("cannot open a netlink socket to the packet filter: %w", ErrNoNFTables)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open a netlink socket to the packet filter: %v", err)
	}
	return s, nil
}

// sameNamespace is an error unless both sockets are of one network namespace. A
// kernel before 5.14 does not tell (SO_NETNS_COOKIE, net/core/sock.c).
func sameNamespace(c *nfnetlink.Conn, fd int) error {
	want, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("cannot see the netlink socket to the packet filter: %v", err)
	}
	var got uint64
	lost := raw.Control(func(fd uintptr) {
		got, err = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	})
	if err = errors.Join(lost, err); err != nil {
		return fmt.Errorf("cannot see the netlink socket to the packet filter: %v", err)
	}
	if got != want {
		return errors.New("cannot open a netlink socket to the packet filter: the thread is in another network namespace by now")
	}
	return nil
}

func (s *nftSocket) close() {
	_ = s.changes.CloseLasting()
}

// observe looks until it has a table that nobody changed meanwhile.
func (s *nftSocket) observe() (FirewallState, error) {
	var err error
	for look := range looks {
		if look > 0 {
			time.Sleep(time.Duration(look*look) * 2 * time.Millisecond)
		}
		var state FirewallState
		state, err = s.look()
		if err == nil {
			return state, nil
		}
		if !again(err) {
			break
		}
	}
	return FirewallState{}, err
}

// look takes all lists, which fit if all are of one generation: the number of
// changes that the packet filter has seen.
func (s *nftSocket) look() (FirewallState, error) {
	before, err := s.generation()
	if err != nil {
		return FirewallState{}, err
	}
	state, err := s.list()
	after, lost := s.generation()
	if lost != nil {
		return FirewallState{}, lost
	}
	if before != after {
		return FirewallState{}, netlink.ErrDumpInterrupted
	}
	return state, err
}

func (s *nftSocket) list() (FirewallState, error) {
	flags, err := s.tableFlags()
	if errors.Is(err, unix.ENOENT) {
		return FirewallState{}, nil
	}
	if err != nil {
		return FirewallState{}, err
	}
	state := FirewallState{there: true, table: table{flags: flags}}
	if state.table.chains, err = s.chains(); err != nil {
		return FirewallState{}, err
	}
	if err = s.rules(state.table.chains); err != nil {
		return FirewallState{}, err
	}
	if state.table.sets, err = s.sets(); err != nil {
		return FirewallState{}, err
	}
	counters, err := s.counters()
	if err != nil {
		return FirewallState{}, err
	}
	for name := range counters {
		state.table.counters = append(state.table.counters, name)
	}
	slices.Sort(state.table.counters)
	state.NotDirector, state.NotVIP, state.Clamped = counters[notDirectorCounter], counters[notVIPCounter], counters[clampedCounter]
	return state, nil
}

// generation is the number of the last change. It is asked for before anything
// else, so that a kernel without nf_tables, which does not know the request
// (nfnetlink_rcv_msg, net/netfilter/nfnetlink.c), is told apart from one that
// refuses something.
func (s *nftSocket) generation() (number uint32, err error) {
	answers, err := s.ask(unix.NFT_MSG_GETGEN, 0)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return 0, ErrNoNFTables
	}
	for _, m := range answers {
		err = errors.Join(err, attributes(m.Data, func(kind uint16, value []byte) error {
			if kind == unix.NFTA_GEN_ID {
				number, err = number32(value)
			}
			return err
		}))
	}
	return number, err
}

// ask sends a request and returns the messages that answer it, each without
// the struct nfgenmsg at its start.
func (s *nftSocket) ask(kind uint16, flags nfnetlink.HeaderFlags, attrs ...nfnetlink.Attribute) ([]nfnetlink.Message, error) {
	data, err := nfnetlink.MarshalAttributes(attrs)
	if err != nil {
		return nil, err
	}
	if err := s.conn.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
		return nil, err
	}
	answers, err := s.conn.Execute(nfnetlink.Message{
		Header: nfnetlink.Header{
			Type:  nfnetlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind),
			Flags: nfnetlink.Request | flags,
		},
		Data: append([]byte{unix.NFPROTO_IPV4, unix.NFNETLINK_V0, 0, 0}, data...),
	})
	if err != nil {
		s.discard()
		return nil, s.kernelError(err)
	}
	for i, m := range answers {
		if len(m.Data) < 4 {
			return nil, fmt.Errorf("the kernel answers with a message of %d bytes", len(m.Data))
		}
		answers[i].Data = m.Data[4:]
	}
	return answers, nil
}

// kernelError is err without the library's words.
func (s *nftSocket) kernelError(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("no answer from the kernel within %s", answerTimeout)
	}
	if number := unix.Errno(0); errors.As(err, &number) {
		return number
	}
	return err
}

// discard reads what is left of answers, which would be taken for those to the
// next request.
func (s *nftSocket) discard() {
	raw, err := s.conn.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		var message [1]byte // the kernel cuts the rest off
		for {
			_, _, err := unix.Recvfrom(int(fd), message[:], unix.MSG_DONTWAIT)
			if err != nil && err != unix.EINTR && err != unix.ENOBUFS {
				return
			}
		}
	})
}
