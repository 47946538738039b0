//go:build bench

package agent

import (
	"context"
	"net"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/rs/zerolog"

	"rsagent/agent/config"
)

// TestRunForTheBench is the daemon as lab/bench runs it where the kernel has no
// IPIP: in the network namespace that it is started in, until SIGTERM. Its only
// argument is the file of the configuration.
func TestRunForTheBench(t *testing.T) {
	c, err := config.Load(os.Args[len(os.Args)-1])
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", c.Health.Listen)
	if err != nil {
		t.Fatal(err)
	}
	host, err := OpenHost()
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	if host.Watcher, err = host.Sysctl.NewWatcher(); err != nil {
		t.Fatal(err)
	}
	defer host.Watcher.Close()
	a, err := New(c, host, zerolog.New(os.Stderr).With().Timestamp().Logger(), "bench")
	if err != nil {
		t.Fatal(err)
	}
	if err := withoutIPIP(a, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM)
	if err := a.Run(context.Background(), listener, signals); err != nil {
		t.Fatal(err)
	}
}
