package tunnel

import (
	"errors"
	"fmt"
)

// ErrNoIPIP is the error of a kernel that has no ipip devices and cannot get
// them.
var ErrNoIPIP = errors.New("the kernel has no ipip")

// Obstacle is what keeps the kernel from having ipip. The zero Obstacle is
// none.
type Obstacle struct {
	Cause   string // in words; empty if nothing speaks against ipip
	Remedy  string // what a person can do about it
	Certain bool   // false: it may be so; only trying tells
}

func noIPIP(o Obstacle) error {
	if o.Cause == "" {
		return fmt.Errorf("%w, and no cause can be told (see the kernel's log)", ErrNoIPIP)
	}
	if !o.Certain {
		return fmt.Errorf("%w; the cause may be: %s (%s)", ErrNoIPIP, o.Cause, o.Remedy)
	}
	return fmt.Errorf("%w: %s (%s)", ErrNoIPIP, o.Cause, o.Remedy)
}

// MissingIPIP tells what keeps the kernel from having ipip.
func MissingIPIP(root string) Obstacle {
	return Obstacle{}
}
