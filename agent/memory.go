package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"rsagent/agent/config"
	"rsagent/probe"
)

// memory is what a daemon that is restarted knew of its pools. It is a file,
// written when a daemon hands over and gone once the next has read it.
type memory struct {
	Written time.Time
	Pools   []rememberedPool
}

type rememberedPool struct {
	Name   string
	Asked  probe.Target // without what does not change the question
	State  string       // of probe.State, not "unknown"
	Detail string
	Since  time.Time
}

const (
	// memoryLasts is the age from which what is remembered says nothing any more.
	// A restart takes less than a second.
	memoryLasts = 10 * time.Second
	// memorySize is more than thousands of pools take.
	memorySize = 4 << 20
)

func memoryFile(directory string) string { return filepath.Join(directory, "pools.json") }

// question is what the probe of a pool asks. How often, and how many answers
// count, makes it no other question.
func question(c config.Config, p config.Pool) probe.Target {
	t := target(c, p)
	t.Interval, t.Timeout, t.Rise, t.Fall = 0, 0, 0, 0
	return t
}

// remember writes what is known of the pools for the next daemon: whole or not
// at all.
func remember(directory string, c config.Config, known map[string]probe.Result, now time.Time) error {
	m := memory{Written: now, Pools: []rememberedPool{}}
	for _, p := range c.Pools {
		if r := known[p.Name]; r.State != probe.Unknown {
			m.Pools = append(m.Pools, rememberedPool{
				Name: p.Name, Asked: question(c, p), State: r.State.String(), Detail: r.Detail, Since: r.Since,
			})
		}
	}
	if err := writeWhole(memoryFile(directory), m); err != nil {
		return fmt.Errorf("cannot remember the pools: %v", err)
	}
	return nil
}

// writeWhole writes what is to be remembered to a file, whole or not at all.
func writeWhole(path string, what any) error {
	text, err := json.Marshal(what)
	if err != nil {
		return err
	}
	draft := path + ".new"
	_ = os.Remove(draft) // of a process that was killed here
	f, err := os.OpenFile(draft, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(draft, path)
	}
	if err != nil {
		_ = os.Remove(draft)
	}
	return err
}

// recall reads what the daemon before knew of those pools that are asked the
// same still, and takes the file away. An error says why nothing of it is to be
// believed; that there is no file is none.
func recall(directory string, c config.Config, now time.Time) (map[string]probe.Result, error) {
	path := memoryFile(directory)
	text, err := readMemory(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if gone := os.Remove(path); err == nil && gone != nil {
		err = gone // it would be read again
	}
	if err != nil {
		return nil, fmt.Errorf("cannot believe what is remembered of the pools: %v", err)
	}
	m, err := parseMemory(text, now)
	if err != nil {
		return nil, fmt.Errorf("cannot believe what %s says: %v", path, err)
	}
	known := make(map[string]probe.Result)
	for _, p := range c.Pools {
		for _, r := range m.Pools {
			if r.Name == p.Name && reflect.DeepEqual(r.Asked, question(c, p)) {
				known[p.Name] = probe.Result{State: stateCalled(r.State), Detail: r.Detail, Since: r.Since}
			}
		}
	}
	return known, nil
}

// readMemory reads a file that nobody else can have written.
func readMemory(path string) ([]byte, error) {
	// O_NONBLOCK: a FIFO must not hold the daemon up.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	switch owner := int(info.Sys().(*syscall.Stat_t).Uid); {
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case owner != os.Geteuid() || info.Mode().Perm()&0o022 != 0:
		return nil, fmt.Errorf("%s can be written by others (user %d, mode %04o)", path, owner, info.Mode().Perm())
	case info.Size() > memorySize:
		return nil, fmt.Errorf("%s is longer than %d bytes", path, memorySize)
	}
	return io.ReadAll(io.LimitReader(f, memorySize))
}

// decodeWhole reads what writeWhole has written, and nothing else.
func decodeWhole(text []byte, what any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(what); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something stands after its end")
	}
	return nil
}

func parseMemory(text []byte, now time.Time) (memory, error) {
	var m memory
	if err := decodeWhole(text, &m); err != nil {
		return m, err
	}
	if age := now.Sub(m.Written); age < 0 || age > memoryLasts {
		return m, fmt.Errorf("it was written %v ago, want 0 s to %v", age.Round(time.Millisecond), memoryLasts)
	}
	seen := make(map[string]bool, len(m.Pools))
	for _, p := range m.Pools {
		if seen[p.Name] {
			return m, fmt.Errorf("pool %q is there twice", p.Name)
		}
		seen[p.Name] = true
		if stateCalled(p.State) == probe.Unknown {
			return m, fmt.Errorf("pool %q is in the state %q, want up or down", p.Name, p.State)
		}
	}
	return m, nil
}

// stateCalled is the state of that name, Unknown if none has it.
func stateCalled(name string) probe.State {
	for _, s := range []probe.State{probe.Up, probe.Down} {
		if s.String() == name {
			return s
		}
	}
	return probe.Unknown
}
