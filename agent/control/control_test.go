package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestMain makes this program a client where a test starts it as one.
func TestMain(m *testing.M) {
	directory := os.Getenv("CONTROL_DIRECTORY")
	if directory == "" {
		os.Exit(m.Run())
	}
	if err := Ask(context.Background(), directory, Request{Do: Status}, func(r Reply) { fmt.Println(r.State.State) }); err != nil {
		fmt.Println(err)
	}
}

// serving serves the handler in a directory of its own until the test ends.
func serving(t *testing.T, handle Handler) string {
	t.Helper()
	directory := t.TempDir()
	l, err := Listen(directory)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- Serve(ctx, l, handle) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return directory
}

func TestRequestsAndRepliesCrossTheSocket(t *testing.T) {
	want := Request{Do: Drain, Pools: []string{"a", "b"}, Reason: "why", Timeout: time.Minute, Follow: true}
	var got Request
	directory := serving(t, func(_ context.Context, r Request, send func(Reply) error) {
		got = r
		for i := range 3 {
			send(Reply{State: State{Process: i}, Done: i == 2})
		}
	})
	var replies []string
	err := Ask(context.Background(), directory, want, func(r Reply) {
		replies = append(replies, fmt.Sprint(r.State.Process, r.Done))
	})
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("request (-sent +received):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"0 false", "1 false", "2 true"}, replies); diff != "" {
		t.Errorf("replies (-want +got):\n%s", diff)
	}
}

func TestWhatTheDaemonCannotDoIsSaid(t *testing.T) {
	directory := serving(t, func(_ context.Context, _ Request, send func(Reply) error) { send(Reply{Error: "cannot do that"}) })
	err := Ask(context.Background(), directory, Request{Do: Drain}, func(Reply) { t.Error("a reply besides the error") })
	if err == nil || err.Error() != "cannot do that" {
		t.Errorf("got %v", err)
	}
}

func TestNoDaemonIsSaid(t *testing.T) {
	directory := t.TempDir()
	want := "cannot reach the daemon: rsagent does not run on this node\nStart it: systemctl start rsagent"
	check := func(when string) {
		t.Helper()
		err := Ask(context.Background(), directory, Request{Do: Status}, func(Reply) {})
		if !errors.Is(err, ErrNoDaemon) || err.Error() != want {
			t.Errorf("%s: got %v, want %s", when, err, want)
		}
	}
	check("no socket")
	l, err := Listen(directory)
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	check("a socket that a killed daemon has left")
	if l, err = Listen(directory); err != nil {
		t.Errorf("the next daemon cannot listen: %v", err)
	} else {
		l.Close()
	}
}

func TestNonsenseIsRefused(t *testing.T) {
	directory := serving(t, func(context.Context, Request, func(Reply) error) { t.Error("it was taken for a request") })
	for _, text := range []string{"\x00\xff\n", "GET / HTTP/1.0\r\n\r\n", `{"do":"status","more":1}`, `{"do":7}`, "[]"} {
		c, err := net.Dial("unix", filepath.Join(directory, "control"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(c, text)
		answer := make([]byte, 1000)
		n, _ := c.Read(answer)
		if got := string(answer[:n]); !strings.HasPrefix(got, `{"error":"cannot understand the request: `) {
			t.Errorf("%q is answered %q", text, got)
		}
		c.Close()
	}
}

func TestTheHandlerHearsWhenTheClientHangsUp(t *testing.T) {
	heard := make(chan struct{})
	directory := serving(t, func(ctx context.Context, _ Request, send func(Reply) error) {
		send(Reply{})
		<-ctx.Done()
		close(heard)
	})
	ctx, hangUp := context.WithCancel(context.Background())
	err := Ask(ctx, directory, Request{Do: Status, Follow: true}, func(Reply) { hangUp() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	select {
	case <-heard:
	case <-time.After(5 * time.Second):
		t.Error("the handler goes on")
	}
}

// Also somebody who can reach the socket, as where its directory is open.
func TestOnlyRootMayAsk(t *testing.T) {
	directory := serving(t, func(_ context.Context, _ Request, send func(Reply) error) { send(Reply{State: State{State: Ready}}) })
	at := filepath.Join(directory, "control")
	if info, err := os.Stat(at); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	for up := directory; up != "/tmp"; up = filepath.Dir(up) {
		if err := os.Chmod(up, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(directory, "client")
	text, err := os.ReadFile(os.Args[0])
	if err == nil {
		err = os.WriteFile(program, text, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	ask := func(user uint32) string {
		cmd := exec.Command(program)
		cmd.Dir = directory
		cmd.Env = []string{"CONTROL_DIRECTORY=" + directory}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if got := ask(0); got != "ready" {
		t.Errorf("root gets %q", got)
	}
	if got, want := ask(65534), "cannot reach the daemon at "+at+": only root may; use sudo"; got != want {
		t.Errorf("another gets %q, want %q", got, want)
	}
	if err := os.Chmod(at, 0o666); err != nil {
		t.Fatal(err)
	}
	if got, want := ask(65534), "only root may control the daemon, not user 65534"; got != want {
		t.Errorf("another who can connect gets %q, want %q", got, want)
	}
}
