// Bench measures what rsagent promises to be quick and small at, and prints one
// table of it:
//
//	bin/bench --native bin/agent.bench --lab bin/rsagent
//
// measures on this machine, in network namespaces, with the daemon's own code
// less what needs IPIP, and then in the lab's machine with the daemon itself.
// Its exit status is 0 when it has measured, 1 if --strict is given and an aim
// is missed, and 2 if it could not measure.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"
)

func main() {
	err := run(os.Args[1:])
	switch {
	case err == nil:
	case err == errMissed:
		os.Exit(1)
	default:
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(2)
	}
}

func run(args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "measure":
			return runMeasure(args[1:])
		case "floor":
			return runFloor(args[1:])
		case "storm":
			return runStorm(args[1:])
		case "ask":
			return runAsk(args[1:], os.Stdout)
		case "on":
			return goOn(args[1:])
		case "stand-in":
			return runStandIn(args[1:])
		case "first":
			return goFirst(args[1:])
		case "here":
			return runHere(args[1:])
		}
	}
	return runAll(args)
}

// runMeasure is measure for: FAULT VIP TIMES GAP.
func runMeasure(args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("cannot measure with the arguments %q", args)
	}
	f, err := faultCalled(args[0])
	if err != nil {
		return err
	}
	times, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	gap, err := time.ParseDuration(args[3])
	if err != nil {
		return err
	}
	return measure(f, args[1], times, gap, os.Stdout)
}

// runFloor is floor for: FAULT VIP.
func runFloor(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("cannot make a floor with the arguments %q", args)
	}
	f, err := faultCalled(args[0])
	if err != nil {
		return err
	}
	return floor(f, args[1], os.Stdout)
}

// runStorm is weather for: CHANGES VIPS.
func runStorm(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("cannot raise a storm with the arguments %q", args)
	}
	changes, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	return weather(changes, count, os.Stdout)
}

// runStandIn is standIn for: FLAGS.
func runStandIn(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("cannot stand in with the arguments %q", args)
	}
	flags, err := strconv.ParseUint(args[0], 10, 8)
	if err != nil {
		return err
	}
	return standIn(byte(flags))
}

// runHere measures on the machine that it runs on and writes the results as
// JSON.
func runHere(args []string) error {
	b, err := newBench(args)
	if err != nil {
		return err
	}
	r, err := b.run()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}
