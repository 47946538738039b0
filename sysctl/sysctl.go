// Package sysctl reads and writes kernel settings below /proc/sys, and knows
// what the kernel makes of them.
//
// Keys go to the kernel by path, so that interfaces with a dot in their name
// (VLANs such as eth0.100) are reached like any other. What is below
// /proc/sys/net belongs to the network namespace of the thread that asks.
package sysctl

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// FS is /proc/sys, or a directory that stands for it. The directory is held
// open, and the keys that Hold names. Its methods may be called concurrently.
type FS struct {
	root *os.File

	holding sync.RWMutex
	held    map[Key]int // descriptors; RDWR
}

// ErrStoredOtherwise is the error of a Write that the kernel took and made
// another value of.
var ErrStoredOtherwise = errors.New("the kernel made it")

// Value is what a key held when it was read, or why it could not be read.
type Value struct {
	Text string // trimmed, runs of white space made one space
	Err  error
}

// Values holds what was read of several keys.
type Values map[Key]Value

// Open opens the settings below root, usually /proc/sys. The caller closes
// the FS.
func Open(root string) (*FS, error) {
	dir, err := os.OpenFile(root, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open the kernel settings: %w", err)
	}
	return &FS{root: dir}, nil
}

// Close releases the directory and the keys.
func (f *FS) Close() error {
	f.Hold(nil)
	return f.root.Close()
}

// Read returns the value of a key, trimmed and with each run of white space
// made one space. Errors match fs.ErrNotExist, fs.ErrPermission and
// syscall.Errno values under errors.Is.
func (f *FS) Read(k Key) (string, error) {
	buf := make([]byte, firstRead)
	text, _, err := f.read(k, buf)
	return text, err
}

// Write sets a key and reads it back. The kernel may store something other
// than what was written ("1 2" is stored as 1): that is an error that says
// both. Values that are equal but for white space are the same. An empty value
// is written as an empty line, which clears keys that hold text or lists.
//
// Errors match ErrStoredOtherwise, fs.ErrNotExist, fs.ErrPermission,
// syscall.EINVAL (the kernel refuses the value), syscall.EROFS and the like
// under errors.Is.
func (f *FS) Write(k Key, value string) error {
	if strings.ContainsAny(value, "\n\x00") {
		return fmt.Errorf("cannot set %s to %q: a value is one line of text", k, value)
	}
	if len(value) >= longestWrite {
		return fmt.Errorf("cannot set %s to %.20q...: a value is at most %d bytes long, this one is %d",
			k, value, longestWrite-1, len(value))
	}
	if err := f.write(k, value); err != nil {
		return fmt.Errorf("cannot set %s to %q: %w", k, value, err)
	}
	got, err := f.Read(k)
	if errors.Is(err, unix.EACCES) {
		return nil // A few keys, such as net.ipv4.route.flush, can only be written.
	}
	if err != nil {
		return fmt.Errorf("cannot tell whether %s took %q: %w", k, value, err)
	}
	if !Equal(got, value) {
		return fmt.Errorf("cannot set %s to %q: %w %q", k, value, ErrStoredOtherwise, got)
	}
	return nil
}

// Snapshot reads several keys. Each value carries its own error.
func (f *FS) Snapshot(keys []Key) Values {
	values := make(Values, len(keys))
	buf := make([]byte, firstRead)
	for _, k := range keys {
		var v Value
		v.Text, buf, v.Err = f.read(k, buf)
		values[k] = v
	}
	return values
}

// Equal reports whether two values are the same but for white space. The
// kernel separates numbers by tabs where people write spaces.
func Equal(a, b string) bool { return normalise(a) == normalise(b) }

func normalise(s string) string {
	s = strings.TrimSpace(s)
	plain := true
	for i := range len(s) {
		if s[i] < ' ' || s[i] == ' ' && s[i-1] == ' ' {
			plain = false
			break
		}
	}
	if plain {
		return s
	}
	return strings.Join(strings.Fields(s), " ")
}
