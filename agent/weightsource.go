package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"rsagent/agent/config"
	"rsagent/probe"
)

// weightSource is where the weight of the node comes from.
type weightSource struct {
	config config.Weight
	root   string        // where /proc and /sys are found
	pace   time.Duration // from one look to the next
}

func weightSourceOf(c config.Config, root string) weightSource {
	s := weightSource{config: c.Weight, root: root, pace: c.Weight.Interval}
	if c.Weight.From == config.WeightFile { // its changes are told; this is the truth behind that
		s.pace = c.Repair.Sweep
	}
	s.config.SlowStart = 0 // is not the source's
	return s
}

// ask is the weight now.
func (s weightSource) ask(ctx context.Context) (int, error) {
	switch s.config.From {
	case config.WeightLoad:
		return weightByLoad(s.root)
	case config.WeightFile:
		return weightInFile(s.config.File)
	case config.WeightExec:
		return weightByCommand(ctx, s.config.Command, s.config.Timeout)
	}
	return fullWeight, nil
}

// follow tells what the source says, at once and whenever that may be something
// else, until ctx ends.
func (s weightSource) follow(ctx context.Context, heard func(percent int, err error)) {
	var watch sync.WaitGroup
	defer watch.Wait()
	word := make(chan struct{}, 1)
	if s.config.From == config.WeightFile {
		w := fileWatch{path: s.config.File}
		watch.Go(func() {
			w.run(ctx, s.pace, func() {
				select {
				case word <- struct{}{}:
				default:
				}
			})
		})
	}
	ticks := time.NewTicker(s.pace)
	defer ticks.Stop()
	for {
		percent, err := s.ask(ctx)
		if ctx.Err() != nil {
			return
		}
		heard(percent, err)
		select {
		case <-ctx.Done():
			return
		case <-word:
			time.Sleep(writeTime)
		case <-ticks.C:
		}
	}
}

// writeTime is from word of a change of the file to the look at it. Who has made or
// emptied it has that time to write it, and a directory in which much happens does
// not keep the daemon busy.
const writeTime = 50 * time.Millisecond

func weightByLoad(root string) (int, error) {
	load, err := os.ReadFile(filepath.Join(root, "proc/loadavg")) // proc_loadavg(5)
	if err != nil {
		return 0, fmt.Errorf("cannot tell the load: %v", err)
	}
	online, err := os.ReadFile(filepath.Join(root, "sys/devices/system/cpu/online"))
	if err != nil {
		return 0, fmt.Errorf("cannot count the processors: %v", err)
	}
	return weightOf(string(load), string(online))
}

// weightOf is full while as many processes want to run as there are processors,
// and in proportion less when more do: at twice as many each gets half of what it
// could use. So is what piranha's load_monitor goes by, and most scripts for
// HAProxy. It is not the idle time, which others send: that asks for less from a
// node that is merely busy, and swings, since it falls to nothing where trouble
// only begins. Nor is it /proc/pressure/cpu, which tells how long somebody waited
// and not how many did, and which Red Hat's kernels leave off by default.
func weightOf(loadavg, online string) (int, error) {
	first, _, _ := strings.Cut(loadavg, " ")
	load, err := strconv.ParseFloat(first, 64)
	if err != nil || !(load >= 0) {
		return 0, fmt.Errorf("cannot tell the load by %q", printable(loadavg))
	}
	processors, err := countRanges(strings.TrimSpace(online))
	if err != nil {
		return 0, fmt.Errorf("cannot count the processors: %v", err)
	}
	if load <= float64(processors) {
		return fullWeight, nil
	}
	return max(1, int(fullWeight*float64(processors)/load)), nil
}

// countRanges counts what is listed as 0-3,5: "CPU lists" of
// Documentation/admin-guide/cputopology.rst.
func countRanges(list string) (int, error) {
	n := 0
	for part := range strings.SplitSeq(list, ",") {
		low, high, isRange := strings.Cut(part, "-")
		if !isRange {
			high = low
		}
		from, err := strconv.ParseUint(low, 10, 16)
		to, err2 := strconv.ParseUint(high, 10, 16)
		if err != nil || err2 != nil || from > to {
			return 0, fmt.Errorf("%q is no list of processors", printable(list))
		}
		n += int(to-from) + 1
	}
	return n, nil
}

// weightInFile is the number in a file. Errors do not show what stands there:
// everybody may read them, and not perhaps the file.
func weightInFile(path string) (int, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO must not hold it up
	if errors.Is(err, fs.ErrNotExist) {
		return 0, errors.New("there is no such file")
	}
	if err != nil {
		return 0, fmt.Errorf("cannot read it: %v", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return 0, errors.New("it is not a regular file")
	}
	const longest = 100
	text, err := io.ReadAll(io.LimitReader(f, longest+1))
	if err != nil {
		return 0, fmt.Errorf("cannot read it: %v", err)
	}
	percent, good := parseWeight(string(text))
	switch {
	case len(text) == 0:
		return 0, errors.New("it is empty")
	case !good || len(text) > longest:
		return 0, errors.New("it holds something else")
	}
	return percent, nil
}

// parseWeight reads a whole number of percent, with white space around it.
func parseWeight(text string) (percent int, good bool) {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 8)
	return int(n), err == nil && n <= fullWeight
}

// weightByCommand is the number that a program prints.
func weightByCommand(ctx context.Context, command []string, timeout time.Duration) (int, error) {
	if err := onlyRootChanges(command[0]); err != nil {
		return 0, fmt.Errorf("not run, since it would have the rights of the daemon: %v", err)
	}
	text, err := probe.Output(ctx, command, timeout)
	if err != nil {
		return 0, err
	}
	percent, good := parseWeight(text)
	if !good {
		return 0, fmt.Errorf("it prints %q", printable(strings.TrimSpace(text)))
	}
	return percent, nil
}
