//go:build lab

package pair

import (
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"rsagent/lab/network"
)

// patience is how long anything may take to come about: the machine is emulated.
const patience = 30 * time.Second

// config is that of both nodes: a director is told by the third refusal.
const config = `
[drain]
notice  = "12s"
timeout = "60s"
fall    = 3
`

// known is how long a daemon must run to know all who ask: drain.notice.
const known = 12 * time.Second

// newSite returns a site where both nodes serve, and what serves on the first.
func newSite(t *testing.T) (site *network.Site, web1 *http.Server) {
	t.Helper()
	ok(t, network.UnloadIPIP())
	site, err := network.New()
	ok(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			for _, h := range site.Hosts() {
				t.Log(h.Logs())
			}
		}
		ok(t, site.Close())
	})
	web1 = serve(t, site.Web1)
	serve(t, site.Web2)
	for _, node := range site.Nodes() {
		_, err := node.StartAgent(site.AgentConfig(config, network.HTTPPool))
		ok(t, err)
		ok(t, node.UntilReady())
	}
	return site, web1
}

// serve starts a web server on port 80 of a node that answers with the node's name,
// to "?after=1s" only after so long, and to "?for=1s" with a line every 100 ms first.
func serve(t *testing.T, node *network.Host) *http.Server {
	t.Helper()
	var listener net.Listener
	err := node.Do(func() (err error) {
		listener, err = net.Listen("tcp4", ":80")
		return err
	})
	ok(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(span(r, "after"))
		for until := time.Now().Add(span(r, "for")); time.Now().Before(until); time.Sleep(part) {
			fmt.Fprintln(w)
			w.(http.Flusher).Flush()
		}
		fmt.Fprintln(w, node.Name)
	})}
	go server.Serve(listener) // until Close
	t.Cleanup(func() { ok(t, server.Close()) })
	return server
}

const part = 100 * time.Millisecond

func span(r *http.Request, key string) time.Duration {
	d, _ := time.ParseDuration(r.URL.Query().Get(key)) // 0 if there is none
	return d
}

// direct starts keepalived on both directors, and waits until the first directs
// and the second would.
func direct(t *testing.T, site *network.Site, first, second network.Keepalived) (both []*network.Process) {
	t.Helper()
	for i, k := range []network.Keepalived{first, second} {
		k.Priority, k.Nodes, k.Inhibit = 100-i, site.Nodes(), true
		p, err := site.Directors()[i].StartKeepalived(k)
		ok(t, err)
		both = append(both, p)
	}
	ok(t, site.Dir1.UntilDirects(site.Nodes()...))
	until(t, "the second director knows the nodes", func() error {
		weights, err := site.Dir2.Weights()
		if err == nil && (weights[site.Web1.Addr] != 1 || weights[site.Web2.Addr] != 1) {
			err = fmt.Errorf("the weights are %v", weights)
		}
		return err
	})
	return both
}

func run(t *testing.T, h *network.Host, words ...string) string {
	t.Helper()
	out, err := h.Run(words[0], words[1:]...)
	ok(t, err)
	return out
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// until waits for something, and says what was last in its way.
func until(t *testing.T, what string, try func() error) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Since(began) > patience {
			t.Fatalf("cannot see that %s: %v", what, err)
		}
	}
}
