//go:build lab

package unit

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rsagent/lab/network"
)

const (
	unit    = "rsagent.service"
	units   = "/etc/systemd/system"
	runtime = "/run/rsagent" // RuntimeDirectory= of the unit
)

// dropIn is what the lab changes of the shipped unit.
const dropIn = `[Service]
NetworkNamespacePath=/run/netns/%s
WatchdogSec=%d
TimeoutStopSec=%d
`

// stopLimit and watchdog are TimeoutStopSec= and WatchdogSec= in the lab, in
// seconds.
const stopLimit, watchdog = 2, 2

// config drains for longer than stopLimit, and has the daemon write settings,
// which the unit must not keep it from.
const config = `
[drain]
notice  = "5s"
timeout = "10s"

[sysctl]
"net.ipv4.tcp_fin_timeout" = "17"
`

// install puts rsagent and its unit where a package puts them.
func install(t *testing.T, site *network.Site) {
	t.Helper()
	binary, err := exec.LookPath("rsagent")
	ok(t, err)
	conf, err := site.Web1.WriteFile("rsagent.toml", site.AgentConfig(config, network.HTTPPool))
	ok(t, err)
	lab, err := site.Web1.WriteFile("lab.conf", fmt.Sprintf(dropIn, site.Web1.Name, watchdog, stopLimit))
	ok(t, err)
	for _, file := range [][]string{
		{"--mode=755", binary, "/usr/bin/rsagent"},
		{"--mode=644", filepath.Join(filepath.Dir(binary), unit), filepath.Join(units, unit)},
		{"--mode=644", lab, filepath.Join(units, unit+".d", "lab.conf")},
		{"--mode=600", conf, "/etc/rsagent/rsagent.toml"},
	} {
		_, err := run("install", append([]string{"-D"}, file...)...)
		ok(t, err)
	}
	_, err = run("systemctl", "daemon-reload")
	ok(t, err)
	// A node that boots later, of this machine's files, is not to have it.
	t.Cleanup(func() {
		ok(t, os.RemoveAll(filepath.Join(units, unit+".d")))
		ok(t, os.Remove(filepath.Join(units, unit)))
	})
}

// service is the unit on web1, where nginx runs.
type service struct {
	t      *testing.T
	cursor string // where the journal was when it started
}

// start starts the unit and waits as long as systemd does, and until the
// directors may send.
func start(t *testing.T, site *network.Site) service {
	t.Helper()
	_, err := site.Web1.StartNginx()
	ok(t, err)
	install(t, site)
	s := service{t, lastEntry(t)}
	t.Cleanup(func() {
		if t.Failed() {
			for _, e := range s.journal() {
				t.Log(e)
			}
		}
		// Whatever is left of it; there may be nothing.
		_, _ = run("systemctl", "kill", "--signal=KILL", unit)
		_, _ = run("systemctl", "stop", unit)
		_, _ = run("systemctl", "reset-failed", unit)
		ok(t, os.RemoveAll(runtime))
	})
	_, err = run("systemctl", "start", unit)
	ok(t, err)
	s.want("ActiveState", "active")
	ok(t, site.Web1.UntilReady())
	return s
}

func TestTheUnitIsActiveOnceTheNodeIsSetUp(t *testing.T) {
	site := newSite(t)
	s := start(t, site)
	wantVIP(t, site)
	if got, err := site.Web1.Sysctl("net/ipv4/tcp_fin_timeout"); err != nil || got != "17" {
		t.Errorf("net.ipv4.tcp_fin_timeout is %q, %v, want 17", got, err)
	}
	holder, err := os.ReadFile(filepath.Join(runtime, "lock"))
	if pid := s.show("MainPID"); err != nil || strings.TrimSpace(string(holder)) != pid {
		t.Errorf("%s/lock names %q, %v, want the daemon, %s", runtime, holder, err, pid)
	}
	// Root, if it has the unit's view of the files, is kept from the control groups.
	group := "/sys/fs/cgroup" + s.show("ControlGroup") + "/cgroup.freeze"
	if said, err := run("nsenter", "--mount", "--target", s.show("MainPID"), "sh", "-c", "echo 0 > "+group); err == nil || !strings.Contains(err.Error(), "Read-only") {
		t.Errorf("writing to %s: %q, %v, want it to be read-only", group, said, err)
	}
	s.waitFor("StatusText", "ready: 1 VIP, 1 pool")
	time.Sleep(2 * watchdog * time.Second)
	s.want("ActiveState", "active")
	s.want("NRestarts", "0")
	// The daemon would warn of what the unit does not let it do.
	for _, e := range s.journal() {
		if e.Priority <= "4" && e.Program == "rsagent" {
			t.Errorf("a warning from a node that is well: %v", e)
		}
	}
}

func TestAStopDrainsForLongerThanTheUnitsLimit(t *testing.T) {
	site := newSite(t)
	s := start(t, site)
	stopped := make(chan error, 1)
	began := time.Now()
	go func() {
		_, err := run("systemctl", "stop", unit)
		stopped <- err
	}()
	ok(t, site.Dir1.UntilAnswer(site.Web1.ReadyURL(), 503))
	s.want("ActiveState", "deactivating")
	if text := s.show("StatusText"); !strings.HasPrefix(text, "draining: the directors have") {
		t.Errorf("the status is %q, want it to speak of the drain", text)
	}
	ok(t, <-stopped)
	if took := time.Since(began); took < stopLimit*time.Second {
		t.Errorf("the stop took %v, less than the unit's limit", took)
	}
	if !s.said("drain ended") || s.said("timed out") || s.said("uncounted") {
		t.Error("the drain did not come to its end")
	}
	// The unit has Restart=always.
	time.Sleep(3 * time.Second)
	s.want("ActiveState", "inactive")
	s.want("Result", "success")
}

func TestARestartOfTheUnitDoesNotDrain(t *testing.T) {
	site := newSite(t)
	s := start(t, site)
	pid := s.show("MainPID")
	began := time.Now()
	_, err := run("systemctl", "restart", unit)
	ok(t, err)
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("the restart took %v, and the notice of a drain is 5s", took)
	}
	s.want("ActiveState", "active")
	if again := s.show("MainPID"); again == pid {
		t.Errorf("the daemon is still process %s", pid)
	}
	ok(t, site.Web1.UntilReady())
	if !s.said("restarting without a drain") || s.said("drain began") {
		t.Error("the journal does not tell of a restart without a drain")
	}
}

func TestAReloadPutsTheFileInForceAndABadOneIsRefused(t *testing.T) {
	site := newSite(t)
	s := start(t, site)
	pid := s.show("MainPID")
	const file = "/etc/rsagent/rsagent.toml"
	reload := func(text, said string) {
		ok(t, os.WriteFile(file, []byte(text), 0o600))
		_, err := run("systemctl", "reload", unit)
		ok(t, err)
		s.waitSaid(said)
	}
	good, err := os.ReadFile(file)
	ok(t, err)
	reload(strings.Replace(string(good), `"17"`, `"18"`, 1), `"reloaded"`)
	reload("vips = [10]\n", "cannot reload")
	time.Sleep(2 * time.Second) // RestartSec= of the unit, and some
	if got, err := site.Web1.Sysctl("net/ipv4/tcp_fin_timeout"); err != nil || got != "18" {
		t.Errorf("net.ipv4.tcp_fin_timeout is %q, %v, want 18", got, err)
	}
	s.want("MainPID", pid)
	s.want("ActiveState", "active")
	ok(t, site.Web1.UntilReady())

	// The journal has each line under its level.
	priorities := map[string]string{}
	for _, e := range s.journal() {
		if e.Program != "rsagent" {
			continue
		}
		for _, text := range []string{`"starting"`, "cannot reload"} {
			if strings.Contains(e.text(), text) {
				priorities[text] = e.Priority
			}
		}
		if strings.HasPrefix(e.text(), "<") {
			t.Errorf("the priority is left in the line %v", e)
		}
	}
	if diff := cmp.Diff(map[string]string{`"starting"`: "6", "cannot reload": "3"}, priorities); diff != "" {
		t.Errorf("priorities of lines (-want +got):\n%s", diff)
	}
}

func TestADaemonThatIsKilledIsBackAndTheVIPNeverLeaves(t *testing.T) {
	site := newSite(t)
	s := start(t, site)
	monitor := watchAddresses(t, site.Web1)
	s.kill("KILL")
	died := time.Now()
	s.waitFor("NRestarts", "1")
	s.waitFor("ActiveState", "active")
	ok(t, site.Web1.UntilReady())
	if took := time.Since(died); took > 5*time.Second {
		t.Errorf("the node was ready again after %v, want 5s at most", took)
	}
	wantVIP(t, site)
	for line := range strings.Lines(monitor.Log()) {
		if strings.Contains(line, "tunl0") {
			t.Errorf("tunl0 changed while the daemon was away: %s", line)
		}
	}
	if s.said("drain began") {
		t.Error("the new daemon drained")
	}
}

func TestSystemdRestartsADaemonThatHangs(t *testing.T) {
	site := newSite(t)
	s := start(t, site)
	pid := s.show("MainPID")
	s.kill("STOP")
	s.waitFor("NRestarts", "1")
	s.waitFor("ActiveState", "active")
	ok(t, site.Web1.UntilReady())
	if again := s.show("MainPID"); again == pid {
		t.Errorf("the daemon is still process %s", pid)
	}
	wantVIP(t, site)
	var results []string
	for _, e := range s.journal() {
		if e.Result != "" {
			results = append(results, e.Result)
		}
	}
	if diff := cmp.Diff([]string{"watchdog"}, results); diff != "" {
		t.Errorf("what systemd says the daemon ended with (-want +got):\n%s", diff)
	}
}

func TestSystemdHasNothingToSayOfTheUnit(t *testing.T) {
	install(t, newSite(t))
	said, err := run("systemd-analyze", "verify", "--man=no", filepath.Join(units, unit))
	ok(t, err)
	if said != "" {
		t.Errorf("systemd-analyze verify says: %s", said)
	}
}

func newSite(t *testing.T) *network.Site {
	t.Helper()
	if !network.OwnMachine() {
		t.Fatal("this installs a unit and needs the lab's own machine: set LAB_VM=always")
	}
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

func wantVIP(t *testing.T, site *network.Site) {
	t.Helper()
	addresses, err := site.Web1.Run("ip", "-br", "addr", "show", "dev", "tunl0", "up")
	if err != nil || !strings.Contains(addresses, network.VIP.String()+"/32") {
		t.Errorf("tunl0 is %q, %v, want it to have the VIP", addresses, err)
	}
}

// watchAddresses tells of every change of links and addresses on the node, from
// before it returns.
func watchAddresses(t *testing.T, node *network.Host) *network.Process {
	t.Helper()
	monitor, err := node.Start(exec.Command("ip", "monitor", "link", "address"))
	ok(t, err)
	const probe = "192.0.2.1/32"
	for began := time.Now(); !strings.Contains(monitor.Log(), probe); time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatalf("ip monitor sees nothing: %s", monitor.Log())
		}
		ok(t, node.IP("addr add "+probe+" dev lo", "addr del "+probe+" dev lo"))
	}
	return monitor
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
