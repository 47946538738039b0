package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rsagent/lab/machine"
)

func TestParseProgram(t *testing.T) {
	tests := []struct {
		name    string
		args    []string
		environ []string
		want    machine.Program
	}{
		{
			"a program alone",
			[]string{"./demo"}, nil,
			machine.Program{Args: []string{"./demo"}, Dir: ".", Out: "lab-out", Timeout: 30 * time.Minute},
		},
		{
			"all flags; the program's own are left to it",
			[]string{"--systemd", "--kernel", "security=selinux", "--timeout", "2m", "--with", "a", "--with", "b/c", "./demo", "--with", "x", "-v"}, nil,
			machine.Program{
				Args: []string{"./demo", "--with", "x", "-v"}, Files: []string{"a", "b/c"},
				Dir: ".", Out: "lab-out", Systemd: true, Kernel: "security=selinux", Timeout: 2 * time.Minute,
			},
		},
		{
			"a machine whose boot is watched",
			[]string{"--boot", "prepare", "./demo"}, nil,
			machine.Program{Args: []string{"./demo"}, Dir: ".", Out: "lab-out", Boot: "prepare", Timeout: 30 * time.Minute},
		},
		{
			"a test as go test runs it",
			[]string{"/tmp/x.test", "-test.testlogfile=/tmp/log", "-test.v=true"}, nil,
			machine.Program{Args: []string{"/tmp/x.test", "-test.v=true"}, Dir: ".", Out: "lab-out", Timeout: 30 * time.Minute},
		},
		{
			"an environment, of which the lab's variables go along",
			[]string{"p"}, []string{"HOME=/home/me", "LAB_X=a=b", "TERM=dumb", "LAB_OUT=/elsewhere", "LAB_VM=always"},
			machine.Program{
				Args: []string{"p"}, Env: []string{"LAB_X=a=b", "TERM=dumb"},
				Dir: ".", Out: "/elsewhere", Timeout: 30 * time.Minute,
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseProgram(test.args, test.environ)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestBadArgumentsAreNamed(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"no command", nil, "cannot tell what to do: no command; lab help says what there is"},
		{"an unknown command", []string{"dance"}, `cannot do "dance": lab help says what there is`},
		{"no program", []string{"exec", "--systemd"}, "cannot tell what to run: exec needs a program"},
		{"an unknown flag", []string{"exec", "--fast", "p"}, "cannot understand the arguments of exec: flag provided but not defined: -fast; see lab help"},
		{"a time-out that is none", []string{"exec", "--timeout", "0s", "p"}, "cannot use --timeout 0s: it must be more than 0"},
		{"an odd LAB_VM", []string{"exec", "p"}, `cannot tell where to run: LAB_VM is "maybe", not always, never or auto`},
	}
	t.Setenv("LAB_VM", "maybe")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := run(t.Context(), test.args)
			if err == nil {
				t.Fatal("no error")
			}
			if err.Error() != test.want {
				t.Errorf("error %q, want %q", err, test.want)
			}
		})
	}
}

func TestSameFile(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	other, err := os.Create(filepath.Join(t.TempDir(), "other"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if !sameFile(w, w) {
		t.Error("a pipe is not the same as itself")
	}
	if sameFile(w, other) {
		t.Error("a pipe is the same as a file")
	}
}
