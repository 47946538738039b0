package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// bench measures on the machine that it runs on.
type bench struct {
	self  string   // this program
	agent []string // the command of the daemon; the file of its configuration follows
	kind  string   // of the tunnel device
	pace  pace
	fewer int // so many times fewer are the convergences
	parts []string
}

// results are the figures of one machine.
type results struct {
	Kernel string `json:"kernel"`
	CPUs   int    `json:"cpus"`
	Device string `json:"device"` // the kind of the device that holds the VIPs

	Repairs   []repair   `json:"repairs,omitempty"`
	Start     *start     `json:"start,omitempty"`
	Converges []converge `json:"converges,omitempty"`
	Sizes     []size     `json:"sizes,omitempty"`
	Storm     *storm     `json:"storm,omitempty"`
	Endpoint  *endpoint  `json:"endpoint,omitempty"`
	Probed    *probed    `json:"probed,omitempty"`
}

func newBench(args []string) (*bench, error) {
	b := &bench{}
	var err error
	if b.self, err = os.Executable(); err != nil {
		return nil, err
	}
	flags := flag.NewFlagSet("bench here", flag.ContinueOnError)
	parts := flags.String("parts", "repair", "what to measure, `names` with commas between")
	flags.IntVar(&b.pace.times, "times", 500, "how often a repair is measured")
	flags.DurationVar(&b.pace.gap, "gap", 5*time.Millisecond, "the shortest `time` between two faults; the longest is 4 times that")
	flags.IntVar(&b.fewer, "fewer", 1, "so many `times` fewer are the convergences")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	b.parts, b.agent = strings.Split(*parts, ","), flags.Args()
	if len(b.agent) == 0 {
		return nil, fmt.Errorf("cannot tell how to run the daemon: no command")
	}
	b.kind, err = deviceKind()
	return b, err
}

// deviceKind is ipip where the kernel has it, and else the first of the kinds
// that the kernel can make that is most like it: without ARP, if that can be.
func deviceKind() (string, error) {
	if exec.Command("modprobe", "-q", "ipip").Run() == nil {
		return "ipip", nil
	}
	const name = "bench0"
	for _, kind := range []string{"dummy", "ifb", "veth"} {
		if exec.Command("ip", "link", "add", name, "type", kind).Run() == nil {
			return kind, exec.Command("ip", "link", "del", name).Run()
		}
	}
	return "", fmt.Errorf("cannot make a device that holds the VIPs: no ipip, dummy, ifb or veth in this kernel")
}

func (b *bench) run() (results, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return results{}, err
	}
	r := results{Kernel: unix.ByteSliceToString(name.Release[:]), CPUs: cpus(), Device: b.kind}
	var err error
	for _, part := range []struct {
		name    string
		measure func() error
	}{
		{"repair", func() error { r.Repairs, err = b.repairs(); return err }},
		{"start", func() error { r.Start, err = b.starts(); return err }},
		{"converge", func() error { r.Converges, err = b.converges(); return err }},
		{"size", func() error { r.Sizes, err = b.sizes(); return err }},
		{"storm", func() error { r.Storm, err = b.storm(); return err }},
		{"endpoint", func() error { r.Endpoint, err = b.endpoint(); return err }},
		{"probe", func() error { r.Probed, err = b.probed(); return err }},
	} {
		if !slices.Contains(b.parts, part.name) {
			continue
		}
		if err := part.measure(); err != nil {
			return r, err
		}
	}
	return r, nil
}

func cpus() int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return 0
	}
	return set.Count()
}

// say tells what is being done; it is no part of the results.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "  %s\n", fmt.Sprintf(format, args...))
}
