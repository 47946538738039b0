//go:build lab

package systest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"rsagent/lab/network"
)

// What a rival is that comes back every 50 ms.
const rivalLoop = "while :; do ip addr del 10.9.0.100/32 dev tunl0 2>/dev/null; sleep 0.05; done"

func TestARivalIsNamedAndNotFoughtForEver(t *testing.T) {
	site := newSite(t)
	ok(t, site.Dir1.Direct([]*network.Host{site.Web1}, 80))
	_, err := site.Web1.StartNginx()
	ok(t, err)
	agent := startAgent(t, site.Web1, site.AgentConfig(network.HTTPPool))
	idle := cost(t, site.Web1, agent)

	rival, err := site.Web1.Start(exec.Command("sh", "-c", rivalLoop))
	ok(t, err)
	began := time.Now()
	ok(t, agent.WaitLog("repair stopped", 30*time.Second))
	t.Logf("stopped after %v", time.Since(began))
	ok(t, site.Client.UntilAnswer(site.Web1.ReadyURL(), 503))
	// Only now: while it flaps, a request that loses a packet at every turn may
	// fail for longer than any fault is there.
	truth := watchTruth(t, site, site.Web1)
	wantStopped(t, site.Web1, agent)
	time.Sleep(2 * time.Second)
	truth.end(t)

	used := cost(t, site.Web1, agent)
	t.Logf("it costs %v while the rival goes on, and %v without one", used, idle)
	// An emulated machine that gets little time of its host makes everything
	// dearer, rest too. What a fight would add is rounds.
	if used.core >= max(0.02, 3*idle.core+0.05) || used.rounds > idle.rounds+10 {
		t.Errorf("it costs %v while the rival goes on, and %v without one; want less than 2 %% of a core", used, idle)
	}

	truth = watchTruth(t, site, site.Web1)
	if r := askReady(site.Client, site.Web1); r.status != 503 {
		t.Errorf("/ready says %d %s while the rival goes on, want 503", r.status, r.line)
	}
	ok(t, rival.Kill())
	ended := time.Now()
	// Up to 40 s of rest, and some more for which the repair must hold.
	for askReady(site.Client, site.Web1).status != 200 {
		if time.Since(ended) > time.Minute {
			t.Fatalf("the node is not ready %v after its rival ended: %+v", time.Since(ended), status(t, site.Web1))
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Logf("ready again %v after the rival ended", time.Since(ended))
	allAnswered(t, site.Client.Requests(20), "web1")
	truth.end(t)
}

// wantStopped looks at what is said of a repair that is not made any more.
func wantStopped(t *testing.T, node *network.Host, agent *network.Process) {
	t.Helper()
	const id, what, rival = "tunnel/vip/10.9.0.100", "10.9.0.100/32 on tunl0", "ip (process "
	if !logged(agent.Log(), `"repair stopped"`, `"condition":"`+id, what, `"rival":"by `+rival) {
		t.Errorf("the log does not say that a repair was stopped, and because of whom: %s", agent.Log())
	}
	until, _, _ := strings.Cut(agent.Log(), "repair stopped")
	repairs := 0
	for line := range strings.Lines(until) {
		if logged(line, `"repaired"`, `"condition":"`+id) {
			repairs++
		}
	}
	if repairs < 10 || repairs > 11 {
		t.Errorf("it was repaired %d times before, want 10 or 11", repairs)
	}
	f := status(t, node)[id]
	t.Logf("%s is %s: %s", id, f.Status, f.Cause)
	if f.Status != "failed" || !strings.Contains(f.Cause, rival) {
		t.Errorf("/status says of it %+v, want it failed and the rival named", f)
	}
}

// effort is what the agent spends in a while.
type effort struct {
	core   float64 // part of one
	rounds float64
}

func (e effort) String() string {
	return fmt.Sprintf("%.2f %% of a core, %.0f rounds", 100*e.core, e.rounds)
}

// cost measures for 10 s, in which nobody asks the agent anything.
func cost(t *testing.T, node *network.Host, agent *network.Process) effort {
	t.Helper()
	const rounds = "rsagent_round_duration_seconds_count"
	const while = 10 * time.Second
	roundsBefore, timeBefore := metric(t, node, rounds), processorTime(t, agent)
	time.Sleep(while)
	used := processorTime(t, agent) - timeBefore
	return effort{float64(used) / float64(while), metric(t, node, rounds) - roundsBefore}
}

// processorTime is what a process has used of all processors until now
// (proc_pid_stat(5)).
func processorTime(t *testing.T, p *network.Process) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	ok(t, err)
	const user, system = 14 - 3, 15 - 3 // behind the name, which may have blanks
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var userTicks, systemTicks time.Duration
	_, err = fmt.Sscan(fields[user]+" "+fields[system], &userTicks, &systemTicks)
	ok(t, err)
	const tick = time.Second / 100 // USER_HZ
	return (userTicks + systemTicks) * tick
}

// status is the findings that the daemon on a node reports, by their ids.
func status(t *testing.T, node *network.Host) map[string]finding {
	t.Helper()
	_, body, err := node.Get(fmt.Sprintf("http://%s:9380/status", node.Addr))
	ok(t, err)
	return findingsIn(t, body)
}

// findingsIn reads the JSON of a report.
func findingsIn(t *testing.T, text string) map[string]finding {
	t.Helper()
	byID := make(map[string]finding)
	for _, f := range findingsOf(t, text) {
		byID[f.ID] = f
	}
	return byID
}

func findingsOf(t *testing.T, text string) []finding {
	t.Helper()
	var report struct{ Findings []finding }
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		t.Fatalf("this is no report: %v: %s", err, text)
	}
	return report.Findings
}
