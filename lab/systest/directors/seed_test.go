//go:build lab

package directors

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"rsagent/lab/network"
)

// seed are the files of the set-up that rsagent replaces, as they were published:
// the addresses in them are left out.
var seed = []string{"lvs.cf", "webnode-sysctl.conf", "ifcfg-tunl0"}

// The way over: the old files, with the addresses of this site filled in, are all
// that nodes and director are made of. Both pools are served, and HTTPS is checked,
// which piranha could not.
func TestTheSeedsOwnFilesServeBothPools(t *testing.T) {
	site := newSite(t)
	loadIPVS(t, site)
	said, err := site.Web1.Run("sh", "-c", "rsagent config import "+strings.Join(inTestdata(seed), " "))
	if refused := strings.Count(said, "cannot import "); err == nil || refused != 7 || !strings.Contains(said,
		"lvs.cf:26: address = 172.x.x.x eth0:1: 172.x.x.x stands for an address that was left out when the file was published: fill in the VIP of virtual http-pool\n") {
		t.Errorf("files without addresses: %v: %s", err, said)
	}
	config := imported(t, site)
	restoreMachine(t, site.Web1, config)
	for _, node := range site.Nodes() {
		startNginx(t, node)
		startAgent(t, node, config)
		run(t, node, "rsagent check --config "+filepath.Join(node.Dir, "rsagent.toml"))
	}
	run(t, site.Dir1, "sysctl -p "+file(t, site.Dir1, "sysctl.conf", written(t, site, config, "sysctl")))
	text := written(t, site, config, append(both(site), "keepalived")...)
	_, err = site.Dir1.Start(keepalived.start(t, site.Dir1, text))
	ok(t, err)
	checksHTTPS(t, site)
}

// The other set-up has no tunnel and no old files to import: Apache balances plain
// nodes.
func TestThePoolsOfNodesBehindApacheAreServedAndHTTPSIsChecked(t *testing.T) {
	site := newSite(t)
	for _, node := range site.Nodes() {
		startNginx(t, node)
		startAgent(t, node, bothPools(site, node))
	}
	text := written(t, site, bothPools(site, site.Web1), append(both(site), "apache")...)
	dir, err := site.Dir1.PrepareNginx() // for its certificate
	ok(t, err)
	_, err = site.Dir1.Start(apache.start(t, site.Dir1, fmt.Sprintf(apacheTLS, network.VIP, dir)+text))
	ok(t, err)
	checksHTTPS(t, site)
}

// apacheTLS is the virtual host for the second pool, as the comments of our text say.
const apacheTLS = `
Listen %[1]s:443
<VirtualHost *:443>
    SSLEngine on
    SSLCertificateFile %[2]s/cert.pem
    SSLCertificateKeyFile %[2]s/key.pem
    SSLProxyEngine on
    SSLProxyCheckPeerName off
    ProxyPass        / balancer://ssl-pool/
    ProxyPassReverse / balancer://ssl-pool/
</VirtualHost>
`

// bothPools is plain with the seed's two pools.
func bothPools(site *network.Site, node *network.Host) string {
	return plain(site, node) + fmt.Sprintf(`
[[pool]]
name    = "ssl-pool"
address = %q
port    = 443
probe   = { type = "https", interval = "1s", timeout = "1s", rise = 1, fall = 2 }
`, node.Addr)
}

func inTestdata(names []string) []string {
	var all []string
	for _, name := range names {
		all = append(all, filepath.Join("testdata", "seed", name))
	}
	return all
}

// imported is what the seed comes to with the addresses of the site.
func imported(t *testing.T, site *network.Site) string {
	t.Helper()
	addresses := strings.NewReplacer("172.x.x.x", network.VIP.String(),
		"10.x.x.1", site.Web1.Addr.String(), "10.x.x.2", site.Web2.Addr.String(),
		"10.179.109.69", site.Dir1.Addr.String(), "10.179.119.61", site.Dir2.Addr.String())
	var files []string
	for i, name := range inTestdata(seed) {
		text, err := os.ReadFile(name)
		ok(t, err)
		files = append(files, file(t, site.Web1, seed[i], addresses.Replace(string(text))))
	}
	toml := filepath.Join(site.Web1.Dir, "imported.toml")
	left := run(t, site.Web1, "rsagent config import "+strings.Join(files, " ")+" > "+toml)
	for _, line := range []string{"lvs.cf:29: persistent = 600", "webnode-sysctl.conf:18: net.ipv4.tcp_tw_recycle", "webnode-sysctl.conf:20: net.ipv4.ip_local_port_range"} {
		if !strings.Contains(left, line) {
			t.Errorf("nothing is said of %s: %s", line, left)
		}
	}
	run(t, site.Web1, "rsagent config validate "+toml)
	text, err := os.ReadFile(toml)
	ok(t, err)
	return string(text)
}

var kernelWide = regexp.MustCompile(`(?m)^"(kernel\..*)" =`)

// restoreMachine puts back after the test what the configuration sets for the whole
// machine.
func restoreMachine(t *testing.T, h *network.Host, config string) {
	t.Helper()
	for _, m := range kernelWide.FindAllStringSubmatch(config, -1) {
		path := strings.ReplaceAll(m[1], ".", "/")
		value, err := h.Sysctl(path)
		ok(t, err)
		t.Cleanup(func() { ok(t, h.SetSysctl(path, value)) })
	}
}

// checksHTTPS wants both pools to be served by both nodes; and by one, where the
// other has lost its TLS and still takes connections.
func checksHTTPS(t *testing.T, site *network.Site) {
	t.Helper()
	http, https := "http://"+network.VIP.String()+"/", "https://"+network.VIP.String()+"/"
	until(t, "both nodes serve http-pool", answers(site, http, "web1", "web2"))
	until(t, "both nodes serve ssl-pool", answers(site, https, "web1", "web2"))
	nginx := func(node *network.Host, change string) {
		t.Helper()
		run(t, node, fmt.Sprintf("cd %s/nginx && sed -i '%s' nginx.conf && nginx -p . -c nginx.conf -s reload", node.Dir, change))
	}
	nginx(site.Web1, "s/listen 443 ssl/listen 443/")
	until(t, "the node without TLS is out", answers(site, https, "web2"))
	if err := answers(site, http, "web1", "web2")(); err != nil {
		t.Errorf("the other pool of the node without TLS: %v", err)
	}
	nginx(site.Web1, "s/listen 443/listen 443 ssl/")
	until(t, "the node with TLS is back", answers(site, https, "web1", "web2"))
	ok(t, answers(site, http, "web1", "web2")())
}

// answers wants each of some requests to be answered, and all of these nodes to do it.
func answers(site *network.Site, url string, nodes ...string) func() error {
	return func() error {
		var got []string
		for range 10 {
			status, body, err := site.Client.Get(url)
			if err != nil || status != 200 {
				return fmt.Errorf("%s: status %d: %v", url, status, err)
			}
			got = append(got, strings.TrimSpace(body))
		}
		slices.Sort(got)
		if got = slices.Compact(got); !slices.Equal(got, nodes) {
			return fmt.Errorf("%s: %v answer, want %v", url, got, nodes)
		}
		return nil
	}
}
