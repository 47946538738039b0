package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// onlyRootChanges is an error if anybody but root can decide what stands at a
// path, as sshd(8) wants it of the programs that it runs. On the way it follows
// every link, since where one leads is for the owner of the link to say.
func onlyRootChanges(path string) error {
	at, rest, links := "/", strings.Split(path, "/"), 0
	if err := onlyRoots("/"); err != nil {
		return err
	}
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, name)
		if err := onlyRoots(next); err != nil {
			return err
		}
		to, err := os.Readlink(next)
		if err != nil { // it is none
			at = next
			continue
		}
		if links++; links > maxLinks {
			return fmt.Errorf("%s: too many symbolic links", path)
		}
		if filepath.IsAbs(to) {
			at = "/"
		}
		rest = append(strings.Split(to, "/"), rest...)
	}
	return nil
}

// maxLinks is how many symbolic links the kernel follows: path_resolution(7).
const maxLinks = 40

// onlyRoots is an error if others than root may write one file or directory. A
// directory with the sticky bit, such as /tmp, does: what is root's there stays.
func onlyRoots(path string) error {
	var s unix.Stat_t
	if err := unix.Lstat(path, &s); err != nil {
		return fmt.Errorf("%s: %v", path, err)
	}
	kind := s.Mode & unix.S_IFMT
	sticky := kind == unix.S_IFDIR && s.Mode&unix.S_ISVTX != 0
	switch {
	case s.Uid != 0:
		return fmt.Errorf("%s belongs to user %d, want root", path, s.Uid)
	case kind != unix.S_IFLNK && s.Mode&0o022 != 0 && !sticky:
		return fmt.Errorf("%s can be written by others than root (mode %04o)", path, s.Mode&0o7777)
	}
	return nil
}
