//go:build lab

package packages

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestADebianPackageIsInstalledUpgradedAndRemoved(t *testing.T) { live(t, deb) }

func TestAnRPMPackageIsInstalledUpgradedAndRemoved(t *testing.T) { live(t, rpm) }

// live is the life of a package on a node, from its installation to its end.
func live(t *testing.T, m manager) {
	n := newNode(t)
	files, state := own(t), n.state()
	if said := n.with(m.install, m.older); !strings.Contains(said, config+"; then: systemctl enable --now rsagent") {
		t.Errorf("the installation does not say what to do next: %s", said)
	}
	n.doesNothingYet(state)
	edited := n.serves()
	n.reloads(edited)
	n.changes(m)
	n.drains()
	n.goes(m, edited)
	if diff := cmp.Diff(state, n.state()); diff != "" {
		t.Errorf("after the removal (-before +after):\n%s", diff)
	}
	left := slices.DeleteFunc(own(t), func(f string) bool { return slices.Contains(m.mayLeave, f) })
	if diff := cmp.Diff(files, left); diff != "" {
		t.Errorf("files after the removal (-before +after):\n%s", diff)
	}
	n.isGone(m, files)
}

// doesNothingYet: without a VIP the node stays as it is, and is told what to do.
func (n node) doesNothingYet(before []string) {
	n.t.Helper()
	n.want("ActiveState", "inactive")
	n.want("UnitFileState", "disabled")
	status, _ := on(n.site.Web1, "systemctl", "status", unit) // 3: it does not run
	if !strings.Contains(status, config+"; then: systemctl enable --now rsagent") {
		n.t.Errorf("systemctl status does not say what to do next after the installation:\n%s", status)
	}
	if out, err := on(n.site.Web1, "systemctl", "start", unit); err == nil {
		n.t.Errorf("a start without a VIP succeeds: %s", out)
	}
	status, _ = on(n.site.Web1, "systemctl", "status", unit)
	for _, said := range []string{"no VIP is set yet", config, "systemctl restart rsagent"} {
		if !strings.Contains(status, said) {
			n.t.Errorf("systemctl status does not say %q:\n%s", said, status)
		}
	}
	n.want("NRestarts", "0")
	if diff := cmp.Diff(before, n.state()); diff != "" {
		n.t.Errorf("without a VIP (-before +after):\n%s", diff)
	}
}

// patientPool is nginx, which answers late while a package is unpacked beside it.
const patientPool = `
[[pool]]
name  = "http-pool"
vip   = "10.9.0.100"
port  = 80
probe = { type = "http", interval = "5s", timeout = "4s", rise = 1, fall = 3 }
`

// serves: with a VIP it is enabled and started, and the clients' packets get in.
func (n node) serves() (edited string) {
	n.t.Helper()
	edited = "# edited\n" + n.site.AgentConfig(patientPool, "[drain]\nnotice = \"3s\"\ntimeout = \"10s\"\n",
		"[sysctl]\n\"net.ipv4.tcp_fin_timeout\" = \"17\"\n")
	ok(n.t, os.WriteFile(config, []byte(edited), 0o644))
	n.run("rsagent", "config", "validate")
	n.run("systemctl", "enable", "--now", unit)
	n.want("ActiveState", "active")
	n.want("UnitFileState", "enabled")
	n.answersReady()
	answers := n.site.Client.Requests(10)
	if failed := answers.Failed(); len(failed) > 0 || answers.ByNode()["web1"] != 10 {
		n.t.Errorf("through the VIP: %v", answers)
	}
	return edited
}

// reloads: a good file is put in force and a bad one is refused, and neither it
// nor a restart costs a request or a check.
func (n node) reloads(edited string) {
	n.t.Helper()
	w := n.watch()
	pid := n.show("MainPID")
	reload := func(text, said string) {
		ok(n.t, os.WriteFile(config, []byte(text), 0o644))
		n.run("systemctl", "reload", unit)
		n.waitSaid(said)
	}
	reload(strings.Replace(edited, `"17"`, `"18"`, 1), `"reloaded"`)
	reload("vips = [10]\n", "cannot reload")
	if got, err := n.site.Web1.Sysctl("net/ipv4/tcp_fin_timeout"); err != nil || got != "18" {
		n.t.Errorf("net.ipv4.tcp_fin_timeout is %q, %v, want 18", got, err)
	}
	n.want("MainPID", pid)
	ok(n.t, os.WriteFile(config, []byte(edited), 0o644))
	n.run("systemctl", "restart", unit)
	n.want("ActiveState", "active")
	if n.show("MainPID") == pid {
		n.t.Errorf("a restart leaves the daemon process %s", pid)
	}
	time.Sleep(time.Second)
	w.end()
}

// changes: to the newer version and back, of which nobody outside sees anything.
func (n node) changes(m manager) {
	n.t.Helper()
	edited, err := os.ReadFile(config)
	ok(n.t, err)
	w := n.watch()
	n.changed(m, m.newer, "0.2.0")
	n.changed(m, m.older, "0.1.0")
	time.Sleep(time.Second)
	w.end()
	if got, err := os.ReadFile(config); err != nil || string(got) != string(edited) {
		n.t.Errorf("the edited configuration is %q, %v", got, err)
	}
	n.want("UnitFileState", "enabled")
	if strings.Contains(n.journal(), "drain began") {
		n.t.Error("the journal tells of a drain")
	}
}

func (n node) changed(m manager, file, version string) {
	n.t.Helper()
	pid := n.show("MainPID")
	n.with(m.change, file)
	n.want("ActiveState", "active")
	again := n.show("MainPID")
	if again == pid {
		n.t.Errorf("after %s the daemon is still process %s", file, pid)
	}
	if program, err := os.Readlink(filepath.Join("/proc", again, "exe")); err != nil || program != "/usr/bin/rsagent" {
		n.t.Errorf("the daemon runs %q, %v", program, err)
	}
	if out := n.run("rsagent", "version"); !strings.Contains(out, version) {
		n.t.Errorf("after %s the version is %q, want %s", file, out, version)
	}
}

// drains: a stop tells the directors first.
func (n node) drains() {
	n.t.Helper()
	n.during("systemctl", "stop", unit)
	n.want("ActiveState", "inactive")
	n.want("Result", "success")
	n.run("systemctl", "start", unit)
	n.answersReady()
}

// during runs a program that stops the daemon, and wants a drain meanwhile.
func (n node) during(words ...string) {
	n.t.Helper()
	drains := strings.Count(n.journal(), "drain ended")
	done := make(chan error, 1)
	go func() {
		_, err := on(n.site.Web1, words...)
		done <- err
	}()
	ok(n.t, n.site.Dir1.UntilAnswer(n.site.Web1.ReadyURL(), 503))
	ok(n.t, <-done)
	if ended := strings.Count(n.journal(), "drain ended"); ended != drains+1 {
		n.t.Errorf("%s: %d drains ended, want one", strings.Join(words, " "), ended-drains)
	}
}

// goes: a removal drains, and keeps what was edited.
func (n node) goes(m manager, edited string) {
	n.t.Helper()
	n.during(m.remove...)
	if got, err := os.ReadFile(m.keepsAs); err != nil || string(got) != edited {
		n.t.Errorf("%s is %q, %v, want what was edited", m.keepsAs, got, err)
	}
	if got := n.show("LoadState"); got == "loaded" {
		n.t.Error("systemd still has the unit")
	}
}

// isGone: after a purge nothing at all is left.
func (n node) isGone(m manager, before []string) {
	n.t.Helper()
	if m.purge == nil {
		ok(n.t, os.RemoveAll(filepath.Dir(config)))
	} else {
		n.run(m.purge...)
	}
	if diff := cmp.Diff(before, own(n.t)); diff != "" {
		n.t.Errorf("files at the end (-before +after):\n%s", diff)
	}
}
