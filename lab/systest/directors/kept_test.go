//go:build lab

package directors

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"rsagent/lab/network"
)

// A proxy keeps its connections to a node for as long as the node's web server lets it,
// a minute and more. The node's answers come within a tick of the kernel's clock, and
// still a drain tells that none of the connections is in use.
func TestADrainDoesNotWaitForWhatAProxyKeeps(t *testing.T) {
	site := newSite(t)
	_, err := site.Web1.StartNginx()
	ok(t, err)
	agent := startAgent(t, site.Web1, plain(site, site.Web1)+"\n[repair]\nsweep = \"1s\"\n")
	var kept []net.Conn
	for range 10 {
		c, err := site.Dir1.Dial(site.Web1.Addr.String()+":80", 0, time.Second)
		ok(t, err)
		defer c.Close()
		kept = append(kept, c)
	}
	for range 5 {
		for _, c := range kept {
			ok(t, ask(c))
		}
		time.Sleep(2500 * time.Millisecond)
	}
	run(t, site.Web1, "rsagent drain --wait")
	ended := drainEnded(t, agent)
	t.Log(ended)
	if ended.connections >= 2*time.Second || ended.Idle != len(kept) || ended.Left != 0 {
		t.Errorf("the drain ended with %+v, want %d idle connections that it did not wait for", ended, len(kept))
	}
}

// ask asks a node over a connection that both keep.
func ask(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", c.RemoteAddr()); err != nil {
		return err
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK || answer.Close {
		return fmt.Errorf("status %d, close: %v", answer.StatusCode, answer.Close)
	}
	return nil
}

// ended is what the daemon says of a drain that is over.
type ended struct {
	Notice      string `json:"waited_notice"`
	Connections string `json:"waited_connections"`
	Left        int    `json:"connections_left"`
	Idle        int    `json:"idle_left"`

	connections time.Duration
}

// drainEnded is what the daemon said of its last drain.
func drainEnded(t *testing.T, agent *network.Process) ended {
	t.Helper()
	var last ended
	for line := range strings.Lines(agent.Log()) {
		if strings.Contains(line, `"drain ended"`) {
			last = ended{}
			ok(t, json.Unmarshal([]byte(line), &last))
		}
	}
	var err error
	last.connections, err = time.ParseDuration(last.Connections)
	ok(t, err)
	return last
}
