package sysctl

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// directories are where systemd-sysctl finds files, those that count first: of
// files with the same name the first (sysctl.d(5)).
var directories = []string{"etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d", "lib/sysctl.d"}

// longestFile is how much of a file is read, in bytes.
const longestFile = 1 << 20

// AtBoot reads what systemd-sysctl.service sets at boot, and what looks like it and
// is not read: files of other names, files in whose place another counts, and
// /etc/sysctl.conf, which is read only where a link leads to it. Root is / but in
// tests. The error says what could not be read.
func AtBoot(root string) (Boot, error) {
	f := files{root: root, counts: map[string]string{}}
	for _, dir := range directories {
		f.list(dir)
	}
	for _, name := range slices.Sorted(maps.Keys(f.counts)) {
		f.boot.Read = append(f.boot.Read, f.read(f.counts[name])...)
	}
	const old = "etc/sysctl.conf"
	if !f.reads(old) {
		f.leave(old, "which nothing reads at boot")
	}
	return f.boot, errors.Join(f.errs...)
}

// files is what is found while the directories are looked through.
type files struct {
	root   string
	counts map[string]string // by its name, the path of the file that counts
	seen   []fs.FileInfo     // those that were read
	boot   Boot
	errs   []error
}

func (f *files) list(dir string) {
	entries, err := os.ReadDir(filepath.Join(f.root, dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.errs = append(f.errs, fmt.Errorf("cannot list what sets kernel settings at boot: %w", err))
	}
	if f.same(dir) {
		return // /lib is often /usr/lib
	}
	for _, e := range entries {
		name, file := e.Name(), path.Join(dir, e.Name())
		first, masked := f.counts[name]
		switch {
		case e.IsDir():
		case !strings.HasSuffix(name, ".conf"):
			if meant(name) {
				f.leave(file, "whose name does not end in .conf")
			}
		case masked:
			f.leave(file, fmt.Sprintf("in place of which /%s counts", first))
		default:
			f.counts[name] = file
		}
	}
}

// same tells whether a directory is usr/lib/sysctl.d by another name.
func (f *files) same(dir string) bool {
	if dir != "lib/sysctl.d" {
		return false
	}
	a, errA := os.Stat(filepath.Join(f.root, "usr/lib/sysctl.d"))
	b, errB := os.Stat(filepath.Join(f.root, dir))
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// meant tells whether the name of a file is one that somebody may have expected to
// be read. Copies that editors and package managers leave are not meant.
func meant(name string) bool {
	return !strings.ContainsAny(name, ".~") && !strings.HasPrefix(name, "README")
}

func (f *files) leave(file, why string) {
	if list := f.read(file); len(list) > 0 {
		f.boot.Unread = append(f.boot.Unread, Unread{list, why})
	}
}

// reads tells whether one of the files that count is that file, by a link.
func (f *files) reads(file string) bool {
	info, err := os.Stat(filepath.Join(f.root, file))
	if err != nil {
		return true // there is none
	}
	return slices.ContainsFunc(f.seen, func(other fs.FileInfo) bool { return os.SameFile(info, other) })
}

// read reads one file. What is no file, such as /dev/null, is empty.
func (f *files) read(file string) []Assignment {
	text, info, err := readFile(filepath.Join(f.root, file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a link that leads nowhere, or gone meanwhile
	}
	if err != nil {
		f.errs = append(f.errs, fmt.Errorf("cannot read what sets kernel settings at boot: %w", err))
		return nil
	}
	f.seen = append(f.seen, info)
	return assignments("/"+file, text)
}

func readFile(name string) (string, fs.FileInfo, error) {
	in, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe is not waited for
	if err != nil {
		return "", nil, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return "", info, err
	}
	text, err := io.ReadAll(io.LimitReader(in, longestFile))
	return string(text), info, err
}
