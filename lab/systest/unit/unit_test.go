// Package unit shows rsagent as a service of a real systemd. Its machine has to
// be booted with one:
//
//	go test -exec "$PWD/bin/lab exec --systemd --with $PWD/bin/rsagent" ./lab/systest/unit
package unit

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"rsagent/lab/network"
)

const unit = "rsagent-lab.service"

// config drains for longer than stopLimit.
const config = `
[drain]
notice  = "5s"
timeout = "10s"
`

// stopLimit and watchdog are TimeoutStopSec= and WatchdogSec= of the unit, in
// seconds.
const stopLimit, watchdog = 2, 2

// start starts rsagent on web1 as a unit and waits as long as systemd does.
func start(t *testing.T, site *network.Site) {
	t.Helper()
	agent, err := site.Web1.Agent(site.AgentConfig(config), "run")
	ok(t, err)
	args := []string{
		"--quiet", "--unit=" + unit,
		"--property=Type=notify", "--property=NotifyAccess=main",
		"--property=RuntimeDirectory=rsagent-lab",
		fmt.Sprintf("--property=WatchdogSec=%d", watchdog),
		fmt.Sprintf("--property=TimeoutStopSec=%d", stopLimit),
		"--property=NetworkNamespacePath=/run/netns/" + site.Web1.Name,
	}
	_, err = run("systemd-run", append(args, agent.Args...)...)
	ok(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := run("journalctl", "--no-pager", "--unit", unit)
			t.Log(log)
		}
		// Whatever is left of it; there may be nothing.
		_, _ = run("systemctl", "kill", "--signal=KILL", unit)
		_, _ = run("systemctl", "stop", unit)
		_, _ = run("systemctl", "reset-failed", unit)
	})
}

func TestTheUnitIsActiveOnceTheNodeIsSetUp(t *testing.T) {
	site := newSite(t)
	start(t, site)
	want(t, "ActiveState", "active")
	addresses, err := site.Web1.Run("ip", "-br", "addr", "show", "dev", "tunl0", "up")
	if err != nil || !strings.Contains(addresses, network.VIP.String()+"/32") {
		t.Errorf("the unit is active, but tunl0 is %q, %v", addresses, err)
	}
	want(t, "StatusText", "ready: 1 VIP, 0 pools")
	time.Sleep(2 * watchdog * time.Second)
	want(t, "ActiveState", "active")
}

func TestAStopDrainsForLongerThanTheUnitsLimit(t *testing.T) {
	site := newSite(t)
	start(t, site)
	stopped := make(chan error, 1)
	began := time.Now()
	go func() {
		_, err := run("systemctl", "stop", unit)
		stopped <- err
	}()
	ok(t, site.Dir1.UntilAnswer(site.Web1.ReadyURL(), 503))
	want(t, "ActiveState", "deactivating")
	if text := show(t, "StatusText"); !strings.HasPrefix(text, "draining: the directors have") {
		t.Errorf("the status is %q, want it to speak of the drain", text)
	}
	ok(t, <-stopped)
	if took := time.Since(began); took < 5*time.Second {
		t.Errorf("the stop took %v, less than the notice", took)
	}
	log, err := run("journalctl", "--no-pager", "--output=cat", "--unit", unit)
	ok(t, err)
	if !strings.Contains(log, "drain ended") || strings.Contains(log, "timed out") {
		t.Errorf("the drain did not come to its end: %s", log)
	}
}

func TestARestartOfTheUnitDoesNotDrain(t *testing.T) {
	site := newSite(t)
	started := time.Now()
	start(t, site)
	pid := show(t, "MainPID")
	began := time.Now()
	_, err := run("systemctl", "restart", unit)
	ok(t, err)
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("the restart took %v, and the notice of a drain is 5s", took)
	}
	want(t, "ActiveState", "active")
	if again := show(t, "MainPID"); again == pid {
		t.Errorf("the daemon is still process %s", pid)
	}
	ok(t, site.Web1.UntilReady())
	log, err := run("journalctl", "--no-pager", "--output=cat", "--unit", unit, fmt.Sprintf("--since=@%d", started.Unix()))
	ok(t, err)
	if !strings.Contains(log, "restarting without a drain") || strings.Contains(log, "drain began") {
		t.Errorf("the log does not tell of a restart without a drain: %s", log)
	}
}

func TestSystemdEndsADaemonThatHangs(t *testing.T) {
	site := newSite(t)
	start(t, site)
	_, err := run("systemctl", "kill", "--kill-whom=main", "--signal=STOP", unit)
	ok(t, err)
	deadline := time.Now().Add(20 * time.Second)
	for show(t, "ActiveState") != "failed" {
		if time.Now().After(deadline) {
			t.Fatalf("the unit is still %s", show(t, "ActiveState"))
		}
		time.Sleep(100 * time.Millisecond)
	}
	want(t, "Result", "watchdog")
}

func newSite(t *testing.T) *network.Site {
	t.Helper()
	ok(t, network.UnloadIPIP())
	site, err := network.New()
	ok(t, err)
	t.Cleanup(func() {
		if err := site.Close(); err != nil {
			t.Error(err)
		}
	})
	return site
}

// show asks systemd for a property of the unit.
func show(t *testing.T, property string) string {
	t.Helper()
	out, err := run("systemctl", "show", "--value", "--property="+property, unit)
	ok(t, err)
	return strings.TrimSpace(out)
}

func want(t *testing.T, property, value string) {
	t.Helper()
	if got := show(t, property); got != value {
		t.Errorf("the unit's %s is %q, want %q", property, got, value)
	}
}

func run(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return string(out), errors.Join(fmt.Errorf("cannot run %s %s", name, strings.Join(args, " ")), err, errors.New(string(out)))
	}
	return string(out), nil
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
