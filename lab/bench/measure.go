package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"time"
)

// measure breaks a thing a number of times and writes how long each repair
// took, from just before the change to the moment at which its undoing shows.
// It is a process of its own, beside the one that repairs. Between two changes
// it rests for gap to 4 times gap, so that whoever repairs has come to rest too.
func measure(f fault, vip string, times int, gap time.Duration, w io.Writer) error {
	runtime.LockOSThread()
	d, err := f.open(vip)
	if err != nil {
		return fmt.Errorf("cannot measure the repair of %s: %v", f.Title, err)
	}
	took := make([]time.Duration, 0, times)
	for range times {
		time.Sleep(gap + rand.N(3*gap))
		t, err := one(d)
		if err != nil {
			return fmt.Errorf("cannot measure the repair of %s, after %d: %v", f.Title, len(took), err)
		}
		took = append(took, t)
	}
	return json.NewEncoder(w).Encode(took)
}

func one(d drift) (time.Duration, error) {
	if err := d.Settle(); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := d.Break(); err != nil {
		return 0, err
	}
	if err := d.Mended(); err != nil {
		return 0, err
	}
	return time.Since(began), nil
}

// floor is what no repair can be faster than: a loop that waits for the event
// and makes one prepared system call. It brings the thing in order first, says
// so on w, and never ends by itself.
func floor(f fault, vip string, w io.Writer) error {
	runtime.LockOSThread()
	d, err := f.open(vip)
	if err != nil {
		return fmt.Errorf("cannot make the floor for %s: %v", f.Title, err)
	}
	if err := errors.Join(d.Listen(), d.Mend()); err != nil {
		return fmt.Errorf("cannot make the floor for %s: %v", f.Title, err)
	}
	fmt.Fprintln(w, waiting)
	for {
		if err := d.Broken(); err != nil {
			return err
		}
		if err := d.Mend(); err != nil {
			return err
		}
	}
}

// waiting is what floor says when it is ready.
const waiting = "waiting"
