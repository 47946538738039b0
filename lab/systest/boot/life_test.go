//go:build lab

package boot

import (
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rsagent/lab/network"
)

func TestANodeOfADebianPackageServesFromPowerOnToPowerOff(t *testing.T) {
	live(t, "dpkg", "--status", "rsagent")
}

func TestANodeOfAnRPMPackageServesFromPowerOnToPowerOff(t *testing.T) {
	live(t, "rpm", "--query", "rsagent")
}

// live is the life of a node on which a package is installed, as a query tells.
func live(t *testing.T, query ...string) {
	n := powerOn(t)
	n.run(query...)
	n.comesIntoService()
	n.agreesWithUdev()
	n.mendsWhatUdevApplies()
	n.isSilentOnANewInterface()
	n.isStartedAgainWhenItHangs()
	n.powersOff()
	n.neverSpokeForTheVIP()
}

// isSilentBeforeTheNetwork: what the package's files are for.
func (n *node) isSilentBeforeTheNetwork() {
	n.t.Helper()
	if got := n.run("ip", "-brief", "address", "show", "dev", "eth0"); strings.Contains(got, "UP") {
		n.t.Errorf("eth0 is up before its cable is in: %s", got)
	}
	n.within(0, map[string]string{"all/arp_ignore": "1", "all/arp_announce": "2", "tunl0/rp_filter": "2"})
}

// comesIntoService: with no hand, and without a repair of what boot has set.
func (n *node) comesIntoService() {
	n.t.Helper()
	n.inService()
	if state, err := run("systemctl", "is-system-running", "--wait"); err != nil {
		n.t.Errorf("the system is %s: %s", state, n.run("systemctl", "--failed"))
	}
	n.want("ActiveState", "active")
	n.want("UnitFileState", "enabled")
	n.want("NRestarts", "0")
	for _, before := range []string{"nginx.service", "network-online.target"} {
		if number(n.t, n.show(before, "ActiveEnterTimestampMonotonic")) > number(n.t, n.show(unit, "ExecMainStartTimestampMonotonic")) {
			n.t.Errorf("rsagent started before %s", before)
		}
	}
	agreed := []string{"sysctl/arp_ignore/all", "sysctl/arp_announce/all", "sysctl/rp_filter/tunl0"}
	for _, e := range n.entries("--boot", "--unit="+unit) {
		if e.line.Message == "repaired" && slices.Contains(agreed, e.line.Condition) {
			n.t.Errorf("rsagent has to mend what the package's own file sets at boot: %v", e)
		}
	}
}

// udev applies the files of sysctl.d to all interfaces, as to new ones.
func (n *node) udev() {
	n.t.Helper()
	n.run("udevadm", "trigger", "--action=add", "--subsystem-match=net")
	n.run("udevadm", "settle")
}

// agreesWithUdev: the settings of the distribution, applied once more, undo
// nothing that rsagent has to mend.
func (n *node) agreesWithUdev() {
	n.t.Helper()
	cursor := n.cursor()
	n.set("tunl0/promote_secondaries", "0")
	n.set("eth0/promote_secondaries", "0")
	n.udev()
	n.within(0, map[string]string{"tunl0/promote_secondaries": "1", "eth0/promote_secondaries": "1", "tunl0/rp_filter": "2"})
	time.Sleep(2 * time.Second)
	for _, e := range n.repairs(cursor) {
		n.t.Errorf("after udev applied what the distribution sets: %v", e)
	}
}

// mendsWhatUdevApplies: settings of the site's own that are wrong hold for a
// moment only, and the journal says what was mended.
func (n *node) mendsWhatUdevApplies() {
	n.t.Helper()
	cursor := n.cursor()
	addresses := n.watchAddresses()
	n.run("install", "--mode=644", "testdata/99-site.conf", "/etc/sysctl.d/99-site.conf")
	n.udev()
	n.t.Logf("mended %v after udev had settled", n.within(soon, map[string]string{
		"tunl0/rp_filter": "2", "eth0/send_redirects": "0", "all/arp_ignore": "1", "all/arp_announce": "2",
	}))
	got := n.waitRepair(cursor, "net.ipv4.conf.tunl0.rp_filter")
	got.Cursor, got.Message = "", nil
	want := entry{Priority: "6", Program: "rsagent", Of: unit, line: line{
		Level: "info", Message: "repaired", Condition: "sysctl/rp_filter/tunl0",
		What: "net.ipv4.conf.tunl0.rp_filter", Old: "1", New: "2",
	}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(entry{})); diff != "" {
		n.t.Errorf("the journal's fields of a repair (-want +got):\n%s", diff)
	}
	n.waitRepair(cursor, "net.ipv4.conf.eth0.send_redirects")
	n.inService()
	for text := range strings.Lines(addresses.Log()) {
		if strings.Contains(text, "tunl0") {
			n.t.Errorf("tunl0 changed: %s", text)
		}
	}
	ok(n.t, addresses.Kill())
}

// watchAddresses tells of changes of addresses, from before it returns.
func (n *node) watchAddresses() *network.Process {
	n.t.Helper()
	monitor, err := n.site.Web1.Start(exec.Command("ip", "monitor", "address"))
	ok(n.t, err)
	const other = "192.0.2.1/32"
	n.until("a monitor of addresses", func() error {
		n.run("ip", "address", "add", other, "dev", "lo")
		n.run("ip", "address", "del", other, "dev", "lo")
		return monitor.WaitLog(other, 100*time.Millisecond)
	})
	return monitor
}

// isSilentOnANewInterface: a cable to another segment is put in, where somebody
// asks for the VIP from the first moment.
func (n *node) isSilentOnANewInterface() {
	n.t.Helper()
	cursor, peer := n.cursor(), n.site.Client
	ok(n.t, peer.IP("link add lan0 type veth peer name lan0 netns web1", "address add 10.10.0.10/24 dev lan0", "link set lan0 up"))
	wire, err := peer.Start(exec.Command("tcpdump", "-lni", "lan0", "arp"))
	ok(n.t, err)
	ok(n.t, wire.WaitLog("listening on", patience))
	asker, err := peer.StartAskingOn("lan0", netip.MustParseAddr("10.10.0.10"), network.VIP)
	ok(n.t, err)
	n.run("ip", "address", "add", "10.10.0.31/24", "dev", "lan0")
	n.run("ip", "link", "set", "lan0", "up")
	n.run("udevadm", "settle")
	n.t.Logf("right %v after udev had settled", n.within(soon, map[string]string{
		"lan0/send_redirects": "0", "lan0/accept_redirects": "0", "all/arp_ignore": "1", "all/arp_announce": "2",
	}))
	n.waitRepair(cursor, "net.ipv4.conf.lan0.send_redirects")
	// It does answer for what is its own.
	_, err = peer.Run("arping", "-c", "1", "-w", "10", "-I", "lan0", "10.10.0.31")
	ok(n.t, err)
	time.Sleep(time.Second)
	asked, err := asker.Stop()
	ok(n.t, err)
	ok(n.t, wire.Kill())
	said := wire.Log()
	if questions := strings.Count(said, "who-has "+network.VIP.String()); questions < 10 || questions > asked {
		n.t.Errorf("%d questions are seen of %d, so this shows nothing", questions, asked)
	}
	if strings.Contains(said, "Reply "+network.VIP.String()) || !strings.Contains(said, "Reply 10.10.0.31") {
		n.t.Errorf("on the new interface: %s", said)
	}
	ok(n.t, peer.IP("link del lan0"))
	n.inService()
}

// isStartedAgainWhenItHangs: with the limit of the unit as it is shipped.
func (n *node) isStartedAgainWhenItHangs() {
	n.t.Helper()
	cursor, pid := n.cursor(), n.show(unit, "MainPID")
	n.want("WatchdogUSec", "30s")
	n.run("systemctl", "kill", "--kill-whom=main", "--signal=STOP", unit)
	began := time.Now()
	n.until("another start of the daemon", func() error {
		if got := n.show(unit, "NRestarts"); got != "1" {
			return fmt.Errorf("%s restarts", got)
		}
		return nil
	})
	n.t.Logf("started again %v after it was stopped", time.Since(began))
	n.inService()
	n.want("ActiveState", "active")
	if again := n.show(unit, "MainPID"); again == pid {
		n.t.Errorf("the daemon is still process %s", pid)
	}
	var results []string
	for _, e := range n.since(cursor) {
		if e.About == unit && e.Result != "" {
			results = append(results, e.Result)
		}
	}
	if diff := cmp.Diff([]string{"watchdog"}, results); diff != "" {
		n.t.Errorf("what the daemon ended with (-want +got):\n%s", diff)
	}
}

// powersOff: the node drains before its web server and its network stop, and no
// client sees anything of it, nor of all that was before.
func (n *node) powersOff() {
	n.t.Helper()
	cursor := n.cursor()
	downloads := n.downloads()
	began := time.Now()
	n.run("systemctl", "poweroff")
	select {
	case <-n.ended:
	case <-time.After(patience):
		n.t.Fatalf("the system does not go down: %s", n.run("systemctl", "list-jobs"))
	}
	took := time.Since(began)
	answers := n.load.Stop()
	n.t.Logf("all was stopped after %v; clients, from the boot on: %v", took, answers)
	for _, a := range answers.Failed() {
		n.t.Errorf("a request failed %v after the power-off began, after %v: %s", a.Sent.Sub(began), a.Took, a.Error)
	}
	if answers.Between(began, time.Now()).ByNode()["web1"] == 0 {
		n.t.Error("no request came to web1 after the power-off began, so this shows nothing")
	}
	ofNode := 0
	for _, a := range downloads() {
		switch {
		case a.Error != "" || len(a.Node) < network.SlowBytes-1: // web2's ends in a newline, which is no part of it
			n.t.Errorf("a download ended after %v with %d bytes: %s", a.Took, len(a.Node), a.Error)
		case strings.HasPrefix(a.Node, "web1"):
			ofNode++
			n.t.Logf("a download from web1 took %v", a.Took)
		}
	}
	if ofNode == 0 {
		n.t.Error("nobody downloads from web1, so this does not show that the drain waits for it")
	}
	n.stoppedInTurn(cursor)
}

// downloads are some that take longer than the directors do to notice, in turn from
// each node.
func (n *node) downloads() (wait func() network.Answers) {
	answers := make(network.Answers, 4)
	var over sync.WaitGroup
	for i := range answers {
		over.Go(func() { answers[i] = n.site.Client.Download("/slow") })
	}
	time.Sleep(time.Second)
	return func() network.Answers { over.Wait(); return answers }
}

func (n *node) stoppedInTurn(cursor string) {
	n.t.Helper()
	turn := []struct {
		what string
		is   func(entry) bool
	}{
		{"the drain began", func(e entry) bool { return e.line.Message == "drain began" }},
		{"the drain ended", func(e entry) bool { return e.line.Message == "drain ended" }},
		{"nginx was told to stop", func(e entry) bool { return e.starts("Stopping nginx.service") }},
		{"the network was told to stop", func(e entry) bool { return e.starts("Stopping systemd-networkd.service") }},
	}
	last := -1
	entries := n.since(cursor)
	for _, moment := range turn {
		at := slices.IndexFunc(entries, moment.is)
		if at <= last {
			n.t.Errorf("%s is entry %d of %v, and what is to be before it is %d", moment.what, at, entries, last)
		}
		last = at
	}
	for _, e := range entries {
		if e.Program == "rsagent" && e.Priority <= "4" {
			n.t.Errorf("a warning while the node goes down: %v", e)
		}
	}
}

func (e entry) starts(text string) bool {
	said, is := e.Message.(string)
	return is && strings.HasPrefix(said, text)
}

// neverSpokeForTheVIP: from before its cable was in.
func (n *node) neverSpokeForTheVIP() {
	n.t.Helper()
	asked, err := n.asker.Stop()
	ok(n.t, err)
	frames, err := n.capture.Stop()
	ok(n.t, err)
	answers, ofNode := 0, 0
	for _, f := range frames {
		switch {
		case !f.Sent:
		case f.ARP.Claims(network.VIP) && f.Host != "dir1":
			n.t.Errorf("%s spoke for the VIP: %v", f.Host, f)
		case f.ARP.Claims(network.VIP):
			answers++
		case f.Host == "web1":
			ofNode++
		}
	}
	n.t.Logf("asked %d times who has the VIP: %d answers of the director, none of the node, which spoke %d times for itself", asked, answers, ofNode)
	if asked < 100 || answers < asked/2 || ofNode == 0 {
		n.t.Error("so this shows nothing")
	}
}

func number(t *testing.T, text string) (n int) {
	t.Helper()
	_, err := fmt.Sscan(text, &n)
	ok(t, err)
	return n
}
