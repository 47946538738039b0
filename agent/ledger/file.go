package ledger

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	appending = os.O_WRONLY | os.O_APPEND | unix.O_NOFOLLOW

	// 10,000 entries are less than 1 MiB, and rewriting keeps the file in
	// proportion to them.
	longest = 64 << 20
)

// readFile returns what stands at path, "" if nothing does. It believes only a
// file that nobody else could have written.
func readFile(path string) (string, error) {
	// O_NONBLOCK: a FIFO must not hold the caller up.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENOENT) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot read %s: %v", path, reason(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("cannot read %s: %v", path, reason(err))
	}
	if err := acceptable(info); err != nil {
		return "", fmt.Errorf("cannot read %s: %v", path, err)
	}
	text := make([]byte, info.Size())
	n, err := io.ReadFull(f, text)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return "", fmt.Errorf("cannot read %s: %v", path, reason(err))
	}
	return string(text[:n]), nil
}

func acceptable(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return errors.New("it is not a regular file")
	}
	owner := int(info.Sys().(*syscall.Stat_t).Uid)
	if owner != os.Geteuid() {
		return fmt.Errorf("it belongs to user %d, who could have written anything", owner)
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("others may write it (mode %04o)", mode)
	}
	if info.Size() > longest {
		return fmt.Errorf("it is longer than %d bytes", longest)
	}
	return nil
}

// write brings the file up to date.
func (l *Ledger) write() error {
	if l.file != nil && len(l.unwritten) == 0 {
		return nil
	}
	// Four lines for each that counts: rewriting then costs little beside the
	// writes that led to it.
	overgrown := l.lines > 4*len(l.changes)+1000
	if l.file == nil || overgrown {
		err := l.rewrite()
		if err == nil || l.file == nil {
			return err
		}
	}
	n, err := l.file.Write(l.unwritten)
	if err == nil {
		l.unwritten = nil
		return nil
	}
	// A write that was cut short goes on where it ended, so that the file will
	// be whole.
	l.unwritten = l.unwritten[n:]
	if overgrown { // on a disk that stays full it would grow for ever
		l.file.Close()
		l.file, l.unwritten = nil, nil
	}
	return l.cannotWrite(err)
}

// rewrite puts a new file with what counts in the place of the old one, whole
// or not at all.
func (l *Ledger) rewrite() error {
	draft := l.path + ".new"
	_ = os.Remove(draft) // of a process that was killed here
	f, err := os.OpenFile(draft, appending|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return l.cannotWrite(err)
	}
	_, err = f.Write(l.text())
	if err == nil {
		err = os.Rename(draft, l.path)
	}
	if err != nil {
		f.Close()
		_ = os.Remove(draft)
		return l.cannotWrite(err)
	}
	if l.file != nil {
		l.file.Close()
	}
	l.file, l.unwritten, l.lines = f, nil, 1+len(l.changes)
	return nil
}

func (l *Ledger) cannotWrite(err error) error {
	return fmt.Errorf("cannot write to %s what the node was before: %v", l.path, reason(err))
}

// reason is err without the path, which may be the draft's.
func reason(err error) error {
	var number syscall.Errno
	if errors.As(err, &number) {
		return number
	}
	return err
}
