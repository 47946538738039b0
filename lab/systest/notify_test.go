//go:build lab

package systest

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"rsagent/lab/network"
)

// watchdog is what systemd would be told with WatchdogSec=.
const watchdog = 2 * time.Second

// startTelling starts the daemon on a node with a socket in systemd's place.
func startTelling(t *testing.T, node *network.Host, config string) (*network.Process, *network.NotifySocket) {
	t.Helper()
	socket, err := node.ListenNotify()
	ok(t, err)
	t.Cleanup(func() { socket.Close() })
	cmd, err := node.Agent(config, "run")
	ok(t, err)
	socket.Tell(cmd, watchdog)
	p, err := node.Start(cmd)
	ok(t, err)
	return p, socket
}

func TestSystemdIsToldWhenTheNodeIsSetUpAndHowItIs(t *testing.T) {
	site := newSite(t)
	agent, socket := startTelling(t, site.Web1, site.AgentConfig(network.HTTPPool))
	_, err := socket.Wait("READY", "1", patience)
	ok(t, err)
	// Told not earlier than the node is set up: the VIP is the last but one step.
	wantState(t, site.Web1, "arp_ignore 1, arp_announce 2, tunl0@NONE UNKNOWN 10.9.0.100/32")
	_, err = socket.Wait("STATUS", "not ready: pool/http-pool failed", patience)
	ok(t, err)
	_, err = site.Web1.StartNginx()
	ok(t, err)
	_, err = socket.Wait("STATUS", "ready: 1 VIP, 1 pool", patience)
	ok(t, err)

	from := time.Now()
	time.Sleep(2 * watchdog)
	if n := len(since(socket.Heard("WATCHDOG"), from)); n < 3 || n > 5 {
		t.Errorf("the watchdog was fed %d times in %v, want once in %v", n, 2*watchdog, watchdog/2)
	}
	ok(t, agent.Signal(syscall.SIGSTOP))
	from = time.Now()
	time.Sleep(2 * watchdog)
	if heard := since(socket.Heard(""), from.Add(watchdog/4)); len(heard) > 0 {
		t.Errorf("a stopped daemon said %v", heard)
	}
	ok(t, agent.Signal(syscall.SIGCONT))
	ok(t, agent.Kill())
}

func TestSystemdIsToldOfTheDrainAndGivesItTime(t *testing.T) {
	site := newSite(t)
	agent, socket := startTelling(t, site.Web1, site.AgentConfig(quick))
	_, err := socket.Wait("READY", "1", patience)
	ok(t, err)
	asked := time.Now()
	ends(t, agent)

	stopping, err := socket.Wait("STOPPING", "1", time.Second)
	ok(t, err)
	if late := stopping.Time.Sub(asked); late > time.Second {
		t.Errorf("systemd heard of the stop after %v", late)
	}
	if _, err := socket.Wait("STATUS", "draining: the directors have", time.Second); err != nil {
		t.Error(err)
	}
	// Each extension says how much longer; the next must come before that.
	extensions := socket.Heard("EXTEND_TIMEOUT_USEC")
	if len(extensions) < 5 {
		t.Errorf("systemd was asked for more time %d times in 3 s, want 5 or more", len(extensions))
	}
	for _, e := range extensions {
		if usec, err := time.ParseDuration(e.Value + "us"); err != nil || usec < time.Second {
			t.Errorf("systemd was asked for %q microseconds more: %v", e.Value, err)
		}
	}
}

func TestASecondSignalEndsTheDrainAtOnce(t *testing.T) {
	site := newSite(t)
	agent := startAgent(t, site.Web1, site.AgentConfig(quick))
	ok(t, agent.Signal(syscall.SIGINT))
	ok(t, site.Client.UntilAnswer(site.Web1.ReadyURL(), 503))
	ok(t, agent.Signal(syscall.SIGTERM))
	status, err := agent.Wait(2 * time.Second)
	ok(t, err)
	if status != 1 || !strings.Contains(agent.Log(), "drain cut short") {
		t.Errorf("exit status %d, want 1, and a word of it in the log: %s", status, agent.Log())
	}
}

func since(all []network.Notification, from time.Time) []network.Notification {
	var late []network.Notification
	for _, n := range all {
		if n.Time.After(from) {
			late = append(late, n)
		}
	}
	return late
}
