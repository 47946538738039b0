package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"rsagent/lab/network"
)

const (
	unit        = "rsagent.service"
	units       = "/etc/systemd/system"
	configFile  = "/etc/rsagent/rsagent.toml"
	goodConfig  = "/etc/rsagent/good.toml"
	uploadPort  = 8000
	clientRange = "203.0.113.0/24"
	clientAddr  = "203.0.113.7"
)

const pools = `
[[pool]]
name  = "http-pool"
vip   = "10.9.0.100"
port  = 80
probe = { type = "http", interval = "1s", timeout = "1s", rise = 1, fall = 2 }

[[pool]]
name  = "ssl-pool"
vip   = "10.9.0.100"
port  = 443
probe = { type = "https", server_name = "www.example.org", interval = "1s", timeout = "1s", rise = 1, fall = 2 }
`

// site is a client of the Internet, its gateway, a director and one node with
// nginx, both of which systemd runs.
type site struct {
	*network.Site
	sink  *network.Sink
	whole string // the node's state when all is well
}

// newSite makes a site whose node the daemon has set up. The daemon is dead.
func newSite() (*site, error) {
	if !network.OwnMachine() {
		return nil, errors.New("this installs units and needs the lab's own machine: set LAB_VM=always")
	}
	if err := network.UnloadIPIP(); err != nil {
		return nil, err
	}
	made, err := network.New()
	if err != nil {
		return nil, err
	}
	s := &site{Site: made}
	for _, step := range []func() error{s.connect, s.direct, s.installNginx, s.installAgent, s.setUp} {
		if err := step(); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	if s.whole, err = s.state(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// connect puts the client behind a gateway, which is the same host. Packets are
// as large on the wire as the hosts believe, and the director tells nobody that
// one is too large.
func (s *site) connect() error {
	for _, h := range s.Hosts() {
		if _, err := h.Run("ethtool", "-K", "eth0", "tso", "off", "gso", "off", "gro", "off"); err != nil {
			return err
		}
		if h == s.Client {
			continue
		}
		if err := h.IP("route add default via 10.9.0.10"); err != nil {
			return err
		}
	}
	_, err := s.Dir1.Run("nft", `table ip silence {
		chain output {
			type filter hook output priority 0
			icmp type destination-unreachable icmp code frag-needed drop
		}
	}`)
	return errors.Join(err, s.Client.IP(
		"addr add "+clientAddr+"/32 dev lo",
		"route add 10.9.0.100/32 dev eth0 src "+clientAddr))
}

func (s *site) direct() error {
	var err error
	if s.sink, err = s.Web1.StartSink(uploadPort); err != nil {
		return err
	}
	return s.Dir1.Direct([]*network.Host{s.Web1}, 80, 443, uploadPort)
}

// nginxUnit lets nginx be started as often as rows come one after the other.
const nginxUnit = `[Unit]
StartLimitIntervalSec=0

[Service]
NetworkNamespacePath=/run/netns/web1
Type=simple
PIDFile=
ExecStartPre=
ExecStart=
ExecStart=/usr/sbin/nginx -c /etc/nginx/nginx.conf
ExecReload=
ExecReload=/bin/kill -HUP $MAINPID
ExecStop=
TimeoutStopSec=5
`

// installNginx makes Debian's own unit run in the node's network.
func (s *site) installNginx() error {
	dir, err := s.Web1.PrepareNginx()
	if err != nil {
		return err
	}
	file, err := s.Web1.WriteFile("nginx-lab.conf", nginxUnit)
	if err != nil {
		return err
	}
	if err := errors.Join(
		s.certificate("expired", network.ServerName, time.Now().Add(-24*time.Hour)),
		s.certificate("other", "www.example.net", time.Now().Add(24*time.Hour)),
	); err != nil {
		return err
	}
	return s.shell(fmt.Sprintf(`
		sed 's/^daemon off;/daemon off;/; s|^pid .*|pid /run/nginx.pid;|' %[1]s/nginx.conf > /etc/nginx/nginx.conf
		install -D --mode=644 %[2]s %[3]s/nginx.service.d/lab.conf
		systemctl daemon-reload
		systemctl restart nginx`, dir, file, units))
}

// certificate puts one with its key where rows have nginx look for it.
func (s *site) certificate(file, name string, until time.Time) error {
	cert, key, err := network.Certificate(name, until)
	if err != nil {
		return err
	}
	return os.WriteFile("/etc/nginx/"+file+".pem", []byte(cert+key), 0o600)
}

const agentUnit = `[Service]
NetworkNamespacePath=/run/netns/web1
`

func (s *site) installAgent() error {
	binary, err := exec.LookPath("rsagent")
	if err != nil {
		return err
	}
	conf, err := s.Web1.WriteFile("rsagent.toml", s.AgentConfig(pools))
	if err != nil {
		return err
	}
	lab, err := s.Web1.WriteFile("rsagent-lab.conf", agentUnit)
	if err != nil {
		return err
	}
	return s.shell(fmt.Sprintf(`
		install -D --mode=755 %[1]s /usr/bin/rsagent
		install -D --mode=644 %[2]s/%[3]s %[4]s/%[3]s
		install -D --mode=644 %[5]s %[4]s/%[3]s.d/lab.conf
		install -D --mode=600 %[6]s %[7]s
		install -D --mode=600 %[6]s %[8]s
		systemctl daemon-reload`, binary, filepath.Dir(binary), unit, units, lab, conf, configFile, goodConfig))
}

// setUp has the daemon make the node right, and ends it without a word.
func (s *site) setUp() error {
	if err := s.start(); err != nil {
		return err
	}
	return s.kill()
}

func (s *site) start() error {
	if err := s.shell("systemctl start " + unit); err != nil {
		return err
	}
	return s.Web1.UntilReady()
}

// kill ends the daemon as a crash does, and keeps systemd from starting it again.
func (s *site) kill() error {
	return s.shell(fmt.Sprintf("systemctl kill -s KILL %[1]s 2>/dev/null || true; systemctl stop %[1]s; systemctl reset-failed %[1]s 2>/dev/null || true", unit))
}

// shell runs a script on the node; it ends at the first command that fails.
func (s *site) shell(script string) error { return on(s.Web1, script) }

func on(h *network.Host, script string) error {
	_, err := h.Run("sh", "-ec", script)
	return err
}

func (s *site) host(p place) *network.Host {
	for _, h := range s.Hosts() {
		if h.Name == string(p) {
			return h
		}
	}
	return s.Web1
}

// indexes are the numbers of links, which are others once a module was loaded
// again.
var indexes = regexp.MustCompile(`(?m)^\d+: |@if\d+|link-netns \S+|link-netnsid \d+`)

// state is all that a fault, or its remedy, may have left on the node.
func (s *site) state() (string, error) {
	text, err := s.Web1.State("net/ipv4/conf/*/*", "net/ipv4/tcp_[!af]*", "net/ipv4/ip_*", "net/core/somaxconn", "net/netfilter/nf_conntrack_max")
	if err != nil {
		return "", err
	}
	more, err := s.Web1.Run("sh", "-c", "ip rule; ip neigh show nud permanent; ip xfrm policy; tc qdisc; tc filter show dev eth0 ingress; sha1sum /etc/nginx/nginx.conf "+configFile)
	return indexes.ReplaceAllString(text+more, ""), err
}

// differs says what is other than when all was well, in lines.
func (s *site) differs() (string, error) {
	now, err := s.state()
	if err != nil || now == s.whole {
		return "", err
	}
	var b strings.Builder
	lines := func(text, sign, than string) {
		for line := range strings.Lines(text) {
			if !strings.Contains(than, line) {
				b.WriteString(sign + strings.TrimSpace(line) + "\n")
			}
		}
	}
	lines(s.whole, "-", now)
	lines(now, "+", s.whole)
	return b.String(), nil
}

func (s *site) close() error {
	err := s.kill()
	if s.sink != nil {
		err = errors.Join(err, s.sink.Close())
	}
	_ = os.Remove("/etc/modprobe.d/hardening.conf") // a row may have left it
	return errors.Join(err, s.shell("systemctl kill -s KILL nginx || true; systemctl stop nginx || true; systemctl reset-failed nginx || true"), s.Site.Close())
}

// until tries again and again until there is no error, or it was too long.
func until(limit time.Duration, try func() error) (took time.Duration, err error) {
	began := time.Now()
	for {
		err := try()
		if took = time.Since(began); err == nil || took > limit {
			return took, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}
