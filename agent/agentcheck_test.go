package agent

import (
	"context"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// askAgent is what an agent-check is answered.
func askAgent(t *testing.T, address string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	line, err := io.ReadAll(c)
	if err != nil {
		return err.Error()
	}
	return string(line)
}

// Only an agent can take back what an agent has said, so it says "drain" to the
// end, and "up ready" when the next daemon is there.
func TestAgentCheckFollowsADrainToItsEnd(t *testing.T) {
	listeners := make([]net.Listener, 2)
	for i := range listeners {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[i] = l
	}
	host, err := OpenHost()
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	a := newAgent(t, host, "[tunnel]\nmode = \"none\"\n[drain]\nnotice = \"400ms\"\n", io.Discard)
	a.OnAgentChecks(listeners[1])
	signals := make(chan os.Signal, 1)
	ended := make(chan error, 1)
	go func() { ended <- a.Run(context.Background(), listeners[0], signals) }()
	address := listeners[1].Addr().String()
	if got := askAgent(t, address); got != "up ready 100%\n" {
		t.Errorf("in service: %q", got)
	}
	signals <- syscall.SIGTERM
	for began, said := time.Now(), false; ; {
		select {
		case err := <-ended:
			if err != nil || !said {
				t.Errorf("the drain ended with %v, and was said: %v", err, said)
			}
			return
		default:
		}
		switch got := askAgent(t, address); {
		case got == "drain\n":
			said = true
		case said && got == "up ready 100%\n":
			t.Fatal("the drain was taken back while it went on")
		}
		if time.Since(began) > 10*time.Second {
			t.Fatal("the drain does not end")
		}
	}
}
