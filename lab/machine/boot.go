package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	memory = 1536 // MiB
	cpus   = 2

	// resultsSize is how much a program can leave in $LAB_OUT, in bytes.
	resultsSize = 1 << 30

	// systemd under emulation takes about 12 s to start the program on an idle
	// host, and 30 s on a busy one.
	bootLimit = time.Minute
	lastLimit = 3 * time.Minute // in case it is the host that is slow
)

// bootLimits are how long the program may take to start, for each boot that is
// tried: a machine hangs before that once in a long while.
func bootLimits() []time.Duration { return []time.Duration{bootLimit, bootLimit, lastLimit} }

// Run boots the image, runs the program in it and returns the program's exit
// status, which is 128 more than the signal's number when a signal ended it. A
// machine that does not report one is an error with the end of its console; the
// whole console is then in p.Out. A machine that does not start the program is
// given up and another one tried, which progress is told. Nothing of a boot stays
// behind otherwise.
func (i Image) Run(ctx context.Context, accel Accel, p Program, progress io.Writer) (int, error) {
	return i.run(ctx, accel, p, progress, bootLimits())
}

func (i Image) run(ctx context.Context, accel Accel, p Program, progress io.Writer, limits []time.Duration) (int, error) {
	for n, limit := range limits {
		b := &boot{program: p, mark: newMark(), limit: limit}
		status, err := b.whole(ctx, i, accel)
		last := n == len(limits)-1
		if b.begun || !errors.Is(err, errBoot) || last {
			return status, b.withConsole(status, err)
		}
		fmt.Fprintf(progress, "lab: the machine did not start the program within %v, its console ends in %q; trying another one\n",
			limit, lastLine(b.console.String()))
	}
	return 0, errBoot
}

// boot is one run of a machine.
type boot struct {
	program Program
	mark    string
	limit   time.Duration           // for the program to start
	stop    context.CancelCauseFunc // ends the machine; nil means it has reported
	begun   bool                    // the program was seen to start
	console tail
}

// whole is a boot with disks of its own, and brings back the results.
func (b *boot) whole(ctx context.Context, image Image, accel Accel) (int, error) {
	disks, err := newDisks(b.program, b.mark)
	if err != nil {
		return 0, err
	}
	defer disks.close()
	ctx, b.stop = context.WithCancelCause(ctx)
	defer b.stop(nil)
	status, err := b.run(ctx, image, accel, disks)
	if err != nil {
		return 0, err
	}
	return status, unpackResults(disks.results(), b.program.Out)
}

// withConsole keeps the console of a boot that did not go well, and adds its end
// to the error.
func (b *boot) withConsole(status int, err error) error {
	if err != nil || status != 0 {
		b.keepConsole()
	}
	if said := b.console.String(); err != nil && said != "" {
		return fmt.Errorf("%w\n%s", err, consoleEnd(said))
	}
	return err
}

func errTimeout(p Program) error {
	return fmt.Errorf("cannot wait for the program any longer: it ran for %v", p.Timeout)
}

var errBoot = errors.New("cannot run the program: the machine did not start it")

// run starts qemu and returns what the guest reported.
func (b *boot) run(ctx context.Context, image Image, accel Accel, disks *disks) (int, error) {
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64")
	cmd.Stderr = &b.console
	ends, readers, err := b.pipes()
	if err != nil {
		return 0, err
	}
	cmd.ExtraFiles = append([]*os.File{disks.in, disks.out, disks.outRead}, ends...)
	cmd.Args = append(cmd.Args, b.qemuArgs(image, accel)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// The signal comes when the thread that started qemu ends, so it must stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Start()
	closeAll(ends)
	if err != nil {
		closeAll(readers)
		return 0, fmt.Errorf("cannot start qemu: %v", err)
	}
	reports := make([]report, len(readers))
	errs := make([]error, len(readers))
	b.follow(readers, reports, errs)
	waitErr := cmd.Wait()
	return b.verdict(ctx, waitErr, reports[1], errors.Join(errs[1:]...))
}

// pipes makes the console's and the program's streams: the ends for qemu, and
// the ends to read.
func (b *boot) pipes() (ends, readers []*os.File, err error) {
	n := 3
	if b.program.merged() {
		n = 2
	}
	for range n {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(ends)
			closeAll(readers)
			return nil, nil, fmt.Errorf("cannot make the machine's streams: %v", err)
		}
		ends, readers = append(ends, w), append(readers, r)
	}
	return ends, readers, nil
}

// follow reads all streams until the guest has reported on each of the
// program's, or they end because qemu does; then it ends the machine.
func (b *boot) follow(readers []*os.File, reports []report, errs []error) {
	limit := time.AfterFunc(b.limit, func() { b.stop(errBoot) })
	defer func() { limit.Stop() }()
	begun := sync.OnceFunc(func() {
		b.begun = true
		limit.Stop()
		if b.program.Timeout > 0 {
			limit = time.AfterFunc(b.program.Timeout, func() { b.stop(errTimeout(b.program)) })
		}
	})
	var streams, console sync.WaitGroup
	console.Go(func() { io.Copy(&b.console, readers[0]) })
	for n, w := range []io.Writer{b.program.Stdout, b.program.Stderr}[:len(readers)-1] {
		streams.Go(func() { reports[n+1], errs[n+1] = copyMarked(w, readers[n+1], b.mark, begun) })
	}
	streams.Wait()
	if !errors.Is(errors.Join(errs...), io.ErrUnexpectedEOF) {
		b.stop(nil) // else qemu has ended by itself
	}
	console.Wait()
	closeAll(readers)
}

// verdict turns how a boot ended into a status or an error.
func (b *boot) verdict(ctx context.Context, waitErr error, said report, err error) (int, error) {
	switch {
	case err == nil && said.resultsLost:
		return 0, fmt.Errorf("cannot bring back what is in $LAB_OUT: more than %d MiB", resultsSize>>20)
	case err == nil:
		return said.status, nil
	case !errors.Is(err, io.ErrUnexpectedEOF):
		return 0, err
	case ctx.Err() != nil && !errors.Is(context.Cause(ctx), context.Canceled):
		return 0, context.Cause(ctx)
	default:
		return 0, fmt.Errorf("cannot tell how the program ended: the machine stopped before it did (qemu: %v)", waitErr)
	}
}

// consoleEnd returns what a person needs of a console to see how it ended: from
// the kernel's panic on, if there is one.
func consoleEnd(console string) string {
	if i := strings.LastIndex(console, "Kernel panic"); i >= 0 {
		return lastLines(console[i:], 60)
	}
	return lastLines(console, 25)
}

func lastLine(console string) string {
	console = strings.TrimSpace(console)
	return console[strings.LastIndexByte(console, '\n')+1:]
}

// keepConsole leaves the console beside the program's results.
func (b *boot) keepConsole() {
	if os.MkdirAll(b.program.Out, 0o755) == nil {
		os.WriteFile(filepath.Join(b.program.Out, "console.log"), []byte(b.console.String()), 0o644)
	}
}

// qemuArgs: descriptor 3 is the disk with the program, 4 and 5 the one for
// results, 6 the console, 7 and 8 the program's streams.
func (b *boot) qemuArgs(image Image, accel Accel) []string {
	args := []string{
		"-add-fd", "fd=3,set=3", "-add-fd", "fd=4,set=4", "-add-fd", "fd=5,set=4",
		"-drive", "file=" + image.Root + ",format=raw,if=virtio,snapshot=on,cache=unsafe",
		"-drive", "file=/dev/fdset/3,format=raw,if=virtio,readonly=on",
		"-drive", "file=/dev/fdset/4,format=raw,if=virtio,cache=unsafe",
		"-add-fd", "fd=6,set=6", "-chardev", "file,id=console,path=/dev/fdset/6,append=on",
		"-serial", "chardev:console",
		"-device", "virtio-serial-pci",
		"-add-fd", "fd=7,set=7", "-chardev", "file,id=stdout,path=/dev/fdset/7,append=on",
		"-device", "virtserialport,chardev=stdout,name=lab.stdout",
	}
	if !b.program.merged() {
		args = append(args,
			"-add-fd", "fd=8,set=8", "-chardev", "file,id=stderr,path=/dev/fdset/8,append=on",
			"-device", "virtserialport,chardev=stderr,name=lab.stderr")
	}
	return append(args, machineArgs(image, accel, b.program.Kernel)...)
}

// machineArgs are the arguments of every machine.
func machineArgs(image Image, accel Accel, append string) []string {
	return []string{
		"-accel", string(accel), "-cpu", "max",
		"-smp", strconv.Itoa(min(cpus, runtime.NumCPU())), "-m", strconv.Itoa(memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-nic", "none", "-no-reboot",
		"-kernel", image.Kernel, "-initrd", image.Initrd,
		"-append", "console=ttyS0 no_timer_check panic=-1 systemd.getty_auto=no " + append,
	}
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// disks are the raw disks of one boot: files without a name, so that nothing
// stays behind however this process ends. Each is opened the way qemu opens it,
// and the one for results it opens both ways.
type disks struct {
	in, out, outRead *os.File
}

// results reads from the start: qemu moves the offset of what it was given.
func (d *disks) results() io.Reader { return io.NewSectionReader(d.outRead, 0, resultsSize) }

func (d *disks) close() { closeAll([]*os.File{d.in, d.out, d.outRead}) }

// newDisks packs the program into one disk and makes an empty one for results.
func newDisks(p Program, mark string) (*disks, error) {
	dir, err := os.MkdirTemp("", "rsagent-lab-*")
	if err != nil {
		return nil, fmt.Errorf("cannot make the machine's disks: %v", err)
	}
	defer os.RemoveAll(dir)
	cargo, err := os.Create(filepath.Join(dir, "in"))
	if err != nil {
		return nil, fmt.Errorf("cannot make the machine's disks: %v", err)
	}
	defer cargo.Close()
	if err := writeCargo(cargo, p, mark); err != nil {
		return nil, err
	}
	var d disks
	var errs [4]error
	d.in, errs[0] = os.Open(cargo.Name())
	d.out, errs[1] = os.Create(filepath.Join(dir, "out"))
	d.outRead, errs[2] = os.Open(filepath.Join(dir, "out"))
	errs[3] = d.out.Truncate(resultsSize)
	if err := errors.Join(errs[:]...); err != nil {
		d.close()
		return nil, fmt.Errorf("cannot make the machine's disks: %v", err)
	}
	return &d, nil
}

// tailSize is how much of a console is kept, in bytes.
const tailSize = 1 << 20

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	kept []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	if extra := len(t.kept) - tailSize; extra > 0 {
		t.kept = append([]byte(nil), t.kept[extra:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.kept)
}
