package agent

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rsagent/probe"
)

// quietPool is a pool at a port where nobody listens, which it takes two
// answers to notice; the second is an hour off.
func quietPool(t *testing.T) string {
	t.Helper()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	_, port, _ := net.SplitHostPort(gone.Addr().String())
	return fmt.Sprintf(`
[tunnel]
mode = "none"
[[pool]]
name = "web"
address = "127.0.0.1"
port = %s
probe = { type = "tcp", interval = "1h", timeout = "1s", fall = 2 }
`, port)
}

// running runs an agent for the configuration and returns where it answers. Its
// end is waited for.
func running(t *testing.T, text, directory string, log io.Writer, prepare ...func(*Agent)) (address string, stop func()) {
	t.Helper()
	host, err := OpenHost()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(host.Close)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := newAgent(t, host, text, log)
	a.Resume(directory)
	for _, p := range prepare {
		p(a)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx, listener, nil) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return listener.Addr().String(), stop
}

func TestOneBadAnswerAfterARestartCostsNothing(t *testing.T) {
	text := quietPool(t)
	for _, test := range []struct {
		name  string
		known probe.State
		want  string
	}{
		{"a pool that was up stays up", probe.Up, "200 ready\n"},
		{"a pool that was down stays down", probe.Down, "503 not ready: pool/web failed\n"},
		{"of a pool that is not known, the first answer counts", probe.Unknown, "503 not ready: pool/web failed\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			directory := t.TempDir()
			known := map[string]probe.Result{"web": {State: test.known, Since: time.Now()}}
			if err := remember(directory, declared(t, text), known, time.Now()); err != nil {
				t.Fatal(err)
			}
			var log syncBuffer
			address, _ := running(t, text, directory, &log)
			if got := get(t, "http://"+address+"/ready"); got != test.want {
				t.Errorf("the first answer is %q, want %q", got, test.want)
			}
			// Once the first probe has failed, it must still be so.
			for began := time.Now(); !strings.Contains(get(t, "http://"+address+"/status"), "connection refused") && test.known != probe.Up; {
				if time.Since(began) > 5*time.Second {
					t.Fatal("the pool is not probed")
				}
			}
			if got := get(t, "http://"+address+"/ready"); got != test.want {
				t.Errorf("after the first probe it is %q, want %q", got, test.want)
			}
			if strings.Contains(log.String(), `"level":"warn","error"`) {
				t.Errorf("the log warns:\n%s", log.String())
			}
		})
	}
}

// A service that takes its time must not hold back what is known already.
func TestWhatIsKnownIsAnsweredAtOnce(t *testing.T) {
	slow, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	_, port, _ := net.SplitHostPort(slow.Addr().String())
	text := fmt.Sprintf(`
[tunnel]
mode = "none"
[[pool]]
name = "web"
address = "127.0.0.1"
port = %s
probe = { type = "http", timeout = "30s", interval = "1h" }
`, port)
	directory := t.TempDir()
	known := map[string]probe.Result{"web": {State: probe.Up, Since: time.Now()}}
	if err := remember(directory, declared(t, text), known, time.Now()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	address, _ := running(t, text, directory, io.Discard)
	got := get(t, "http://"+address+"/ready")
	if took := time.Since(began); got != "200 ready\n" || took > patience/2 {
		t.Errorf("got %q after %v, want ready at once", got, took)
	}
}

func TestAMemoryThatIsNotBelievedIsSaidOnce(t *testing.T) {
	directory := t.TempDir()
	if err := os.WriteFile(filepath.Join(directory, "pools.json"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log syncBuffer
	address, _ := running(t, quietPool(t), directory, &log)
	if got := get(t, "http://"+address+"/ready"); got != "503 not ready: pool/web failed\n" {
		t.Errorf("got %q", got)
	}
	if n := strings.Count(log.String(), "the pools are probed anew"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
}

func TestTheEndAnswersWhatWasAccepted(t *testing.T) {
	address, stop := running(t, "[tunnel]\nmode = \"none\"\n", t.TempDir(), io.Discard)
	half := dialed(t, address, "GET /live HT")
	silent := dialed(t, address, "")
	get(t, "http://"+address+"/ready") // accepted after those two
	stopped := make(chan time.Duration)
	go func() {
		began := time.Now()
		stop()
		stopped <- time.Since(began)
	}()
	for { // until the port is closed
		conn, err := net.Dial("tcp", address)
		if err != nil {
			break
		}
		conn.Close()
	}
	if _, err := io.WriteString(half, "TP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(half); !bytes.HasPrefix(got, []byte("HTTP/1.0 200 OK\r\n")) || err != nil {
		t.Errorf("who was accepted got %q, %v", got, err)
	}
	// Who says nothing holds nothing up.
	if took := <-stopped; took > 4*lastAnswers {
		t.Errorf("the end took %v", took)
	}
	if got, err := io.ReadAll(silent); len(got) > 0 || err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("who said nothing got %q, %v", got, err)
	}
}

func dialed(t *testing.T, address, text string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn
}

// What systemd is sent is read here; that it comes back from there is shown in
// the lab.
func TestAHandOverLeavesTheSocketAndThePools(t *testing.T) {
	host, err := OpenHost()
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	text := quietPool(t)
	var log bytes.Buffer
	a := newAgent(t, host, text, &log)
	directory := t.TempDir()
	a.Resume(directory)
	a.pools.set("web", probe.Result{State: probe.Up, Since: hour})
	socket := filepath.Join(directory, "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	a.keep(listener)
	listener.Close()
	a.handOver()
	message, control := make([]byte, 100), make([]byte, 100)
	n, controls, _, _, err := systemd.ReadMsgUnix(message, control)
	if err != nil || string(message[:n]) != "FDSTORE=1\nFDNAME=health" {
		t.Fatalf("systemd is sent %q, %v", message[:n], err)
	}
	parsed, err := unix.ParseSocketControlMessage(control[:controls])
	if err != nil || len(parsed) != 1 {
		t.Fatalf("got %v, %v", parsed, err)
	}
	fds, err := unix.ParseUnixRights(&parsed[0])
	if err != nil || len(fds) != 1 {
		t.Fatalf("got files %v, %v", fds, err)
	}
	dialed(t, listener.Addr().String(), "") // it listens still
	unix.Close(fds[0])
	if conn, err := net.Dial("tcp", listener.Addr().String()); err == nil {
		conn.Close()
		t.Error("the port is open, with nobody left to have it so")
	}
	known, err := recall(directory, a.config, time.Now())
	if got := known["web"].State; got != probe.Up || err != nil {
		t.Errorf("the pool is remembered as %v, %v", got, err)
	}
	if log.Len() > 0 {
		t.Errorf("logged %s", &log)
	}
}
