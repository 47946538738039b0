//go:build lab

package systest

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"rsagent/lab/network"
)

// shortRival deletes the VIP every 300 ms, and ends before the breaker of
// patientAgent stops the repairs. It is one process, since to start one for each
// turn takes an emulated machine longer than that (RTM_DELADDR in rtnetlink(7)).
const shortRival = `
import socket, struct, time
kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
kernel.bind((0, 0))
address = struct.pack("=BBBBi", socket.AF_INET, 32, 0, 0, socket.if_nametoindex("tunl0"))
address += struct.pack("=HH4s", 8, 2, socket.inet_aton("10.9.0.100"))
print("here I am", flush=True)
for turn in range(30):
    kernel.send(struct.pack("=IHHII", 16 + len(address), 21, 1, turn, 0) + address)
    time.sleep(0.3)
`

// With the default of 10, the breaker would stop the repairs before the rival ends.
const patientAgent = "[repair]\nflaps = 100\n"

// Each repair takes moments, in which packets are lost now and then: it is luck
// whether a request fails. So the whole time of the rival counts as failing.
func TestReadyDoesNotLieBetweenRepairs(t *testing.T) {
	const id = "tunnel/vip/10.9.0.100"
	site := newSite(t)
	ok(t, site.Dir1.Direct([]*network.Host{site.Web1}, 80))
	_, err := site.Web1.StartNginx()
	ok(t, err)
	agent := startAgent(t, site.Web1, site.AgentConfig(patientAgent, network.HTTPPool))

	truth := watchTruth(t, site, site.Web1)
	time.Sleep(time.Second)
	rival, err := site.Web1.Start(exec.Command("python3", "-c", shortRival))
	ok(t, err)
	ok(t, rival.WaitLog("here I am", 30*time.Second))
	unsteady := failure{first: time.Now()}
	time.Sleep(4 * time.Second)
	f := status(t, site.Web1)[id]
	_, err = rival.Wait(20 * time.Second)
	ok(t, err)
	unsteady.last = time.Now()
	for askReady(site.Client, site.Web1).status != 200 {
		if time.Since(unsteady.last) > 20*time.Second {
			t.Fatalf("the node is not ready %v after its rival ended: %+v", time.Since(unsteady.last), status(t, site.Web1))
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Logf("ready again %v after the rival ended", time.Since(unsteady.last))
	time.Sleep(time.Second)
	truth.end(t)

	if lies := unsteady.lies(truth.asked); len(lies) > 0 {
		t.Errorf("the VIP was deleted again and again from %s to %s, but /ready said %d times that all is well, first at %s",
			unsteady.first.Format("05.000"), unsteady.last.Format("05.000"), len(lies), lies[0].at.Format("05.000"))
	}
	t.Logf("%s was %s: %s", id, f.Status, f.Cause)
	if f.Status != "failed" || !strings.Contains(f.Cause, "soon undone again, by python3 (process ") {
		t.Errorf("/status says of it %+v, want it failed and the rival named", f)
	}
	wantOneTransition(t, agent, id)
	allAnswered(t, site.Client.Requests(20), "web1")
}

// wantOneTransition looks at what is logged of a condition that was unsteady.
func wantOneTransition(t *testing.T, agent *network.Process, id string) {
	t.Helper()
	_, text, _ := strings.Cut(agent.Log(), `"ready":true`) // of the start
	count := make(map[string]int)
	for line := range strings.Lines(text) {
		for _, word := range []string{`"repaired"`, `"repair stopped"`, `"status":"failed"`, `"status":"ok"`} {
			if logged(line, word, `"condition":"`+id+`"`) {
				count[word]++
			}
		}
	}
	// One that comes late finds nothing to delete.
	if repairs := count[`"repaired"`]; repairs < 20 || repairs > 30 || count[`"repair stopped"`] != 0 || count[`"status":"failed"`] != 1 || count[`"status":"ok"`] != 1 {
		t.Errorf("the log has %v, want 20 to 30 repairs, and the condition failed and ok once each: %s", count, text)
	}
}
