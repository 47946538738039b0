// Package handover passes the socket on which the directors are answered from
// one daemon to the next, by way of systemd's file descriptor store
// (FileDescriptorStoreMax= in systemd.service(5)). Who asks in between waits in
// the socket's queue and is not refused.
package handover

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// name is what the socket is called in the store.
const name = "health"

// Give has systemd keep the socket for the next daemon (FDSTORE=1 in
// sd_notify(3); with FDNAME= since systemd 233). The caller should end soon: a
// socket that is kept and not accepted from lets people wait.
//
// An error says that systemd could not be told. Whether it keeps the socket it
// does not say: it does not if FileDescriptorStoreMax= of the unit is 0.
func Give(socket *os.File) error {
	raw, err := socket.SyscallConn()
	if err != nil {
		return fmt.Errorf("cannot give systemd the socket: %v", err)
	}
	// Not by Fd, which would make the socket block in every process that has it.
	var told error
	err = raw.Control(func(fd uintptr) {
		told = notify("FDSTORE=1\nFDNAME="+name, unix.UnixRights(int(fd)))
	})
	if err = errors.Join(err, told); err != nil {
		return fmt.Errorf("cannot give systemd the socket: %v", err)
	}
	return nil
}

// notifyLimit is how long systemd may let a full queue wait.
const notifyLimit = 2 * time.Second

// notify sends systemd a message, along with rights (unix(7)). This process may
// end at once then: systemd reads its messages before it asks which processes
// have ended (manager_setup_notify, src/core/manager.c).
func notify(state string, rights []byte) error {
	to := os.Getenv("NOTIFY_SOCKET")
	if to == "" {
		return errors.New("there is no NOTIFY_SOCKET")
	}
	// Not by package net, which sends no rights from a datagram socket without a
	// name of its own.
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	limit := unix.NsecToTimeval(notifyLimit.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
		return err
	}
	if err := unix.Sendmsg(fd, []byte(state), rights, &unix.SockaddrUnix{Name: to}, 0); err != nil {
		return fmt.Errorf("%s: %v", to, err)
	}
	return nil
}
