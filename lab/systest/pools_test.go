//go:build lab

package systest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rsagent/lab/network"
)

// fourPools has a pool of each type. The certificate is checked for its name.
const fourPools = `
[[pool]]
name  = "http"
vip   = "10.9.0.100"
port  = 80
probe = { type = "http", interval = "200ms", timeout = "1s", rise = 1, fall = 2 }

[[pool]]
name  = "https"
vip   = "10.9.0.100"
port  = 443
probe = { type = "https", server_name = "%[1]s", interval = "200ms", timeout = "1s", rise = 1, fall = 2 }

[[pool]]
name  = "tcp"
vip   = "10.9.0.100"
port  = 81
probe = { type = "tcp", interval = "200ms", timeout = "1s", rise = 1, fall = 2 }

[[pool]]
name  = "exec"
vip   = "10.9.0.100"
port  = 82
probe = { type = "exec", command = ["/usr/bin/test", "-e", "%[2]s"], interval = "200ms", timeout = "2s", rise = 1, fall = 2 }
`

func TestEachPoolIsReadyWhileItsServiceWorks(t *testing.T) {
	site := newSite(t)
	web := site.Web1
	flag := filepath.Join(web.Dir, "in-service")
	nginx, err := web.StartNginx()
	ok(t, err)
	listener, err := web.Listen(":81")
	ok(t, err)
	ok(t, os.WriteFile(flag, nil, 0o644))
	startAgent(t, web, site.AgentConfig(fmt.Sprintf(fourPools, network.ServerName, flag)))
	wantPools(t, site, "http 200, https 200, tcp 200, exec 200, all 200")

	ok(t, nginx.Kill())
	wantPools(t, site, "http 503, https 503, tcp 200, exec 200, all 503")
	_, err = web.StartNginx()
	ok(t, err)
	wantPools(t, site, "http 200, https 200, tcp 200, exec 200, all 200")
	ok(t, listener.Close())
	wantPools(t, site, "http 200, https 200, tcp 503, exec 200, all 503")
	listener, err = web.Listen(":81")
	ok(t, err)
	defer listener.Close()
	ok(t, os.Remove(flag))
	wantPools(t, site, "http 200, https 200, tcp 200, exec 503, all 503")
	ok(t, os.WriteFile(flag, nil, 0o644))
	wantPools(t, site, "http 200, https 200, tcp 200, exec 200, all 200")
}

// A certificate for another name is as good as none, and only TLS shows it.
func TestAnHTTPSPoolIsCheckedOverTLS(t *testing.T) {
	site := newSite(t)
	_, err := site.Web1.StartNginx()
	ok(t, err)
	_, err = site.Web1.StartAgent(site.AgentConfig(fmt.Sprintf(fourPools, "other.example.org", "/")))
	ok(t, err)
	ok(t, site.Dir1.UntilAnswer(site.Web1.ReadyURL()+"/http", 200))
	ok(t, site.Dir1.UntilAnswer(site.Web1.ReadyURL()+"/https", 503))
	_, findings := check(t, site.Web1)
	f := findings["pool/https"]
	if f.Status != "failed" || !strings.Contains(f.Got, "other.example.org") {
		t.Errorf("check says %+v, want it to name other.example.org", f)
	}
}

// wantPools waits until a director is told all of this about web1.
func wantPools(t *testing.T, site *network.Site, want string) {
	t.Helper()
	for part := range strings.SplitSeq(want, ", ") {
		var pool string
		var status int
		if _, err := fmt.Sscan(part, &pool, &status); err != nil {
			t.Fatal(err)
		}
		url := site.Web1.ReadyURL() + "/" + pool
		if pool == "all" {
			url = site.Web1.ReadyURL()
		}
		ok(t, site.Dir1.UntilAnswer(url, status))
	}
	// Waiting for one may have hidden that an earlier one turned.
	for part := range strings.SplitSeq(want, ", ") {
		pool, status, _ := strings.Cut(part, " ")
		if pool == "all" {
			continue
		}
		got, body, err := site.Dir1.Get(site.Web1.ReadyURL() + "/" + pool)
		if err != nil || fmt.Sprint(got) != status {
			t.Errorf("pool %s is %d (%s, %v), want %s of %s", pool, got, strings.TrimSpace(body), err, status, want)
		}
	}
}
