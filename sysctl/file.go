package sysctl

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Almost every value is far shorter than a page. The longest are port and CPU
// lists; net.ipv4.ip_local_reserved_ports can reach some hundred KiB.
const (
	firstRead = 4 << 10
	longest   = 1 << 20

	// The kernel looks at less than a page of what is written at once and leaves
	// the rest (kernel/sysctl.c, proc_get_long's callers), so that half a list
	// would be in force. With the line break this fills it.
	longestWrite = 4<<10 - 1
)

// open opens a key below the root. Keys have no ".." parts, and
// there are no symbolic links below /proc/sys. O_NOFOLLOW covers the last part.
func (f *FS) open(path string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(int(f.root.Fd()), path, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// Hold keeps these keys open, and no others: to read or to write one of them is
// one system call then, in the network namespace of the thread that held it. Keys
// that cannot be opened are passed over. What a key names may be replaced, as when
// an interface goes and another of the same name comes. The kernel says so of what
// is held (ENOENT, grab_header in fs/proc/proc_sysctl.c), and the key is looked for
// by its path, until it is given to Hold again.
func (f *FS) Hold(keys []Key) {
	f.holding.Lock()
	defer f.holding.Unlock()
	for _, fd := range f.held {
		unix.Close(fd)
	}
	f.held = make(map[Key]int, len(keys))
	for _, k := range keys {
		if _, twice := f.held[k]; twice || checkPath(string(k)) != nil {
			continue
		}
		if fd, err := f.open(string(k), unix.O_RDWR); err == nil {
			f.held[k] = fd
		}
	}
}

// use has do work on the open file of a key.
func (f *FS) use(k Key, flags int, do func(fd int) error) error {
	if held, err := f.useHeld(k, do); held && err != unix.ENOENT {
		return err
	}
	fd, err := f.open(string(k), flags)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return do(fd)
}

func (f *FS) useHeld(k Key, do func(fd int) error) (held bool, err error) {
	f.holding.RLock()
	defer f.holding.RUnlock()
	fd, held := f.held[k]
	if held {
		err = do(fd)
	}
	return held, err
}

// read returns the value of k. It reads into buf and returns buf or a longer
// one, so that the next read can use it.
func (f *FS) read(k Key, buf []byte) (text string, _ []byte, err error) {
	if err := checkPath(string(k)); err != nil {
		return "", buf, fmt.Errorf("cannot read %q: %v", string(k), err)
	}
	err = f.use(k, unix.O_RDONLY, func(fd int) (err error) {
		text, buf, err = readAll(fd, buf)
		return err
	})
	if err != nil {
		return "", buf, fmt.Errorf("cannot read %s: %w", k, err)
	}
	return text, buf, nil
}

func readAll(fd int, buf []byte) (string, []byte, error) {
	for {
		n, err := readStart(fd, buf)
		if err != nil {
			return "", buf, err
		}
		if n < len(buf) {
			return normalise(string(buf[:n])), buf, nil
		}
		if len(buf) >= longest {
			return "", buf, fmt.Errorf("it is longer than %d bytes", longest)
		}
		// Most keys give all of their value to the first read and nothing to a
		// second (kernel/sysctl.c, proc_dointvec and others), so a value that
		// was cut off must be read again from its start.
		buf = make([]byte, min(16*len(buf), longest))
	}
}

func readStart(fd int, buf []byte) (int, error) {
	for {
		n, err := unix.Pread(fd, buf, 0)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// write hands the value to the kernel in one pwrite(2): the kernel takes each
// write to a key as a whole new value. Nothing is created or cut to length, so
// a missing key is an error and watchers see one change.
func (f *FS) write(k Key, value string) error {
	if err := checkPath(string(k)); err != nil {
		return err
	}
	return f.use(k, unix.O_WRONLY, func(fd int) error { return writeAll(fd, value) })
}

func writeAll(fd int, value string) error {
	n, err := unix.Pwrite(fd, []byte(value+"\n"), 0)
	if err != nil {
		return err
	}
	// The kernel takes the first number of "1 2" for a key that holds one, and
	// says that it wrote less. Reading back tells what came of it.
	return cutTail(fd, int64(n))
}

// cutTail removes what a longer old value left behind in a plain file of a
// directory that stands for /proc/sys. A key's file is always of size 0.
func cutTail(fd int, size int64) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Size <= size {
		return nil
	}
	return unix.Ftruncate(fd, size)
}
