package probe

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"
)

// within is the Timeout of tests in which it is not meant to pass.
const within = 5 * time.Second

// serve listens on a loopback address and gives each connection to talk, which
// has it to itself until it returns or the test ends.
func serve(t *testing.T, talk func(net.Conn)) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var talks sync.WaitGroup
	ended := make(chan struct{})
	talks.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			talks.Go(func() {
				stop := make(chan struct{})
				talks.Go(func() {
					select {
					case <-ended:
					case <-stop:
					}
					conn.Close()
				})
				talk(conn)
				close(stop)
			})
		}
	})
	t.Cleanup(func() { close(ended); listener.Close(); talks.Wait() })
	return listener.Addr().(*net.TCPAddr).AddrPort()
}

// answer reads a request and sends text.
func answer(text string) func(net.Conn) {
	return func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			conn.Write([]byte(text))
		}
	}
}

// hold keeps the connection open and silent until the other side closes.
func hold(conn net.Conn) { io.Copy(io.Discard, conn) }

func addrOf(t *testing.T, server *httptest.Server) netip.AddrPort {
	t.Helper()
	return server.Listener.Addr().(*net.TCPAddr).AddrPort()
}

// closedPort returns an address on which nothing listens.
func closedPort(t *testing.T) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).AddrPort()
}

// tryWant makes one attempt and compares what it says; "" is good.
func tryWant(t *testing.T, target Target, want string) {
	t.Helper()
	if target.Timeout == 0 {
		target.Timeout = within
	}
	got := ""
	if err := target.Try(context.Background()); err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// noLeaks fails the test if it leaves goroutines behind.
func noLeaks(t *testing.T) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		for deadline := time.Now().Add(2 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				stacks := make([]byte, 1<<16)
				t.Errorf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
				return
			}
		}
	})
}
