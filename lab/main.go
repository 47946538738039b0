// Lab runs programs as root on a machine that has IPIP and IPVS: a virtual one
// that it builds, or this host where its kernel has them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"rsagent/lab/machine"
)

const usage = `Usage:
  lab exec [--systemd | --boot SCRIPT] [--kernel ARGS] [--timeout D]
           [--with FILE]... PROGRAM [ARG]...
        Run a static program as root on a machine that has IPIP and IPVS.
        Its testdata directory comes along from here, each FILE is on its PATH,
        and so do environment variables named LAB_*. What it leaves in the
        directory $LAB_OUT is brought back to ./lab-out, or to LAB_OUT as it is
        set here. The exit status is the program's, or 125 without one.
        With --systemd it runs when systemd has booted the machine. With --boot it
        sees a boot and a power-off: SCRIPT is run on the machine's disk before
        systemd starts, PROGRAM is started before the network is up, and gets a
        SIGTERM when all that uses the network has stopped. ARGS are more arguments
        of the machine's kernel, such as security=selinux.
        To use it with go test, give absolute paths:
          go test -tags lab -exec "$PWD/bin/lab exec --with $PWD/bin/rsagent" ./lab/systest
        LAB_VM=always takes a virtual machine, never takes this host, auto (the
        default) takes this host if it has all that is needed.
  lab image
        Build the virtual machine's image if it is not there, and say where it is.
`

// statusNone is the exit status when the program has none, as env(1) has it.
const statusNone = 125

func main() {
	ctx, stop := signal.NotifyContext(context.Background(),
		syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	status, err := run(ctx, os.Args[1:])
	if ctx.Err() != nil {
		err = errors.New("stopped by a signal")
	}
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "lab: %v\n", err)
		status = statusNone
	}
	os.Exit(status)
}

func run(ctx context.Context, args []string) (int, error) {
	if len(args) == 0 {
		return 0, errors.New("cannot tell what to do: no command; lab help says what there is")
	}
	switch args[0] {
	case "exec":
		return execute(ctx, args[1:])
	case "image":
		image, err := machine.Prepare(ctx, os.Stderr)
		if err == nil {
			fmt.Println(image.Dir)
		}
		return 0, err
	case "help", "-h", "--help":
		fmt.Print(usage)
		return 0, nil
	default:
		return 0, fmt.Errorf("cannot do %q: lab help says what there is", args[0])
	}
}

// execute runs a program where LAB_VM says.
func execute(ctx context.Context, args []string) (int, error) {
	program, err := parseProgram(args, os.Environ())
	if err != nil {
		return 0, err
	}
	program.Stdout, program.Stderr = os.Stdout, os.Stderr
	if sameFile(os.Stdout, os.Stderr) {
		program.Stderr = program.Stdout
	}
	where := os.Getenv("LAB_VM")
	switch where {
	case "always":
	case "never", "", "auto":
		lacking := machine.HostLacks(ctx, program)
		if lacking == nil {
			return machine.RunOnHost(ctx, program)
		}
		if where == "never" {
			return 0, fmt.Errorf("cannot run on this host: %w", lacking)
		}
	default:
		return 0, fmt.Errorf("cannot tell where to run: LAB_VM is %q, not always, never or auto", where)
	}
	image, err := machine.Prepare(ctx, os.Stderr)
	if err != nil {
		return 0, err
	}
	accel, err := machine.ChooseAccel(ctx, image, os.Stderr)
	if err != nil {
		return 0, err
	}
	return image.Run(ctx, accel, program, os.Stderr)
}

// parseProgram reads the arguments of exec and what goes along of the environment.
func parseProgram(args, environ []string) (machine.Program, error) {
	p := machine.Program{Dir: ".", Out: "lab-out", Timeout: 30 * time.Minute}
	flags := flag.NewFlagSet("exec", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&p.Systemd, "systemd", false, "")
	flags.StringVar(&p.Kernel, "kernel", "", "")
	flags.StringVar(&p.Boot, "boot", "", "")
	flags.DurationVar(&p.Timeout, "timeout", p.Timeout, "")
	flags.Func("with", "", func(file string) error {
		p.Files = append(p.Files, file)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return p, fmt.Errorf("cannot understand the arguments of exec: %v; see lab help", err)
	}
	if p.Timeout <= 0 {
		return p, fmt.Errorf("cannot use --timeout %v: it must be more than 0", p.Timeout)
	}
	if flags.NArg() == 0 {
		return p, errors.New("cannot tell what to run: exec needs a program")
	}
	for _, arg := range flags.Args() {
		// go test records which files a test read, to reuse its result. It cannot
		// see what a machine reads, and the file is not there.
		if !strings.HasPrefix(arg, "-test.testlogfile=") {
			p.Args = append(p.Args, arg)
		}
	}
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		switch {
		case name == "LAB_OUT":
			p.Out = value
		case name == "LAB_VM":
		case name == "TERM", strings.HasPrefix(name, "LAB_"):
			p.Env = append(p.Env, variable)
		}
	}
	return p, nil
}

// sameFile tells whether what is written to either comes out in one place.
func sameFile(a, b *os.File) bool {
	ai, aerr := a.Stat()
	bi, berr := b.Stat()
	return aerr == nil && berr == nil && os.SameFile(ai, bi)
}
