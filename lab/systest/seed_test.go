//go:build lab

package systest

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"

	"rsagent/lab/network"
)

// What of the seed's settings cannot come into force, and what must be said.
var notInForce = map[string]string{
	"net.ipv4.tcp_tw_recycle":      "4.12", // gone since then
	"net.ipv4.conf.eth1.rp_filter": "no interface eth1",
	"net.ipv4.ip_local_port_range": "1 to 65535", // 65536 is no port
}

func TestTheSeedsSettingsAreInForceOrNamedWithTheReason(t *testing.T) {
	text, err := os.ReadFile("testdata/seed.toml")
	ok(t, err)
	var seed struct{ Sysctl map[string]string }
	ok(t, toml.Unmarshal(text, &seed))
	site := newService(t)
	for key := range seed.Sysctl {
		restore(t, site.Web1, key)
	}
	agent := startAgent(t, site.Web1, site.AgentConfig(network.HTTPPool, string(text)))
	startAgent(t, site.Web2, site.AgentConfig(network.HTTPPool))

	_, findings := check(t, site.Web1)
	for _, key := range slices.Sorted(maps.Keys(seed.Sysctl)) {
		got, err := site.Web1.Sysctl(strings.ReplaceAll(key, ".", "/"))
		f := findings["sysctl/set/"+key]
		reason, excused := notInForce[key]
		switch {
		case !excused && (err != nil || spaced(got) != spaced(seed.Sysctl[key])):
			t.Errorf("%s is %q, %v, want %q", key, got, err, seed.Sysctl[key])
		case !excused && f.Status != "ok":
			t.Errorf("%s is in force, but check says %+v", key, f)
		case excused && f.Status != "failed":
			t.Errorf("%s cannot be in force, but check says %+v", key, f)
		case excused && !logged(agent.Log(), key, reason):
			t.Errorf("the log has no line with %s and %q: %s", key, reason, agent.Log())
		}
	}
	allAnswered(t, site.Client.Requests(40), "web1", "web2")
}

// spaced is a value of several numbers with one space between.
func spaced(value string) string { return strings.Join(strings.Fields(value), " ") }

// logged tells whether one line has all the words.
func logged(log string, words ...string) bool {
	for line := range strings.Lines(log) {
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
			return true
		}
	}
	return false
}

// restore puts a setting back after the test: some belong to the machine.
func restore(t *testing.T, node *network.Host, key string) {
	t.Helper()
	path := strings.ReplaceAll(key, ".", "/")
	value, err := node.Sysctl(path)
	if err != nil {
		return // what is not there cannot be changed
	}
	t.Cleanup(func() {
		if err := node.SetSysctl(path, value); err != nil {
			t.Error(err)
		}
	})
}
