package sockets

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Process is one that has a socket: proc_pid_stat(5).
type Process struct {
	PID       int
	Name      string // as the kernel has it, at most 15 bytes; the process's own word
	State     byte   // R, S, D, Z, T (stopped by a signal), t (by a debugger)
	Files     int    // that it has open
	FileLimit int    // that it may have open, RLIMIT_NOFILE; 0: not known or none
	Group     Group
}

// Stopped says that the process does nothing until somebody lets it go on.
func (p Process) Stopped() bool { return p.State == 'T' || p.State == 't' }

// String names the process.
func (p Process) String() string { return fmt.Sprintf("%s (process %d)", p.Name, p.PID) }

// Owners finds the processes below proc ("/proc") that have the sockets with
// these inodes, in the order of their numbers. It ends at the time given,
// however many processes there are. With an error, some of them may be missing.
func Owners(proc string, inodes map[uint32]bool, until time.Time) (map[uint32][]Process, error) {
	owners := make(map[uint32][]Process)
	if len(inodes) == 0 {
		return owners, nil
	}
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, fmt.Errorf("cannot look for the owners of sockets: %w", err)
	}
	hidden := false
	for i, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if time.Now().After(until) {
			return owners, fmt.Errorf("cannot look for the owners of sockets at all %d processes in time: %d looked at", len(entries), i)
		}
		held, files, err := socketsOf(filepath.Join(proc, e.Name(), "fd"), inodes)
		hidden = hidden || errors.Is(err, fs.ErrPermission)
		if len(held) == 0 {
			continue
		}
		p := describe(filepath.Join(proc, e.Name()), pid)
		p.Files = files
		for _, inode := range held {
			owners[inode] = append(owners[inode], p)
		}
	}
	for _, list := range owners {
		slices.SortFunc(list, func(a, b Process) int { return a.PID - b.PID })
	}
	if hidden {
		return owners, errors.New("cannot look at the files of all processes without root")
	}
	return owners, nil
}

// socketsOf returns the inodes of those wanted that stand in a directory fd of a
// process, and how many files stand there.
func socketsOf(dir string, wanted map[uint32]bool) (held []uint32, files int, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, 0, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	for _, name := range names {
		target, err := os.Readlink(dir + "/" + name)
		if err != nil {
			continue // closed meanwhile
		}
		number, isSocket := strings.CutPrefix(target, "socket:[")
		if !isSocket {
			continue
		}
		inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 32)
		if err == nil && wanted[uint32(inode)] && !slices.Contains(held, uint32(inode)) {
			held = append(held, uint32(inode))
		}
	}
	return held, len(names), err
}

// describe reads name, state and limit; what cannot be read stays empty.
func describe(dir string, pid int) Process {
	p := Process{PID: pid}
	stat, _ := os.ReadFile(filepath.Join(dir, "stat"))
	p.Name, p.State = parseStat(string(stat))
	limits, _ := os.ReadFile(filepath.Join(dir, "limits"))
	p.FileLimit = parseLimit(string(limits))
	p.Group = groupOf(dir, filepath.Join(filepath.Dir(filepath.Dir(dir)), "sys/fs/cgroup"))
	return p
}

// parseStat takes name and state off a line of stat. The name may hold anything,
// parentheses and blanks too.
func parseStat(stat string) (name string, state byte) {
	from, to := strings.IndexByte(stat, '('), strings.LastIndexByte(stat, ')')
	if from < 0 || to < from {
		return "", 0
	}
	if to+2 < len(stat) {
		state = stat[to+2]
	}
	return strings.ToValidUTF8(stat[from+1:to], "?"), state
}

// parseLimit is the soft limit of open files.
func parseLimit(limits string) int {
	for line := range strings.Lines(limits) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
			if fields := strings.Fields(rest); len(fields) > 0 {
				n, _ := strconv.Atoi(fields[0])
				return max(n, 0)
			}
		}
	}
	return 0
}
