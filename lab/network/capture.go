package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Capture records the frames on the cables of all hosts. It sits on the
// segment's ports, so nothing that a host sends gets past it.
type Capture struct {
	ports  map[int]string // hosts by the index of their port
	socket *os.File
	done   chan struct{}
	err    error
	frames []Frame
}

// captureBuffer is room for frames that come while nobody reads, in bytes.
const captureBuffer = 16 << 20

// StartCapture begins to record, before it returns.
func (s *Site) StartCapture() (*Capture, error) { return s.capture(nil) }

// StartARPCapture is StartCapture of ARP only, for long watches.
func (s *Site) StartARPCapture() (*Capture, error) {
	return s.capture([]unix.SockFilter{ // linux/Documentation/networking/filter.rst
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 12},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.ETH_P_ARP, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: frameStart},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	})
}

// frameStart is how much of each frame is kept, in bytes: all headers.
const frameStart = 128

// capture records what a filter of the kernel's lets through; nil: all.
func (s *Site) capture(filter []unix.SockFilter) (*Capture, error) {
	c := &Capture{ports: make(map[int]string), done: make(chan struct{})}
	err := s.segment.Do(func() error {
		for _, h := range s.Hosts() {
			port, err := net.InterfaceByName(h.Name)
			if err != nil {
				return err
			}
			c.ports[port.Index] = h.Name
		}
		var err error
		c.socket, err = packetSocket(unix.ETH_P_ALL, 0)
		if err != nil {
			return err
		}
		return c.only(filter)
	})
	if err != nil {
		return nil, fmt.Errorf("cannot capture: %v", err)
	}
	go func() {
		defer close(c.done)
		c.err = c.record()
	}()
	return c, nil
}

func (c *Capture) only(filter []unix.SockFilter) error {
	if filter == nil {
		return nil
	}
	conn, err := c.socket.SyscallConn()
	if err != nil {
		return err
	}
	var setErr error
	err = conn.Control(func(fd uintptr) {
		setErr = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	})
	return errors.Join(err, setErr)
}

// packetSocket opens a socket for frames of a kind in the namespace of the
// calling thread, on one interface or, with 0, on all.
func packetSocket(kind uint16, index int) (*os.File, error) {
	bigEndian := kind<<8 | kind>>8
	// No frame may come in before the socket is bound to what it is for.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian, Ifindex: index}),
	)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "packet"), nil
}

func (c *Capture) record() error {
	raw, err := c.socket.SyscallConn()
	if err != nil {
		return err
	}
	buffer := make([]byte, frameStart)
	for {
		var n int
		var from unix.Sockaddr
		var readErr error
		err := raw.Read(func(fd uintptr) bool {
			n, from, readErr = unix.Recvfrom(int(fd), buffer, 0)
			return readErr != unix.EAGAIN && readErr != unix.EINTR
		})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil // Stop, and all is read
		}
		if err := errors.Join(err, readErr); err != nil {
			return err
		}
		link, ok := from.(*unix.SockaddrLinklayer)
		if host := c.ports[link.Ifindex]; ok && host != "" {
			f := parseFrame(buffer[:n])
			f.Time, f.Host, f.Sent = time.Now(), host, link.Pkttype != unix.PACKET_OUTGOING
			c.frames = append(c.frames, f)
		}
	}
}

// Stop ends the capture and returns what it saw. It fails if the kernel
// dropped a frame, since then nothing is sure.
func (c *Capture) Stop() ([]Frame, error) {
	time.Sleep(50 * time.Millisecond) // for what is under way
	if err := c.socket.SetReadDeadline(time.Now()); err != nil {
		return nil, fmt.Errorf("cannot end a capture: %v", err)
	}
	<-c.done
	defer c.socket.Close()
	if c.err != nil {
		return nil, fmt.Errorf("cannot capture: %v", c.err)
	}
	raw, err := c.socket.SyscallConn()
	if err != nil {
		return nil, err
	}
	var stats *unix.TpacketStats
	err = errors.Join(raw.Control(func(fd uintptr) {
		stats, err = unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
	}), err)
	if err == nil && stats.Drops > 0 {
		err = fmt.Errorf("%d of %d frames were dropped", stats.Drops, stats.Packets)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot trust a capture: %v", err)
	}
	return c.frames, nil
}

// Asker asks by broadcast who has an address, again and again.
type Asker struct {
	socket *os.File
	frame  []byte
	stop   chan struct{}
	over   sync.WaitGroup
	mu     sync.Mutex
	asked  int
	err    error
}

// StartAsking has the host ask who has the address, ten times a second. A
// capture shows who answers.
func (h *Host) StartAsking(addr netip.Addr) (*Asker, error) {
	return h.StartAskingOn("eth0", h.Addr, addr)
}

// StartAskingOn is StartAsking on another interface, from its address.
func (h *Host) StartAskingOn(device string, from, addr netip.Addr) (*Asker, error) {
	a := &Asker{stop: make(chan struct{})}
	err := h.Do(func() error {
		link, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		a.frame = arpRequest(link.HardwareAddr, from, addr)
		a.socket, err = packetSocket(unix.ETH_P_ARP, link.Index)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot ask by ARP: %v", err)
	}
	a.over.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			a.Ask()
			select {
			case <-a.stop:
				return
			case <-tick.C:
			}
		}
	})
	return a, nil
}

// Ask asks once more, now.
func (a *Asker) Ask() {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, err := a.socket.Write(a.frame)
	a.err = errors.Join(a.err, err)
	a.asked++
}

// Stop ends the asking and returns how often it asked.
func (a *Asker) Stop() (int, error) {
	close(a.stop)
	a.over.Wait()
	return a.asked, errors.Join(a.err, a.socket.Close())
}
