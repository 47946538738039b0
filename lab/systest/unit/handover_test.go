//go:build lab

package unit

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const restarts = 10

// withLimitsAsShipped gives the service its own limits again: what this does to
// the machine takes longer than those of the lab.
func withLimitsAsShipped(t *testing.T) {
	t.Helper()
	file := filepath.Join(units, unit+".d", "limits.conf")
	ok(t, os.WriteFile(file, []byte("[Service]\nWatchdogSec=30s\nTimeoutStopSec=30s\n"), 0o644))
	t.Cleanup(func() { ok(t, os.Remove(file)) })
	_, err := run("systemctl", "daemon-reload")
	ok(t, err)
	restart(t)
}

func restart(t *testing.T) {
	t.Helper()
	_, err := run("systemctl", "restart", unit)
	ok(t, err)
}

// A director sees nothing of a restart but one answer that takes longer.
func TestARestartIsAnsweredReadyAllTheTime(t *testing.T) {
	site := newSite(t)
	s := start(t, site)
	withLimitsAsShipped(t)
	asker := ask(site.Dir1, site.Web1)
	var took []time.Duration
	for range restarts {
		began := time.Now()
		restart(t)
		took = append(took, time.Since(began).Round(time.Millisecond))
		time.Sleep(500 * time.Millisecond)
	}
	answers := asker.end()

	counts, slowest := summary(answers)
	t.Logf("%d questions, %v between them: %v, the slowest took %v", len(answers), pace, counts, slowest)
	t.Logf("the restarts took %v", took)
	if diff := cmp.Diff(map[string]int{"200 ready": len(answers)}, counts); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	// Fewer would have left gaps in which nobody asked.
	if len(answers) < restarts*askedAtOnce {
		t.Errorf("only %d questions were asked", len(answers))
	}
	// keepalived waits for 5 s, but not on an emulated machine that is busy.
	if slowest > 10*time.Second {
		t.Errorf("the slowest answer took %v", slowest)
	}
	s.want("NFileDescriptorStore", "0")
	taken := 0
	for _, e := range s.journal() {
		if e.Program == "rsagent" && e.Priority <= "4" {
			t.Errorf("a restart is nothing to warn of: %v", e)
		}
		if e.has(`"handed_over":true`) {
			taken++
		}
	}
	if taken != 1+restarts { // and the one that brought the limits
		t.Errorf("the socket was handed over %d times, want %d", taken, 1+restarts)
	}
}

func TestAfterARestartAnEndClosesThePort(t *testing.T) {
	site := newSite(t)
	s := start(t, site)
	wantRefused := func() {
		t.Helper()
		if text, err := askOnce(site.Dir1, site.Web1); err == nil || why(err) != "refused" {
			t.Errorf("got %q, %v, want the connection refused", text, err)
		}
	}
	restart(t)
	ok(t, site.Web1.UntilReady())

	s.kill("KILL")
	s.waitFor("SubState", "auto-restart")
	wantRefused()
	s.waitFor("NRestarts", "1")
	s.waitFor("ActiveState", "active")
	ok(t, site.Web1.UntilReady())

	restart(t)
	ok(t, site.Web1.UntilReady())
	_, err := run("systemctl", "stop", unit)
	ok(t, err)
	wantRefused()
	s.want("NFileDescriptorStore", "0")
}

// A daemon that does not start must not leave people waiting for its answer.
func TestARestartThatFailsClosesThePort(t *testing.T) {
	site := newSite(t)
	s := start(t, site)
	ok(t, os.WriteFile("/etc/rsagent/rsagent.toml", []byte("nonsense = 1\n"), 0o600))
	if _, err := run("systemctl", "restart", unit); err == nil {
		t.Error("a restart with a bad file succeeds")
	}
	s.waitSaid("nonsense")
	s.waitFor("SubState", "auto-restart")
	if text, err := askOnce(site.Dir1, site.Web1); err == nil || why(err) != "refused" {
		t.Errorf("got %q, %v, want the connection refused", text, err)
	}
}

// systemd is told that the system goes down, and stays up.
func TestAShutdownDrainsEvenIfTheUnitIsToBeRestarted(t *testing.T) {
	site := newSite(t)
	s := start(t, site)
	const target = "shutdown.target"
	file := filepath.Join(units, target+".d", "lab.conf")
	ok(t, os.MkdirAll(filepath.Dir(file), 0o755))
	ok(t, os.WriteFile(file, []byte("[Unit]\nRefuseManualStart=no\n"), 0o644))
	t.Cleanup(func() {
		_, err := run("systemctl", "stop", target)
		ok(t, err)
		ok(t, os.RemoveAll(filepath.Dir(file)))
		_, err = run("systemctl", "daemon-reload")
		ok(t, err)
	})
	_, err := run("systemctl", "daemon-reload")
	ok(t, err)
	_, err = run("systemctl", "start", "--job-mode=ignore-dependencies", target)
	ok(t, err)
	if state, _ := run("systemctl", "is-system-running"); state != "stopping\n" {
		t.Fatalf("the system is %q, want stopping", state)
	}
	_, err = run("systemctl", "restart", "--job-mode=ignore-dependencies", unit)
	ok(t, err)
	if !s.said("drain ended") || s.said("restarting without a drain") {
		t.Error("the journal does not tell of a drain")
	}
}
