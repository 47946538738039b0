package handover

import (
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// Taken are the sockets that an earlier daemon has left, if any.
type Taken struct{ sockets []*net.TCPListener }

// Take takes over what systemd passes to this process (sd_listen_fds(3)) and
// has it forget that: from here on, if this process ends, the port is closed,
// and nobody waits for an answer that never comes. Nothing of it shows to a
// program that is run later.
//
// An error says that systemd could not be told; what was passed is taken even
// so. Whatever else systemd passes is closed.
func Take() (Taken, error) {
	files := activation.Files(true)
	os.Unsetenv("LISTEN_PIDFDID") // of newer systemd; Files does not know it
	var t Taken
	passed := false
	for _, f := range files {
		if f.Name() == name {
			passed = true
			if l := listening(f); l != nil {
				t.sockets = append(t.sockets, l)
			}
		}
		f.Close()
	}
	if !passed {
		return t, nil
	}
	if err := notify("FDSTOREREMOVE=1\nFDNAME="+name, nil); err != nil {
		return t, fmt.Errorf("cannot have systemd forget the socket: %v", err)
	}
	return t, nil
}

// listening is the file as a listener, or nil if it is no TCP socket that
// listens.
func listening(f *os.File) *net.TCPListener {
	l, err := net.FileListener(f)
	if err != nil {
		return nil
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok || option(tcp, unix.SO_ACCEPTCONN) != 1 {
		l.Close()
		return nil
	}
	return tcp
}

// Listen returns a listener at host:port: one that was taken if it is the same,
// else a new one. Those that are not are closed first, since they could have
// the port.
func (t *Taken) Listen(address string) (l net.Listener, taken bool, err error) {
	left := t.sockets
	t.sockets = nil
	for _, socket := range left {
		switch {
		case !isAt(socket, address) || !here(socket):
			end(socket)
		case taken: // the same once more
			socket.Close()
		default:
			l, taken = socket, true
		}
	}
	if taken {
		return l, true, nil
	}
	l, err = net.Listen("tcp", address)
	return l, false, err
}

// Close closes what was taken and not used.
func (t *Taken) Close() {
	for _, socket := range t.sockets {
		end(socket)
	}
	t.sockets = nil
}

// end makes a socket stop to listen in every process that has it: systemd may
// not have read yet that it is to forget it, and would keep the port taken.
func end(l *net.TCPListener) {
	control(l, func(fd int) error { return unix.Shutdown(fd, unix.SHUT_RDWR) })
	l.Close()
}

// isAt tells whether net.Listen would listen at the same place.
func isAt(l *net.TCPListener, address string) bool {
	want, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return false
	}
	have := l.Addr().(*net.TCPAddr)
	if want.Port != have.Port || want.Zone != have.Zone {
		return false
	}
	return want.IP.Equal(have.IP) || everywhere(want.IP) && everywhere(have.IP)
}

// everywhere tells whether an address stands for all of the node. Listening at
// 0.0.0.0 or at :: is the same for package net.
func everywhere(ip net.IP) bool { return len(ip) == 0 || ip.IsUnspecified() }

// here tells whether a socket is in the network namespace of this thread: the
// unit may have got another one meanwhile.
func here(l *net.TCPListener) bool {
	var same bool
	err := control(l, func(fd int) error {
		ns, err := unix.IoctlRetInt(fd, unix.SIOCGSKNS) // Linux 4.10
		if err != nil {
			return err
		}
		defer unix.Close(ns)
		var its, ours unix.Stat_t
		if err := unix.Fstat(ns, &its); err != nil {
			return err
		}
		err = unix.Stat("/proc/thread-self/ns/net", &ours)
		same = its.Dev == ours.Dev && its.Ino == ours.Ino
		return err
	})
	return err == nil && same
}

// option is a number at the level SOL_SOCKET, -1 if it cannot be had.
func option(c syscall.Conn, which int) int {
	value := -1
	err := control(c, func(fd int) (err error) {
		value, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, which)
		return err
	})
	if err != nil {
		return -1
	}
	return value
}

func control(c syscall.Conn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return err
	}
	return failed
}
