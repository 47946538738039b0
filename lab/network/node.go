package network

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// nginx answers every path with the host's name, on port 80 and with TLS on
// 443, and hands out /slow at about 64 KiB a second.
const nginxConfig = `daemon off;
user root;
worker_processes 1;
pid %[2]s/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path %[2]s/tmp;
  proxy_temp_path %[2]s/tmp;
  fastcgi_temp_path %[2]s/tmp;
  uwsgi_temp_path %[2]s/tmp;
  scgi_temp_path %[2]s/tmp;
  server {
    listen 80 default_server;
    listen 443 ssl default_server;
    ssl_certificate %[2]s/cert.pem;
    ssl_certificate_key %[2]s/key.pem;
    root %[2]s/www;
    location = /slow { limit_rate 64k; }
    location / { return 200 "%[1]s\n"; }
  }
}
`

// SlowBytes is the size of /slow: at its rate it takes about 8 seconds.
const SlowBytes = 512 << 10

// PrepareNginx writes what nginx needs to answer with the host's name on port 80
// and, with TLS and a certificate for ServerName, on 443. It returns the
// directory: nginx.conf, cert.pem and key.pem are there.
func (h *Host) PrepareNginx() (dir string, err error) {
	dir = filepath.Join(h.Dir, "nginx")
	if err := os.MkdirAll(filepath.Join(dir, "www"), 0o755); err != nil {
		return "", err
	}
	cert, key, err := Certificate(ServerName, time.Now().Add(24*time.Hour))
	if err != nil {
		return "", err
	}
	for name, text := range map[string]string{
		"cert.pem":   cert,
		"key.pem":    key,
		"nginx.conf": fmt.Sprintf(nginxConfig, h.Name, dir),
		"www/slow":   strings.Repeat("0123456789abcde\n", SlowBytes/16),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// StartNginx starts the web server of PrepareNginx on the host.
func (h *Host) StartNginx() (*Process, error) {
	dir, err := h.PrepareNginx()
	if err != nil {
		return nil, err
	}
	p, err := h.Start(exec.Command("nginx", "-p", dir, "-c", filepath.Join(dir, "nginx.conf")))
	if err != nil {
		return nil, err
	}
	return p, h.until("nginx to answer", func() error {
		conn, err := h.Dial(h.Addr.String()+":80", 0, time.Second)
		if err != nil {
			return errors.Join(err, ended(p))
		}
		return conn.Close()
	})
}

// AgentConfig is a configuration of rsagent for the site: its VIP and its
// directors, and the tables given after them.
func (s *Site) AgentConfig(tables ...string) string {
	return fmt.Sprintf("vips = [%q]\ndirectors = [%q, %q]\n", VIP, s.Dir1.Addr, s.Dir2.Addr) +
		strings.Join(tables, "\n")
}

// HTTPPool is a table for AgentConfig: the web server on port 80.
const HTTPPool = `
[[pool]]
name  = "http-pool"
vip   = "10.9.0.100"
port  = 80
probe = { type = "http", interval = "1s", timeout = "1s", rise = 1, fall = 2 }
`

// Agent is the command of rsagent on the host with this configuration; it is
// found on the PATH.
func (h *Host) Agent(config string, args ...string) (*exec.Cmd, error) {
	file, err := h.WriteFile("rsagent.toml", config)
	if err != nil {
		return nil, err
	}
	return exec.Command("rsagent", append(args, "--config", file)...), nil
}

// StartAgent starts the daemon on the host.
func (h *Host) StartAgent(config string) (*Process, error) {
	cmd, err := h.Agent(config, "run")
	if err != nil {
		return nil, err
	}
	return h.Start(cmd)
}

// ReadyURL is where the directors ask whether the node may have traffic.
func (h *Host) ReadyURL() string { return fmt.Sprintf("http://%s:9380/ready", h.Addr) }

// UntilReady waits until /ready on the node says so.
func (h *Host) UntilReady() error { return h.UntilAnswer(h.ReadyURL(), 200) }

// UntilAnswer waits until a URL, asked from this host, has the status.
func (h *Host) UntilAnswer(url string, want int) error {
	return h.until(fmt.Sprintf("%s to answer %d", url, want), func() error {
		status, body, err := h.Get(url)
		if err == nil && status != want {
			err = fmt.Errorf("status %d: %s", status, strings.TrimSpace(body))
		}
		return err
	})
}

// patience is how long anything may take to come about that should at once:
// the machine may be emulated, and busy.
const patience = 15 * time.Second

func (h *Host) until(what string, try func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := try()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) || errors.Is(err, errEnded) {
			return fmt.Errorf("cannot wait for %s on %s: %v\n%s", what, h.Name, err, h.Logs())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

var errEnded = errors.New("it has ended")

// ended is errEnded for a process that has.
func ended(p *Process) error {
	select {
	case <-p.done:
		return fmt.Errorf("%w with status %d", errEnded, p.Status())
	default:
		return nil
	}
}
