package sysctl

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Watcher tells of writes to settings from user space, by inotify(7). The
// kernel says nothing of what it changes by itself: a write to conf/default
// that spreads, an interface that comes or goes (fs/proc/proc_sysctl.c has no
// notification of its own). So it only starts a look early.
//
// It watches directories. Each is held open: without that, the kernel forgets
// the watch together with its cached inode when memory is short.
type Watcher struct {
	fs      *FS
	inotify *os.File
	fd      int // of inotify, which Fd would make blocking

	mu      sync.Mutex
	dirs    map[string]*watchedDir // by path below the root
	byWD    map[int32]*watchedDir  // by inotify's number
	lacking bool                   // a directory of a key was not there
	touched []Key                  // what was written since Changed was asked last
	lost    bool                   // there may be more
	buffer  []byte
}

type watchedDir struct {
	path  string
	held  *os.File
	wd    int32
	names map[string]bool // the settings in it that matter
}

// NewWatcher returns a Watcher that watches nothing yet. The caller closes it.
func (f *FS) NewWatcher() (*Watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("cannot watch the kernel settings: %v", err)
	}
	return &Watcher{
		fs: f, inotify: os.NewFile(uintptr(fd), "inotify"), fd: fd,
		dirs: make(map[string]*watchedDir), byWD: make(map[int32]*watchedDir),
		lost: true, buffer: make([]byte, 16<<10),
	}, nil
}

// Close ends every watch. Run must have returned.
func (w *Watcher) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range w.dirs {
		d.held.Close()
	}
	return w.inotify.Close()
}

// Set makes the keys the ones that are watched. Those that are watched already
// stay so, unless what they named has been replaced, as when an interface goes
// and another of the same name comes. Keys that are not there are passed over,
// see Lacks.
// The error names the first key that cannot be watched; the others are.
func (w *Watcher) Set(keys []Key) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	wanted := make(map[string]map[string]bool)
	for _, k := range keys {
		dir, name := path.Dir(string(k)), path.Base(string(k))
		if wanted[dir] == nil {
			wanted[dir] = make(map[string]bool)
		}
		wanted[dir][name] = true
	}
	for dir, d := range w.dirs {
		if wanted[dir] == nil || w.replaced(d) {
			w.drop(d)
		}
	}
	w.lacking = false
	var first error
	for dir, names := range wanted {
		if err := w.watch(dir, names); err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (w *Watcher) watch(dir string, names map[string]bool) error {
	if d := w.dirs[dir]; d != nil {
		d.names = names
		return nil
	}
	fd, err := w.fs.open(dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOENT) {
		w.lacking = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot watch %s: %v", Key(dir), err)
	}
	held := os.NewFile(uintptr(fd), dir)
	wd, err := unix.InotifyAddWatch(w.fd, "/proc/self/fd/"+strconv.Itoa(fd), unix.IN_MODIFY)
	if err != nil {
		held.Close()
		return fmt.Errorf("cannot watch %s: %v", Key(dir), err)
	}
	d := &watchedDir{path: dir, held: held, wd: int32(wd), names: names}
	w.dirs[dir], w.byWD[d.wd] = d, d
	return nil
}

// Lacks tells whether the last Set passed over a key whose directory was not
// there. A renamed interface is known by its new name before its settings are
// (the order of notifiers of NETDEV_CHANGENAME: rtnetlink_event, inetdev_event).
func (w *Watcher) Lacks() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lacking
}

// replaced says whether the path now leads somewhere else, or nowhere.
func (w *Watcher) replaced(d *watchedDir) bool {
	var held, now unix.Stat_t
	if err := unix.Fstat(int(d.held.Fd()), &held); err != nil {
		return true
	}
	if err := unix.Fstatat(int(w.fs.root.Fd()), d.path, &now, 0); err != nil {
		return true
	}
	return held.Ino != now.Ino || held.Dev != now.Dev
}

func (w *Watcher) drop(d *watchedDir) {
	delete(w.dirs, d.path)
	delete(w.byWD, d.wd)
	// EINVAL: the kernel ended the watch by itself.
	_, _ = unix.InotifyRmWatch(w.fd, uint32(d.wd))
	d.held.Close()
}

// Changed returns the watched keys that were written since it was asked last, by
// anybody. If that cannot be told, as when the kernel had to drop word of some,
// any may have been. It costs one system call.
func (w *Watcher) Changed() (keys []Key, any bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := w.drain(); err != nil {
		w.lost = true
	}
	keys, any = w.touched, w.lost
	w.touched, w.lost = nil, false
	return keys, any
}

// drain takes in all that has come so far, and tells whether some of it matters.
func (w *Watcher) drain() (matters bool, err error) {
	for {
		n, err := unix.Read(w.fd, w.buffer)
		switch {
		case err == unix.EAGAIN:
			return matters, nil
		case err == unix.EINTR:
		case err != nil:
			return matters, err
		case w.take(w.buffer[:n]):
			matters = true
		}
	}
}

// Run calls changed after each write to a watched key, and when the kernel had
// to drop word of some; changed must return at once and not call the Watcher.
// It blocks until ctx ends and then returns nil. What Changed has taken in
// already is not told of again.
func (w *Watcher) Run(ctx context.Context, changed func()) error {
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_ = w.inotify.SetReadDeadline(time.Unix(1, 0)) // ends the wait
	})
	defer func() {
		if !stop() {
			<-woken
		}
	}()
	raw, err := w.inotify.SyscallConn()
	if err == nil {
		var broken error
		// It goes on waiting until it is broken or the deadline has come.
		err = raw.Read(func(uintptr) bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			var matters bool
			if matters, broken = w.drain(); matters {
				changed()
			}
			return broken != nil
		})
		err = errors.Join(err, broken)
	}
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("cannot watch the kernel settings: %v", err)
}

// take notes the watched keys that the events are about, and tells whether
// there were any.
func (w *Watcher) take(events []byte) (matters bool) {
	for len(events) >= unix.SizeofInotifyEvent {
		wd := int32(binary.NativeEndian.Uint32(events))
		mask := binary.NativeEndian.Uint32(events[4:])
		end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
		if end > len(events) || mask&unix.IN_Q_OVERFLOW != 0 {
			w.lost = true
			return true
		}
		name := bytes.TrimRight(events[unix.SizeofInotifyEvent:end], "\x00")
		if d := w.byWD[wd]; d != nil && d.names[string(name)] {
			matters = true
			if key := Key(d.path + "/" + string(name)); !slices.Contains(w.touched, key) {
				w.touched = append(w.touched, key)
			}
		}
		events = events[end:]
	}
	return matters
}
