package machine

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// bootScript runs a shell script in a machine and returns what came of it.
func bootScript(t *testing.T, p Program, script string) (stdout, stderr string, status int, err error) {
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
	status, err = image.Run(ctx, accel, p)
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
	if !strings.Contains(got["console.log"], " ") {
		t.Error("the console of a program that failed is not kept")
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
