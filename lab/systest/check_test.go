//go:build lab

package systest

import (
	"os/exec"
	"testing"

	"rsagent/lab/network"
)

// finding is one of those in the JSON of `rsagent check`.
type finding struct {
	ID, Severity, Status     string
	Want, Got, Cause, Remedy string
}

// check asks rsagent what it finds on the node, with the configuration that it
// was started with there last. It returns the exit status and the findings by
// their ids.
func check(t *testing.T, node *network.Host) (status int, byID map[string]finding) {
	t.Helper()
	p, err := node.Start(exec.Command("rsagent", "check", "--json", "--config", node.Dir+"/rsagent.toml"))
	ok(t, err)
	status, err = p.Wait(patience)
	ok(t, err)
	if status == 2 {
		t.Fatalf("check could not be done: %s", p.Log())
	}
	return status, findingsIn(t, p.Log())
}
