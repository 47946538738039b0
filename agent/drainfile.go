package agent

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"rsagent/agent/control"
	"rsagent/agent/health"
)

// fileWatch follows drain.file while it is configured.
type fileWatch struct {
	path  string
	end   context.CancelFunc
	ended chan struct{}
}

// followDrainFile makes the configured file the one that is followed.
func (a *Agent) followDrainFile(ctx context.Context) {
	path := a.config.Drain.File
	if a.file != nil {
		if a.file.path == path {
			return
		}
		a.endDrainFile()
	}
	if path == "" {
		a.reinstate(wholeNode, byFile)
		return
	}
	ctx, end := context.WithCancel(ctx)
	w := &fileWatch{path: path, end: end, ended: make(chan struct{})}
	a.file = w
	sweep := a.config.Repair.Sweep
	go func() {
		defer close(w.ended)
		w.run(ctx, sweep, func() {
			a.do(ctx, func() { // the sweep looks too
				if a.lookForDrainFile() {
					a.round(health.FromSignal)
				}
			})
		})
	}()
}

func (a *Agent) endDrainFile() {
	if a.file != nil {
		a.file.end()
		<-a.file.ended
		a.file = nil
	}
}

// lookForDrainFile drains while the file is there. What cannot be told changes
// nothing. News says that a round is due.
func (a *Agent) lookForDrainFile() (news bool) {
	path := a.config.Drain.File
	if path == "" {
		return false
	}
	_, err := os.Lstat(path)
	absent := errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)
	switch {
	case absent:
		news = a.reinstate(wholeNode, byFile)
	case err != nil:
		if a.unseen.news(err) {
			a.log.Warn().Err(err).Msg("cannot tell whether the drain file is there")
		}
		return false
	case !a.reasons.has(wholeNode, byFile):
		news = true
		a.withdraw(wholeNode, control.Reason{Kind: byFile, Text: firstLine(path), Since: time.Now()}, a.config.Drain.Timeout)
	}
	if !absent && !news { // it may have been empty still when it was made
		a.reasons.add(wholeNode, control.Reason{Kind: byFile, Text: firstLine(path)})
		a.post()
	}
	a.unseen.news(nil)
	return news
}

// firstLine is what the file says, empty if that cannot be read: it is there.
func firstLine(path string) string {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	line, _ := bufio.NewReader(io.LimitReader(f, 4<<10)).ReadString('\n')
	return printable(strings.TrimSpace(line))
}

// run calls look at once, and whenever something happens to the file. Where that
// cannot be told, it tries again each interval.
func (w *fileWatch) run(ctx context.Context, interval time.Duration, look func()) {
	for ctx.Err() == nil {
		_ = w.watch(ctx, look) // its directory may not be there yet
		select {
		case <-ctx.Done():
		case <-time.After(interval):
		}
	}
}

// watch follows the directory of the file, by inotify(7), until that fails.
func (w *fileWatch) watch(ctx context.Context, look func()) error {
	const changes = unix.IN_CREATE | unix.IN_CLOSE_WRITE | unix.IN_DELETE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("cannot watch %s: %v", w.path, err)
	}
	inotify := os.NewFile(uintptr(fd), "inotify")
	defer inotify.Close()
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(w.path), changes|unix.IN_ONLYDIR); err != nil {
		return fmt.Errorf("cannot watch %s: %v", w.path, err)
	}
	end := context.AfterFunc(ctx, func() { inotify.Close() })
	defer end()
	buffer := make([]byte, 64<<10)
	for {
		look()
		n, err := inotify.Read(buffer)
		if err != nil {
			return err
		}
		// After the end of its directory there is no more word of it.
		if directoryGone(buffer[:n]) {
			look()
			return errors.New("its directory has gone")
		}
	}
}

// directoryGone tells whether the events say that the directory itself is no more.
func directoryGone(events []byte) bool {
	const maskAt, lengthAt, header = 4, 12, unix.SizeofInotifyEvent
	for len(events) >= header {
		if binary.NativeEndian.Uint32(events[maskAt:])&(unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_IGNORED|unix.IN_Q_OVERFLOW) != 0 {
			return true
		}
		events = events[min(len(events), header+int(binary.NativeEndian.Uint32(events[lengthAt:]))):]
	}
	return false
}
