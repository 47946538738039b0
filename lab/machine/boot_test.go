package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// bootScript runs a shell script in a machine and returns what came of it.
func bootScript(t *testing.T, p Program, script string) (stdout, stderr string, status int, err error) {
	t.Helper()
	return bootWithin(t, p, script, os.Stderr, bootLimits()...)
}

// bootWithin is bootScript with other limits for the program to start.
func bootWithin(t *testing.T, p Program, script string, progress io.Writer, limits ...time.Duration) (stdout, stderr string, status int, err error) {
	t.Helper()
	ctx := context.Background()
	image, err := Prepare(ctx, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	accel, err := ChooseAccel(ctx, image, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	program := filepath.Join(t.TempDir(), "program")
	write(t, program, "#!/bin/sh\n"+script+"\n", 0o755)
	p.Args = []string{program}
	if p.Stdout, p.Stderr = &out, &errs; p.Out == "" {
		p.Out = filepath.Join(t.TempDir(), "out")
	}
	status, err = image.run(ctx, accel, p, progress, limits)
	return out.String(), errs.String(), status, err
}

func TestMachineRunsAProgram(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "testdata/greeting"), "hello\n", 0o644)
	write(t, filepath.Join(dir, "tool"), "#!/bin/sh\necho tool\n", 0o755)
	p := Program{
		Dir: dir, Files: []string{filepath.Join(dir, "tool")}, Out: filepath.Join(dir, "out"),
		Env: []string{"LAB_X=it's here"}, Timeout: time.Minute,
	}
	stdout, stderr, status, err := bootScript(t, p, `
		cat testdata/greeting; tool; echo "$LAB_X"; id -u
		ls /sys/class/net; modprobe ipip; modprobe ip_vs; ls /sys/class/net
		echo oops >&2
		head -c 300000 /dev/zero | tr '\0' x
		mkdir "$LAB_OUT/d"; echo result >"$LAB_OUT/d/file"
		sleep 1000 & exit 3`)
	if err != nil {
		t.Fatal(err)
	}
	if status != 3 {
		t.Errorf("status %d, want 3", status)
	}
	want := "hello\ntool\nit's here\n0\nlo\nlo\ntunl0\n" + strings.Repeat("x", 300000)
	if diff := cmp.Diff(want, stdout); diff != "" {
		t.Errorf("standard output (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("oops\n", stderr); diff != "" {
		t.Errorf("standard error (-want +got):\n%s", diff)
	}
	got := tree(t, p.Out)
	if console := got["console.log"]; !strings.Contains(console, "Linux version") || !strings.Contains(console, "virtio_blk") {
		t.Errorf("the console of a program that failed is not kept, or the kernel does not say in it how far it got: %s", console)
	}
	if diff := cmp.Diff("-rw-r--r-- result\n", got["d/file"]); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}

func TestMachineUnderSystemdThatHangs(t *testing.T) {
	stdout, _, _, err := bootScript(t, Program{Systemd: true, Timeout: 6 * time.Second},
		"systemctl is-system-running --wait; systemctl is-active nginx apache2 haproxy keepalived ldirectord; sleep 1000")
	if want := "cannot wait for the program any longer: it ran for 6s"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
	if diff := cmp.Diff("running\n"+strings.Repeat("inactive\n", 5), stdout); diff != "" {
		t.Errorf("standard output (-want +got):\n%s", diff)
	}
}

func TestMachineThatPanics(t *testing.T) {
	stdout, _, status, err := bootScript(t, Program{Timeout: time.Minute}, "echo last words; echo c >/proc/sysrq-trigger; sleep 1000")
	if err == nil {
		t.Fatalf("status %d and no error", status)
	}
	for _, want := range []string{"cannot tell how the program ended", "Kernel panic"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
	if diff := cmp.Diff("last words\n", stdout); diff != "" {
		t.Errorf("standard output (-want +got):\n%s", diff)
	}
}

// freezeFirst makes the first machines of a test such that never begin: qemu
// runs, but none of its processors does. It returns how many were made in all.
func freezeFirst(t *testing.T, frozen int) (made func() int) {
	t.Helper()
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	count := filepath.Join(dir, "count")
	write(t, count, "", 0o644)
	write(t, filepath.Join(dir, "qemu-system-x86_64"), fmt.Sprintf(`#!/bin/sh
		echo >>%[1]s
		[ $(wc -l <%[1]s) -gt %[2]d ] || set -- "$@" -S
		exec %[3]s "$@"
	`, count, frozen, qemu), 0o755)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return func() int {
		text, err := os.ReadFile(count)
		if err != nil {
			t.Fatal(err)
		}
		return len(text)
	}
}

func TestMachineThatDoesNotStartTheProgramIsTriedAgain(t *testing.T) {
	made := freezeFirst(t, 2)
	p := Program{Out: filepath.Join(t.TempDir(), "out"), Timeout: time.Minute}
	var progress bytes.Buffer
	stdout, stderr, status, err := bootWithin(t, p, `
		echo once; echo oops >&2; echo result >"$LAB_OUT/file"`, &progress, time.Second, time.Second, lastLimit)
	if err != nil || status != 0 {
		t.Fatal(status, err)
	}
	if n := made(); n != 3 {
		t.Errorf("%d machines were made, want 3", n)
	}
	const line = "lab: the machine did not start the program within 1s, its console ends in \"\"; trying another one\n"
	if diff := cmp.Diff(line+line, progress.String()); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("once\n|oops\n", stdout+"|"+stderr); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"file": "-rw-r--r-- result\n"}, tree(t, p.Out)); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
}

func TestMachinesThatNeverStartTheProgramAreAnError(t *testing.T) {
	made := freezeFirst(t, 5)
	var progress bytes.Buffer
	stdout, _, _, err := bootWithin(t, Program{}, "echo never", &progress, time.Second, time.Second)
	if !errors.Is(err, errBoot) || stdout != "" {
		t.Errorf("error %v and output %q, want %q and none", err, stdout, errBoot)
	}
	if n, lines := made(), strings.Count(progress.String(), "\n"); n != 2 || lines != 1 {
		t.Errorf("%d machines were made and %d lines said, want 2 and 1", n, lines)
	}
}

// What has begun may have done something, so it is not done again.
func TestMachineThatHasBegunIsNotTriedAgain(t *testing.T) {
	for name, said := range map[string]string{"a mark": "\x1e", "a word": "x"} {
		t.Run(name, func(t *testing.T) {
			b := &boot{program: Program{Stdout: io.Discard, Stderr: io.Discard}, mark: newMark(), limit: 50 * time.Millisecond}
			ctx, stop := context.WithCancelCause(context.Background())
			b.stop = stop
			ends, readers, err := b.pipes()
			if err != nil {
				t.Fatal(err)
			}
			reports, errs := make([]report, len(readers)), make([]error, len(readers))
			var followed sync.WaitGroup
			followed.Go(func() { b.follow(readers, reports, errs) })
			if _, err := ends[len(ends)-1].WriteString(said); err != nil {
				t.Fatal(err)
			}
			time.Sleep(4 * b.limit)
			closeAll(ends)
			followed.Wait()
			if !b.begun || ctx.Err() != nil {
				t.Errorf("begun %v, and ended by %v; want it begun and not ended", b.begun, context.Cause(ctx))
			}
		})
	}
}

// The machine's kernel has what it takes to run programs without a machine, so
// inside it stands for such a host.
func TestHostRunsAProgram(t *testing.T) {
	lab := filepath.Join(t.TempDir(), "lab")
	build := exec.Command("go", "build", "-o", lab, "rsagent/lab")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "testdata/nested"), `#!/bin/sh
		cat testdata/greeting; rsagent; echo "$1 $LAB_X"
		ip link add dummy9 type dummy; ls /sys/class/net; ls /run; hostname inside
		echo result >"$LAB_OUT/file"; sleep 1000 & exit 3
	`, 0o755)
	write(t, filepath.Join(dir, "testdata/greeting"), "hello\n", 0o644)
	write(t, filepath.Join(dir, "rsagent"), "#!/bin/sh\necho agent\n", 0o755)
	p := Program{Dir: dir, Files: []string{lab, filepath.Join(dir, "rsagent")}, Out: filepath.Join(dir, "out"), Timeout: time.Minute}
	stdout, stderr, status, err := bootScript(t, p, `
		export LAB_X=x
		lab exec --with /lab/bin/rsagent testdata/nested a; echo "status $?"
		pidof sleep; ls /sys/class/net; hostname; ls -d /tmp/rsagent-lab-*
		lab exec --timeout 1s /bin/sleep 1000; echo "status $?"
		lab exec testdata/absent; echo "status $?"
		PATH=/lab/bin:/bin LAB_VM=never lab exec /bin/true; echo "status $?"`)
	if err != nil || status != 0 {
		t.Fatal(status, err)
	}
	want := "hello\nagent\na x\ndummy9\nlo\nlock\nstatus 3\nlo\nlab\nstatus 125\nstatus 127\nstatus 125\n"
	if diff := cmp.Diff(want, stdout); diff != "" {
		t.Errorf("standard output (-want +got):\n%s", diff)
	}
	for _, want := range []string{
		"lab: cannot wait for the program any longer: it ran for 1s\n",
		"lab: cannot run on this host: it has no kernel module ipip",
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("standard error %q has no %q", stderr, want)
		}
	}
	if diff := cmp.Diff("-rw-r--r-- result\n", tree(t, p.Out)["file"]); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}

func TestMachineIsWatchedFromItsBootToItsEnd(t *testing.T) {
	dir := t.TempDir()
	prepare := filepath.Join(dir, "prepare")
	write(t, prepare, "#!/bin/sh\nsystemctl enable systemd-networkd && echo prepared >/etc/lab\n", 0o755)
	out := filepath.Join(dir, "out")
	stdout, stderr, status, err := bootScript(t, Program{Boot: prepare, Out: out, Timeout: 2 * time.Minute}, `
		end() { systemctl is-system-running; systemctl is-active systemd-networkd; echo last words >"$LAB_OUT/last"; exit 3; }
		trap end TERM
		cat /etc/lab; systemctl is-active sysinit.target
		systemctl is-system-running --wait; systemctl is-active systemd-networkd
		began() { systemctl show --value --property=ExecMainStartTimestampMonotonic "$1"; }
		[ "$(began lab)" -lt "$(began systemd-networkd)" ] && echo before the network
		systemctl poweroff
		while :; do sleep 0.1; done`)
	if err != nil {
		t.Fatal(err)
	}
	want := "prepared\nactive\nrunning\nactive\nbefore the network\nstopping\ninactive\n"
	if diff := cmp.Diff(want, stdout); diff != "" || status != 3 {
		t.Errorf("status %d, %s, standard output (-want +got):\n%s", status, stderr, diff)
	}
	if diff := cmp.Diff("-rw-r--r-- last words\n", tree(t, out)["last"]); diff != "" {
		t.Errorf("what was left at the end (-want +got):\n%s", diff)
	}
}

func TestMachineThatCannotBePreparedSaysWhy(t *testing.T) {
	prepare := filepath.Join(t.TempDir(), "prepare")
	write(t, prepare, "#!/bin/sh\necho no such package >&2\nexit 7\n", 0o755)
	stdout, stderr, status, err := bootScript(t, Program{Boot: prepare, Timeout: time.Minute}, "echo it runs")
	if err != nil || status != 1 || stdout != "" || stderr != "no such package\n" {
		t.Errorf("got status %d, %v, output %q, error %q; want 1 and why", status, err, stdout, stderr)
	}
}
