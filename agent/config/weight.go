package config

import (
	"fmt"
	"path"
	"time"
)

// Where the weight of the node comes from, as in weight.from.
const (
	WeightNone = "none" // it is full, always
	WeightLoad = "load" // the load average
	WeightFile = "file" // a number in a file
	WeightExec = "exec" // a number that a program prints
)

// Weight is the [weight] table: how much of its full part of the clients the
// node wants. Fields that From does not use are empty, but for the times.
type Weight struct {
	From string // WeightNone, WeightLoad, WeightFile or WeightExec
	File string // of file: an absolute path
	// Command belongs to exec: a program by its absolute path, and its
	// arguments.
	Command []string
	// Interval is the time from one look at the load, or start of the program,
	// to the next, at least MinWeightInterval. Timeout is the time that the
	// program may take, above zero.
	Interval, Timeout time.Duration
	// SlowStart is how long the weight takes to grow to the full after the node,
	// or a pool, has become ready; 0 is not at all.
	SlowStart time.Duration
}

// MinWeightInterval is the lower bound of weight.interval.
const MinWeightInterval = time.Second

func (s section) weight() Weight {
	s.onlyKnown(keysOf("[weight]"))
	w := Weight{
		From:      s.choice("from", WeightNone, WeightNone, WeightLoad, WeightFile, WeightExec),
		Interval:  s.duration("interval", 10*time.Second, MinWeightInterval),
		Timeout:   s.duration("timeout", 5*time.Second, time.Millisecond),
		SlowStart: s.duration("slow_start", 0, 0),
	}
	file := s.text("file", "", `an absolute path such as "/run/weight"`, func(t string) bool {
		return t == "" || absoluteFile(t)
	})
	switch w.From {
	case WeightFile:
		if w.File = file; file == "" && (!s.has("file") || s.table.byName["file"].value.text == "") {
			s.note(s.at, s.full("file"), "a weight from a file without a file", `file = "/run/weight", or another absolute path`)
		}
	case WeightExec:
		w.Command = s.command("a weight from a program")
	}
	s.onlyFor(w.From, "file", WeightFile, file != "")
	s.onlyFor(w.From, "command", WeightExec, s.has("command"))
	return w
}

// onlyFor notes a key that is given although from has no use for it: somebody
// believes that it counts.
func (s section) onlyFor(from, key, user string, given bool) {
	if given && from != "" && from != user {
		s.note(s.table.byName[key].at, s.full(key), fmt.Sprintf("%s, which from = %q does not use", key, from),
			fmt.Sprintf("from = %q with it", user))
	}
}

// absoluteFile tells whether a text is the absolute path of something in a
// directory.
func absoluteFile(t string) bool {
	return path.IsAbs(t) && path.Clean(t) == t && t != "/" && lineOfText(t)
}
