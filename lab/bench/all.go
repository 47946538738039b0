package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"rsagent/lab/machine"
)

var errMissed = errors.New("not all aims are met")

// everything is what one run came to.
type everything struct {
	Native *results `json:"native,omitempty"`
	Lab    *results `json:"lab,omitempty"`
}

// options are what the user may choose.
type options struct {
	json, strict bool
	where, parts string
}

func runAll(args []string) error {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.BoolVar(&o.json, "json", false, "print JSON instead of the table")
	flags.BoolVar(&o.strict, "strict", false, "exit with 1 if an aim is missed")
	flags.StringVar(&o.where, "where", "native,lab", "`places` to measure in")
	flags.StringVar(&o.parts, "parts", "repair,start,converge,size,storm,endpoint,probe", "what to measure, `names` with commas between")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	all, err := o.measure(ctx)
	if err != nil {
		return err
	}
	if o.json {
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(all)
	} else {
		_, err = os.Stdout.WriteString(all.table())
	}
	if err == nil && o.strict && !all.met() {
		return errMissed
	}
	return err
}

func (o options) measure(ctx context.Context) (everything, error) {
	var all everything
	self, err := os.Executable()
	if err != nil {
		return all, err
	}
	bin := filepath.Dir(self)
	places := strings.Split(o.where, ",")
	if slices.Contains(places, "native") {
		fmt.Fprintln(os.Stderr, "On this machine:")
		all.Native, err = onHost(ctx, bin, self, "-parts", o.parts,
			filepath.Join(bin, "agent.bench"), "-test.run=^TestRunForTheBench$", "-test.timeout=0")
		if err != nil {
			return all, err
		}
	}
	if slices.Contains(places, "lab") {
		fmt.Fprintln(os.Stderr, "In the lab:")
		all.Lab, err = inLab(ctx, bin, self, "-parts", o.parts, "-times", "200", "-gap", "30ms", "-fewer", "3",
			"rsagent", "run", "--config")
	}
	return all, err
}

// limit is how long all that is measured in one place may take.
const limit = 30 * time.Minute

// onHost measures on this machine, in namespaces of its own.
func onHost(ctx context.Context, bin, self string, args ...string) (*results, error) {
	out, err := os.MkdirTemp("", "bench-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(out)
	var stdout bytes.Buffer
	status, err := machine.RunOnHost(ctx, machine.Program{
		Args: append([]string{self, "first", "here"}, args...), Dir: ".", Out: out,
		Files:  []string{filepath.Join(bin, "rsagent")},
		Stdout: &stdout, Stderr: os.Stderr, Timeout: limit,
	})
	return understood("on this machine", stdout.Bytes(), status, err)
}

// inLab measures where the kernel has IPIP.
func inLab(ctx context.Context, bin, self string, args ...string) (*results, error) {
	var stdout bytes.Buffer
	cmd := command(ctx, filepath.Join(bin, "lab"), append([]string{
		"exec", "--timeout", limit.String(), "--with", filepath.Join(bin, "rsagent"), self, "here"}, args...)...)
	cmd.Stdout, cmd.Stderr = &stdout, os.Stderr
	err := cmd.Run()
	return understood("in the lab", stdout.Bytes(), 0, err)
}

func understood(where string, text []byte, status int, err error) (*results, error) {
	if err != nil {
		return nil, fmt.Errorf("cannot measure %s: %v", where, err)
	}
	if status != 0 {
		return nil, fmt.Errorf("cannot measure %s: exit status %d", where, status)
	}
	r := new(results)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("cannot understand what was measured %s: %v", where, err)
	}
	return r, nil
}

// command is one that is asked to end when ctx does, and given time for that:
// the lab ends its machine then.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patience
	return cmd
}
