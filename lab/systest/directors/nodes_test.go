//go:build lab

package directors

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rsagent/lab/network"
)

// passesReadyOn is the block that our text for Apache has for a node's nginx. What a
// proxy keeps open to it ends within drain.timeout, and not within Apache's ttl.
const passesReadyOn = `
    keepalive_timeout 8s;
    location /ready/ {
      proxy_pass http://127.0.0.1:9380;
      proxy_set_header User-Agent "$remote_addr $http_user_agent";
    }
    location / {`

// startNginx starts a web server that passes /ready on to rsagent.
func startNginx(t *testing.T, node *network.Host) *network.Process {
	t.Helper()
	dir, err := node.PrepareNginx()
	ok(t, err)
	path := filepath.Join(dir, "nginx.conf")
	text, err := os.ReadFile(path)
	ok(t, err)
	ok(t, os.WriteFile(path, []byte(strings.Replace(string(text), "location / {", passesReadyOn, 1)), 0o644))
	p, err := node.Start(exec.Command("nginx", "-p", dir, "-c", path))
	ok(t, err)
	until(t, "nginx answers on "+node.Name, func() error {
		conn, err := node.Dial(node.Addr.String()+":80", 0, time.Second)
		if err != nil {
			return fmt.Errorf("%v: %s", err, p.Log())
		}
		return conn.Close()
	})
	return p
}

func startAgent(t *testing.T, node *network.Host, config string) *network.Process {
	t.Helper()
	p, err := node.StartAgent(config)
	ok(t, err)
	ok(t, node.UntilReady())
	return p
}
