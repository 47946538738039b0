//go:build lab

package directors

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"rsagent/lab/network"
)

// behind is a service of both nodes that a director looks after, and what a
// rolling restart costs its clients.
type behind struct {
	losses
	vip  string
	port int      // of the nodes; 80 behind IPVS
	args []string // of rsagent config director
}

func (b behind) pool() string { return "pool-" + b.vip[strings.LastIndex(b.vip, ".")+1:] }

// group is nodes, and directors that look after them at the same time: each node
// is drained once for all of them.
type group struct {
	directors []directs
	tunnel    bool   // the directors have IPVS; else they are proxies
	timeout   string // drain.timeout: more than a download takes
	web       string // more for nginx
}

func (g group) services() []behind {
	var all []behind
	for _, d := range g.directors {
		all = append(all, d.services...)
	}
	return all
}

// directs is a director with its program.
type directs struct {
	on       func(*network.Site) *network.Host
	program  func(t *testing.T, h *network.Host, text string, services []behind) *exec.Cmd
	settings bool // it has those that are written for it
	services []behind
}

func dir1(site *network.Site) *network.Host { return site.Dir1 }
func dir2(site *network.Site) *network.Host { return site.Dir2 }

var flowsGoOn = group{
	tunnel: true, timeout: "45s",
	directors: []directs{
		{dir1, byKeepalived, true, []behind{
			{theKeepalived, "10.9.0.100", 80, []string{"keepalived"}},
			{theKeepalivedKeeps, "10.9.0.101", 80, []string{"keepalived"}},
			{theProbe, "10.9.0.102", 80, []string{"keepalived", "--check", "probe"}},
		}},
		{dir2, byLdirectord, true, []behind{
			{theLdirectord, "10.9.0.110", 80, []string{"ldirectord"}},
			{theLdirectordKeeps, "10.9.0.111", 80, []string{"ldirectord"}},
		}},
	},
}

var flowsBreak = group{
	tunnel: true, timeout: "20s",
	directors: []directs{
		{dir1, byKeepalived, true, []behind{
			{theDeleting, "10.9.0.100", 80, []string{"keepalived", "--delete-failed"}},
			{theDeletingKeeps, "10.9.0.101", 80, []string{"keepalived", "--delete-failed"}},
		}},
		{dir1, byLdirectord, true, []behind{
			{theLdirectordProbe, "10.9.0.102", 80, []string{"ldirectord", "--check", "probe"}},
		}},
		{dir2, byKeepalived, false, []behind{
			{theUnsettled, "10.9.0.110", 80, []string{"keepalived"}},
			{theUnsettledKeeps, "10.9.0.111", 80, []string{"keepalived"}},
		}},
	},
}

// Apache asks a node at the port of the service, so there nginx passes it on.
var proxies = group{
	timeout: "45s",
	web: `
    listen 81;
    listen 82;
    location /ready/ {
      proxy_pass http://127.0.0.1:9380;
      proxy_set_header User-Agent "$remote_addr $http_user_agent";
    }`,
	directors: []directs{
		{dir1, byHAProxy, false, []behind{
			{theHAProxy, "10.9.0.100", 80, []string{"haproxy"}},
			{theAgent, "10.9.0.101", 81, []string{"haproxy", "--check", "agent"}},
		}},
		{dir2, byApache, false, []behind{
			{theApache, "10.9.0.110", 82, []string{"apache"}},
		}},
	},
}

const rollingDrain = `
[health]
agent_listen = ":9381"

[drain]
notice  = "10s"
timeout = "%s"
`

// A node that is only slow, as on a busy machine, must not fail.
const rollingProbe = `probe = { type = "http", interval = "5s", timeout = "5s", fall = 3 }
`

// config is the configuration of rsagent on a node for some of the services.
func (g group) config(site *network.Site, node *network.Host, services []behind) string {
	var vips, pools string
	for _, s := range services {
		vips += fmt.Sprintf("%q, ", s.vip)
		where := fmt.Sprintf("vip = %q", s.vip)
		if !g.tunnel {
			where = fmt.Sprintf("address = %q", node.Addr)
		}
		pools += fmt.Sprintf("[[pool]]\nname = %q\n%s\nport = %d\n%s", s.pool(), where, s.port, rollingProbe)
	}
	head := "[tunnel]\nmode = \"none\"\n"
	if g.tunnel {
		head = fmt.Sprintf("vips = [%s]\ndirectors = [%q, %q]\n", vips, site.Dir1.Addr, site.Dir2.Addr)
	}
	return head + fmt.Sprintf(rollingDrain, g.timeout) + pools
}

// start starts the director with what is written for each of its services, and
// persistence where that was wanted.
func (d directs) start(t *testing.T, site *network.Site, g group) {
	t.Helper()
	h := d.on(site)
	var text string
	for _, s := range d.services {
		ok(t, h.IP("addr add "+s.vip+"/32 dev eth0"))
		one := written(t, site, g.config(site, site.Web1, []behind{s}), append(both(site), s.args...)...)
		if s.persistent {
			one = persistent(one)
		}
		text += one
	}
	if g.tunnel {
		loadIPVS(t, site)
	}
	if d.settings {
		run(t, h, "sysctl -p "+file(t, h, "sysctl.conf", written(t, site, g.config(site, site.Web1, d.services), "sysctl")))
	}
	_, err := h.Start(d.program(t, h, withScript(t, h, text), d.services))
	ok(t, err)
	for _, s := range d.services {
		until(t, "both nodes are in at "+s.String(), g.in(site, h, s))
	}
}

// persistent adds what has a director keep a client with its node, in
// keepalived.conf and in ldirectord.cf.
func persistent(text string) string {
	text = strings.ReplaceAll(text, "    protocol TCP\n", "    protocol TCP\n    persistence_timeout 600\n")
	return strings.ReplaceAll(text, "    protocol = tcp\n", "    protocol = tcp\n    persistent = 600\n")
}

// in tells whether both nodes are in service at a director.
func (g group) in(site *network.Site, h *network.Host, s behind) func() error {
	if !g.tunnel {
		return bothServe(site, s.vip)
	}
	return func() error {
		out, err := h.Run("ipvsadm", "-S", "-n")
		if err != nil {
			return err
		}
		for _, node := range site.Nodes() {
			if !strings.Contains(out, fmt.Sprintf("-a -t %s:80 -r %s:80 -i -w 100", s.vip, node.Addr)) {
				return fmt.Errorf("%s is not: %s", node.Name, out)
			}
		}
		if s.persistent != strings.Contains(out, fmt.Sprintf("-A -t %s:80 -s wrr -p 600", s.vip)) {
			return fmt.Errorf("want persistence: %t: %s", s.persistent, out)
		}
		return nil
	}
}

func byKeepalived(t *testing.T, h *network.Host, text string, _ []behind) *exec.Cmd {
	return keepalived.start(t, h, text)
}

func byLdirectord(t *testing.T, h *network.Host, text string, _ []behind) *exec.Cmd {
	return ldirectord.start(t, h, text)
}

func byHAProxy(t *testing.T, h *network.Host, text string, services []behind) *exec.Cmd {
	head, _, _ := strings.Cut(haproxyHead, "frontend")
	for _, s := range services {
		head += fmt.Sprintf("frontend of-%[1]s\n    bind %[2]s:80\n    default_backend %[1]s\n", s.pool(), s.vip)
	}
	return exec.Command("haproxy", "-db", "-f", file(t, h, "haproxy.cfg", head+text))
}

func byApache(t *testing.T, h *network.Host, text string, services []behind) *exec.Cmd {
	s := services[0]
	head := strings.ReplaceAll(fmt.Sprintf(apacheHead, s.vip, h.Dir), "http-pool", s.pool())
	return exec.Command("apache2", "-f", file(t, h, "apache.conf", head+text), "-DFOREGROUND")
}

// bothServe wants both nodes to answer behind a proxy.
func bothServe(site *network.Site, vip string) func() error {
	return func() error {
		nodes := map[string]bool{}
		for range 8 {
			a := site.Client.RequestOf(netip.MustParseAddr(vip), time.Second)
			if a.Error != "" {
				return errors.New(a.Error)
			}
			nodes[a.Node] = true
		}
		if !nodes["web1"] || !nodes["web2"] {
			return fmt.Errorf("only these answer: %v", nodes)
		}
		return nil
	}
}
