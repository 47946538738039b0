package machine

import (
	"fmt"
	"io"
	"os"
	"time"
)

// step tells a person on w what do is about, and then how long it took. On a
// terminal the time runs while the step does.
func step(w io.Writer, what string, do func() error) error {
	began := time.Now()
	if !isTerminal(w) {
		fmt.Fprintf(w, "lab: %s ... ", what)
		err := do()
		fmt.Fprintln(w, outcome(began, err))
		return err
	}
	result := make(chan error, 1)
	go func() { result <- do() }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		fmt.Fprintf(w, "\rlab: %s ... %s\x1b[K", what, time.Since(began).Round(time.Second))
		select {
		case err := <-result:
			fmt.Fprintf(w, "\rlab: %s ... %s\x1b[K\n", what, outcome(began, err))
			return err
		case <-tick.C:
		}
	}
}

func outcome(began time.Time, err error) string {
	took := time.Since(began).Round(100 * time.Millisecond).String()
	if err != nil {
		return "failed after " + took
	}
	return took
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
