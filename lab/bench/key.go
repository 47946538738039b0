package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// keyDrift is a kernel setting, whose writes inotify(7) tells of.
type keyDrift struct {
	path      string
	key       int
	inotify   int
	bad, good []byte
	buffer    []byte
}

func openKey(path, bad, good string) func(string) (drift, error) {
	return func(string) (drift, error) {
		d := &keyDrift{
			path: "/proc/sys/" + path, bad: []byte(bad + "\n"), good: []byte(good + "\n"),
			buffer: make([]byte, 4<<10),
		}
		var err error
		if d.key, err = unix.Open(d.path, unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
			return nil, &os.PathError{Op: "open", Path: d.path, Err: err}
		}
		return d, nil
	}
}

// Settle forgets the words of earlier writes.
func (d *keyDrift) Settle() error {
	if d.inotify == 0 {
		return d.Listen()
	}
	ready := []unix.PollFd{{Fd: int32(d.inotify), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(ready, 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil || n == 0:
			return err
		default:
			if err := d.told(); err != nil {
				return err
			}
		}
	}
}

func (d *keyDrift) Break() error { return d.write(d.bad) }

func (d *keyDrift) write(value []byte) error {
	_, err := unix.Pwrite(d.key, value, 0)
	return err
}

// Mended reads the value after each write. To read it over and over would take
// a processor away from those who repair.
func (d *keyDrift) Mended() error {
	value := make([]byte, 16)
	deadline := time.Now().Add(patience)
	for {
		ready := []unix.PollFd{{Fd: int32(d.inotify), Events: unix.POLLIN}}
		n, err := unix.Poll(ready, int(time.Until(deadline).Milliseconds()))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case n == 0:
			return fmt.Errorf("cannot see a change of %s within %v", d.path, patience)
		}
		if err := d.told(); err != nil {
			return err
		}
		if n, err = unix.Pread(d.key, value, 0); err != nil || bytes.Equal(value[:n], d.good) {
			return err
		}
	}
}

// Listen asks for word of writes.
func (d *keyDrift) Listen() error {
	var err error
	if d.inotify, err = unix.InotifyInit1(unix.IN_CLOEXEC); err != nil {
		return err
	}
	_, err = unix.InotifyAddWatch(d.inotify, d.path, unix.IN_MODIFY)
	return err
}

// Broken waits for a write.
func (d *keyDrift) Broken() error { return d.told() }

func (d *keyDrift) told() error {
	for {
		if _, err := unix.Read(d.inotify, d.buffer); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Mend writes, and takes note that the word of this write is its own.
func (d *keyDrift) Mend() error {
	if err := d.write(d.good); err != nil {
		return err
	}
	return d.told()
}
