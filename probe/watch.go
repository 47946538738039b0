package probe

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// State is whether a service is in working order.
type State int

const (
	Unknown State = iota // not asked yet
	Up
	Down
)

func (s State) String() string {
	switch s {
	case Up:
		return "up"
	case Down:
		return "down"
	}
	return "unknown"
}

// Result is what is thought of a service.
type Result struct {
	State State

	// Detail says why the service is not up, or what was wrong with the last
	// attempt if it was bad and the service still counts as up. Else it is empty.
	Detail string

	// Since is when the service came into this state.
	Since time.Time
}

// Watch asks a service again and again until ctx ends, the first time at once.
// It takes Rise good attempts in a row for it to come up and Fall bad ones to go
// down, from before, which is what was thought of the service already. If that
// is Unknown, the outcome of the first attempt is trusted at once. Attempts
// never overlap: one that takes longer than Interval is followed by the next at
// once.
//
// report is called whenever State or Detail changes, from the goroutine that
// called Watch; the next attempt waits for it to return.
func Watch(ctx context.Context, t Target, before Result, report func(Result)) {
	watch(ctx, t.Try, t.interval(), judge{rise: t.Rise, fall: t.Fall, result: before}, report)
}

func watch(ctx context.Context, try func(context.Context) error, interval time.Duration, j judge, report func(Result)) {
	timer := time.NewTimer(interval)
	defer timer.Stop()
	for ctx.Err() == nil {
		start := time.Now()
		err := try(ctx)
		if ctx.Err() != nil {
			return // The attempt was cut short: it says nothing about the service.
		}
		if !starved(err) {
			if result, changed := j.hear(err, time.Now()); changed {
				report(result)
			}
		}
		timer.Reset(interval - time.Since(start))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
	}
}

// starved reports whether an attempt failed for want of descriptors, processes or
// memory on this side. That says nothing of the service.
func starved(err error) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return false
	}
	switch errno {
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EAGAIN:
		return true
	}
	return false
}

// judge turns the outcomes of attempts into a state.
type judge struct {
	rise, fall int
	streak     int // attempts in a row that speak against the present state
	result     Result
}

// hear takes the outcome of one attempt and returns what is now thought of the
// service, and whether that differs from before.
func (j *judge) hear(err error, now time.Time) (Result, bool) {
	before := j.result
	outcome, need := Up, j.rise
	if err != nil {
		outcome, need = Down, j.fall
	}
	switch {
	case j.result.State == outcome:
		j.streak = 0
	case j.result.State == Unknown || j.streak+1 >= need:
		j.streak = 0
		j.result.State, j.result.Since = outcome, now
	default:
		j.streak++
	}
	j.result.Detail = ""
	if err != nil {
		j.result.Detail = err.Error()
	} else if j.result.State == Down {
		j.result.Detail = fmt.Sprintf("answers again, %d of %d good attempts", j.streak, need)
	}
	return j.result, j.result != before
}
