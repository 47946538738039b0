//go:build lab

package healthy

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"rsagent/lab/network"
)

// healthy is a node on which nothing is wrong.
type healthy struct {
	name string
	// prepare makes the node unusual, before anything runs on it. What it leaves
	// outside the site it takes back in a Cleanup.
	prepare func(t *testing.T, site *network.Site)
	rules   string                                 // of nftables, loaded after that
	serve   func(t *testing.T, site *network.Site) // starts what answers; nil: nginx
	config  func(site *network.Site) string        // nil: one pool, all else by default
	late    func(t *testing.T, site *network.Site) // is done once the daemon runs
	after   func(t *testing.T, site *network.Site) // looks at what check has done
	wrap    []string                               // what runs rsagent
	// byHand says why no daemon can run there: the node is set up by hand, and
	// check is all there is of rsagent.
	byHand string
	found  bool // check is run without a configuration only: there is none that would fit
	// lacks is a capability that rsagent does without: what it could not look at
	// is unknown, it says so, and check exits with 2.
	lacks string
	// truly is what check may say, and why it is right: by the id of a finding.
	truly map[string]string
}

// nodes is the table.
func nodes() []healthy {
	return slices.Concat(links(), tunnels(), routes(), filters(), services(), surroundings())
}

func TestAHealthyNodeIsCalledHealthy(t *testing.T) {
	for _, h := range nodes() {
		t.Run(h.name, func(t *testing.T) { h.test(t) })
	}
}

func (h healthy) test(t *testing.T) {
	site := newSite(t)
	ok(t, site.Dir1.Direct([]*network.Host{site.Web1}, 80))
	ok(t, site.Web1.IP("route add default via "+site.Client.Addr.String()))
	if h.prepare != nil {
		h.prepare(t, site)
	}
	if h.rules != "" {
		nft(t, site.Web1, h.rules)
	}
	serve := h.serve
	if serve == nil {
		serve = nginx
	}
	if h.byHand != "" {
		ok(t, setUpByHand(site.Web1))
		serve(t, site)
		h.serves(t, site, func() { h.judge(t, site, "by hand") })
		return
	}
	serve(t, site)
	agent := h.start(t, site)
	if h.late != nil {
		h.late(t, site)
	}
	ok(t, site.Web1.UntilReady())
	h.serves(t, site, func() {
		h.judge(t, site, "with the daemon")
		ok(t, agent.Kill())
		h.judge(t, site, "with the daemon dead")
	})
	if h.after != nil {
		h.after(t, site)
	}
}

func (h healthy) start(t *testing.T, site *network.Site) *network.Process {
	t.Helper()
	cmd, err := site.Web1.Agent(h.text(site), "run")
	ok(t, err)
	args := slices.Concat(h.wrap, cmd.Args)
	p, err := site.Web1.Start(exec.Command(args[0], args[1:]...))
	ok(t, err)
	return p
}

func (h healthy) text(site *network.Site) string {
	if h.config != nil {
		return h.config(site)
	}
	return site.AgentConfig(network.HTTPPool)
}

// serves wants clients to be served meanwhile and a while longer. Each comes
// after the one before, and a few may fail: the machine may be emulated, and so
// busy that a packet is late. A node that is not right fails many, or all.
func (h healthy) serves(t *testing.T, site *network.Site, meanwhile func()) {
	t.Helper()
	over, answered := make(chan struct{}), make(chan network.Answers)
	go func() {
		var all network.Answers
		for enough := false; !enough || len(all) < 10; time.Sleep(50 * time.Millisecond) {
			all = append(all, site.Client.Request("/"))
			select {
			case <-over:
				enough = true
			default:
			}
		}
		answered <- all
	}()
	meanwhile()
	close(over)
	answers := <-answered
	t.Log(answers)
	if served := answers.ByNode()["web1"]; served < len(answers)*4/5 {
		t.Errorf("the node does not serve, so it is not healthy: %v", answers)
	}
}

// judge runs check with and without a configuration.
func (h healthy) judge(t *testing.T, site *network.Site, how string) {
	t.Helper()
	file, err := site.Web1.WriteFile("rsagent.toml", h.text(site))
	ok(t, err)
	for _, with := range [][]string{{"--config", file}, nil} {
		if h.found && with != nil {
			continue
		}
		r := check(t, site.Web1, h.wrap, with...)
		t.Logf("%s, with %d arguments: exit status %d after %v", how, len(with), r.exit, r.took.Round(time.Millisecond))
		h.judgeReport(t, how+", check "+strings.Join(with, " "), r)
	}
}

func (h healthy) judgeReport(t *testing.T, how string, r result) {
	t.Helper()
	unsure := false
	for _, f := range r.findings {
		unsure = unsure || f.Severity == "required" && h.excused(f)
	}
	if want := map[bool]int{true: 2}[unsure]; r.exit != want {
		t.Errorf("%s: exit status %d, want %d: %s", how, r.exit, want, r.said)
	}
	for _, f := range r.findings {
		if f.Status != "failed" && f.Status != "unknown" || h.excused(f) {
			continue
		}
		if h.truly[f.ID] == "" || f.Severity != "advisory" {
			t.Errorf("%s: wrongly said of a node that serves: %+v", how, f)
		}
	}
}

// excused tells whether a finding is unknown for lack of the capability.
func (h healthy) excused(f finding) bool {
	return h.lacks != "" && f.Status == "unknown" && strings.Contains(f.Got, h.lacks)
}

// finding is one of those in the JSON of `rsagent check`.
type finding struct {
	ID, Title, Severity, Status string
	Want, Got, Cause, Remedy    string
}

// result is what came of one run of check.
type result struct {
	exit     int
	took     time.Duration
	said     string
	findings []finding
}

func check(t *testing.T, node *network.Host, wrap []string, args ...string) result {
	t.Helper()
	command := slices.Concat(wrap, []string{"rsagent", "check", "--json"}, args)
	began := time.Now()
	p, err := node.Start(exec.Command(command[0], command[1:]...))
	ok(t, err)
	exit, err := p.Wait(time.Minute)
	ok(t, err)
	r := result{exit: exit, took: time.Since(began), said: p.Log()}
	var report struct{ Findings []finding }
	if err := json.Unmarshal([]byte(r.said), &report); err != nil || len(report.Findings) == 0 {
		t.Fatalf("check gives no report: %v: exit status %d: %s", err, exit, r.said)
	}
	r.findings = report.Findings
	return r
}

// setUpByHand makes a node one as people do it without rsagent.
func setUpByHand(node *network.Host) error {
	for _, s := range [][2]string{{"all/arp_ignore", "1"}, {"all/arp_announce", "2"}} {
		if err := node.SetSysctl("net/ipv4/conf/"+s[0], s[1]); err != nil {
			return err
		}
	}
	_, err := node.Run("sh", "-ec", fmt.Sprintf(`
		ip link show tunl0 || ip link add tunl0 type ipip
		echo 2 > /proc/sys/net/ipv4/conf/tunl0/rp_filter
		ip addr add %s/32 dev tunl0
		ip link set tunl0 up`, network.VIP))
	return err
}
