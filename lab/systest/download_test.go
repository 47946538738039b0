//go:build lab

package systest

import (
	"testing"
	"time"

	"rsagent/lab/network"
)

// download fetches /slow through the VIP from web1, the only node that nginx
// runs on, in the background.
func download(site *network.Site) <-chan network.Answer {
	done := make(chan network.Answer, 1)
	go func() { done <- site.Client.Download("/slow") }()
	return done
}

// newSingle is a site where only web1 serves.
func newSingle(t *testing.T, config string) (site *network.Site, nginx, agent *network.Process) {
	t.Helper()
	site = newSite(t)
	ok(t, site.Dir1.Direct([]*network.Host{site.Web1}, 80))
	nginx, err := site.Web1.StartNginx()
	ok(t, err)
	return site, nginx, startAgent(t, site.Web1, site.AgentConfig(network.HTTPPool, config))
}

func TestADrainWaitsForADownload(t *testing.T) {
	site, nginx, agent := newSingle(t, "[drain]\nnotice = \"1s\"\ntimeout = \"60s\"\n")
	done := download(site)
	time.Sleep(time.Second)
	ends(t, agent)
	drained := time.Now()
	_, err := nginx.Stop(patience)
	ok(t, err)

	a := <-done
	if a.Error != "" {
		t.Errorf("the download failed after %v: %s", a.Took, a.Error)
	}
	if early := a.Sent.Add(a.Took).Sub(drained); early > 0 {
		t.Errorf("the drain ended %v before the download", early)
	}
	if !logged(agent.Log(), "drain ended", `"connections_left":0`) {
		t.Errorf("the log does not say what was waited for: %s", agent.Log())
	}
}

func TestADrainEndsAtItsDeadlineWithADownloadLeft(t *testing.T) {
	site, _, agent := newSingle(t, "[drain]\nnotice = \"1s\"\ntimeout = \"2s\"\n")
	done := download(site)
	time.Sleep(time.Second)
	asked := time.Now()
	ends(t, agent)

	if took := time.Since(asked); took < 2500*time.Millisecond || took > 6*time.Second {
		t.Errorf("the drain took %v, want 2.5 s (quiet, and the timeout) to 3 s", took)
	}
	if !logged(agent.Log(), "drain ended", `"connections_left":1`, `"waited_connections":"2`) {
		t.Errorf("the log does not say what was left: %s", agent.Log())
	}
	if a := <-done; a.Error != "" { // the node stays set up, so nothing breaks
		t.Errorf("the download failed after %v: %s", a.Took, a.Error)
	}
}
