package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"rsagent/agent/health"
)

// inNamespace runs the rest of the test in a network namespace of its own.
// The thread is not given back, so the namespace ends with it.
func inNamespace(t testing.TB, test func(Host)) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("cannot make a network namespace (these tests need root): %v", err)
			return
		}
		host, err := OpenHost()
		if err != nil {
			t.Error(err)
			return
		}
		defer host.Close()
		test(host)
	}()
	<-done
}

func newAgent(t *testing.T, host Host, text string, log io.Writer) *Agent {
	t.Helper()
	watcher, err := host.Sysctl.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { watcher.Close() })
	host.Watcher = watcher
	a, err := New(declared(t, text), host, zerolog.New(log), "test")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func brief(r health.Report) []string {
	var lines []string
	for _, f := range r.Findings {
		lines = append(lines, fmt.Sprintf("%s %s: %s: %s", f.Status, f.ID, f.Got, f.Cause))
	}
	return lines
}

const settingsOnly = `
[tunnel]
mode = "none"
[sysctl]
"net.ipv4.ip_local_port_range" = "1024 65536"
"net.ipv4.tcp_fin_timeout" = "17"
"net.ipv4.tcp_tw_recycle" = "1"
`

func TestSettingsAreAppliedOrTheReasonIsNamed(t *testing.T) {
	inNamespace(t, func(host Host) {
		var log bytes.Buffer
		a := newAgent(t, host, settingsOnly, &log)
		o := a.converge()
		ports, err := host.Sysctl.Read("net/ipv4/ip_local_port_range")
		if err != nil {
			t.Error(err)
		}
		want := []string{
			"failed sysctl/set/net.ipv4.ip_local_port_range: " + ports + ": the kernel refuses the value: cannot set net.ipv4.ip_local_port_range to \"1024 65536\": invalid argument; it takes two ports",
			"ok sysctl/set/net.ipv4.tcp_fin_timeout: 17: ",
			"failed sysctl/set/net.ipv4.tcp_tw_recycle: no such setting in this kernel: removed in Linux 4.12",
			"ok drain: in service: ",
		}
		got := brief(o.report)
		for i := range want {
			if i >= len(got) || !strings.HasPrefix(got[i], want[i]) {
				t.Errorf("finding %d: want %q at the start, got %q", i, want[i], got)
			}
		}
		if ready, why := o.report.Ready(); !ready {
			t.Errorf("the node is not ready because of a setting: %s", why)
		}
		if !strings.Contains(log.String(), `"what":"net.ipv4.tcp_fin_timeout","old":"60","new":"17"`) {
			t.Errorf("the log does not say what was changed:\n%s", &log)
		}

		log.Reset()
		again := a.converge()
		if len(again.steps) > 0 || log.Len() > 0 {
			t.Errorf("a second round took steps %v and logged %q", again.steps, &log)
		}
		if diff := cmp.Diff(brief(o.report), brief(again.report)); diff != "" {
			t.Errorf("second report (-first +second):\n%s", diff)
		}
	})
}

func TestStepsCanBeUndone(t *testing.T) {
	inNamespace(t, func(host Host) {
		a := newAgent(t, host, settingsOnly, io.Discard)
		o := a.converge()
		a.rollBack(o.steps)
		if got, err := host.Sysctl.Read("net/ipv4/tcp_fin_timeout"); got != "60" || err != nil {
			t.Errorf("tcp_fin_timeout is %q after the undoing (%v), want 60", got, err)
		}
	})
}

// A process of its own would show the same from outside; here the agent runs
// on a real port with a real service, which comes and goes.
func TestRunTellsTheTruthUntilItsDrainIsOver(t *testing.T) {
	service, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()
	_, port, _ := net.SplitHostPort(service.Addr().String())
	config := fmt.Sprintf(`
[tunnel]
mode = "none"
[drain]
notice = "600ms"
timeout = "20s"
[[pool]]
name = "web"
address = "127.0.0.1"
port = %s
probe = { type = "tcp", interval = "50ms", timeout = "50ms", rise = 2, fall = 2 }
`, port)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + listener.Addr().String()
	host, err := OpenHost()
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	var log syncBuffer
	a := newAgent(t, host, config, &log)
	signals := make(chan os.Signal, 2)
	ended := make(chan error, 1)
	go func() { ended <- a.Run(context.Background(), listener, signals) }()

	if got := get(t, url+"/ready"); got != "200 ready\n" {
		t.Fatalf("the first answer is %q, want ready", got)
	}
	service.Close()
	await(t, url+"/ready", "503 not ready: pool/web failed\n")
	await(t, url+"/ready/web", "503 not ready: pool/web failed\n")
	service, err = net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()
	await(t, url+"/ready", "200 ready\n")

	began := time.Now()
	signals <- syscall.SIGTERM
	await(t, url+"/ready", "503 draining\n")
	select {
	case err = <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the drain does not end")
	}
	if took := time.Since(began); err != nil || took < 600*time.Millisecond {
		t.Errorf("the drain took %v and ended with %v, want nil after the notice of 600ms", took, err)
	}
	for _, want := range []string{`"waited_notice":"6`, `"connections_left":0`, `"message":"drain ended"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, log.String())
		}
	}
}

func TestASecondSignalEndsAtOnce(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host, err := OpenHost()
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	a := newAgent(t, host, "[tunnel]\nmode = \"none\"\n[drain]\nnotice = \"1h\"\n", io.Discard)
	signals := make(chan os.Signal, 2)
	signals <- syscall.SIGTERM
	signals <- syscall.SIGINT
	if err := a.Run(context.Background(), listener, signals); !errors.Is(err, ErrCutShort) {
		t.Errorf("want %v, got %v", ErrCutShort, err)
	}
}

func TestOneDaemonOnANode(t *testing.T) {
	directory := t.TempDir() + "/made"
	first, err := Lock(directory)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("cannot start: another rsagent looks after this node (process %d)", os.Getpid())
	if second, err := Lock(directory); err == nil || err.Error() != want {
		t.Errorf("second lock: want %q, got %v and %v", want, second, err)
	}
	first.Close()
	third, err := Lock(directory)
	if err != nil {
		t.Fatalf("the lock was given up, but: %v", err)
	}
	third.Close()
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func get(t *testing.T, url string) string {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", answer.StatusCode, body)
}

// await asks until the answer is as wanted, for at most 5 s.
func await(t *testing.T, url, want string) {
	t.Helper()
	var got string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if got = get(t, url); got == want {
			return
		}
	}
	t.Fatalf("%s: want %q, got %q\n%s", url, want, got, get(t, strings.Replace(url, "/ready", "/status", 1)))
}

func TestASettingThatDriftsIsMendedAtOnce(t *testing.T) {
	host, err := OpenHost()
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	before, err := host.Sysctl.Read("net/ipv4/tcp_fin_timeout")
	if err != nil {
		t.Fatal(err)
	}
	a := newAgent(t, host, "[tunnel]\nmode = \"none\"\n[sysctl]\n\"net.ipv4.tcp_fin_timeout\" = \""+before+"\"\n", io.Discard)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx, listener, nil) }()
	get(t, "http://"+listener.Addr().String()+"/ready") // answers after the first round

	// Not by Write, which would read back what the agent has mended already.
	const key = "/proc/sys/net/ipv4/tcp_fin_timeout"
	t.Cleanup(func() { os.WriteFile(key, []byte(before), 0) })
	if err := os.WriteFile(key, []byte("61"), 0); err != nil {
		t.Error(err)
	}
	began := time.Now()
	for got := ""; got != before; {
		if time.Since(began) > a.config.Repair.Sweep/2 {
			t.Fatalf("tcp_fin_timeout is %q still, want %s", got, before)
		}
		if got, err = host.Sysctl.Read("net/ipv4/tcp_fin_timeout"); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// The kernel stores some values in a form of its own. To write them again and
// again would keep the daemon busy for ever, since each write is a change.
func TestASettingThatTheKernelStoresOtherwiseIsWrittenOnce(t *testing.T) {
	inNamespace(t, func(host Host) {
		a := newAgent(t, host, "[tunnel]\nmode = \"none\"\n[sysctl]\n\"net.ipv4.ip_local_reserved_ports\" = \"8080,8081\"\n", io.Discard)
		first := a.converge()
		second := a.converge()
		if got := first.report.Findings[0].Remedy; got != "configure the value as the kernel takes it" {
			t.Errorf("the remedy is %q", got)
		}
		if len(first.errs) != 1 || len(second.errs) != 0 {
			t.Errorf("written in the first round: %v, in the second: %v", first.errs, second.errs)
		}
		const want = `failed sysctl/set/net.ipv4.ip_local_reserved_ports: 8080-8081: the kernel refuses the value: cannot set net.ipv4.ip_local_reserved_ports to "8080,8081": the kernel made it "8080-8081"`
		if got := brief(second.report)[0]; got != want {
			t.Errorf("want %q, got %q", want, got)
		}
	})
}

// A look that fails, as under a storm of changes, does not unmake the last one
// until that is stale.
func TestAFailedLookKeepsWhatTheLastOneSaw(t *testing.T) {
	inNamespace(t, func(host Host) {
		a := newAgent(t, host, "vips = [\"203.0.113.10\"]\n", io.Discard)
		good := a.observe()
		if good.FirewallErr != nil || good.Old {
			t.Fatalf("cannot look at a new namespace: %v", good.FirewallErr)
		}
		host.Net.Close() // the packet filter is out of sight now
		kept := a.observe()
		if kept.FirewallErr != nil || !kept.Old || !kept.Time.Equal(good.Time) {
			t.Errorf("got %+v, want the last look of %v", kept, good.Time)
		}
		if diff := cmp.Diff(good.Sysctl, kept.Sysctl, cmpopts.EquateErrors()); diff != "" {
			t.Errorf("settings (-last look +kept):\n%s", diff)
		}
		if o := a.converge(); len(o.errs) > 0 || !o.report.Time.Equal(good.Time) {
			t.Errorf("an old look led to repairs %v and a report of %v", o.errs, o.report.Time)
		}
		a.lastGood.Time = a.lastGood.Time.Add(-a.staleAfter())
		if stale := a.observe(); stale.FirewallErr == nil || stale.Old {
			t.Errorf("a stale look is still used: %+v", stale)
		}
	})
}
