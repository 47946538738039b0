//go:build lab

package directors

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"rsagent/lab/network"
)

// What stands around our text in a director's configuration.

const keepalivedHead = `global_defs {
  router_id dir1
  script_user root
  enable_script_security
}
`

const haproxyHead = `global
    maxconn 1000
defaults
    mode http
    timeout connect 2s
    timeout client 30s
    timeout server 30s
frontend web
    bind %s:80
    default_backend http-pool
`

// The modules that our text names; mod_watchdog is built in on Debian.
const apacheHead = `ServerName dir1
DefaultRuntimeDir %[2]s
PidFile %[2]s/httpd.pid
Mutex default:%[2]s
ErrorLog /dev/stderr
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
LoadModule slotmem_shm_module /usr/lib/apache2/modules/mod_slotmem_shm.so
LoadModule proxy_balancer_module /usr/lib/apache2/modules/mod_proxy_balancer.so
LoadModule lbmethod_byrequests_module /usr/lib/apache2/modules/mod_lbmethod_byrequests.so
LoadModule proxy_hcheck_module /usr/lib/apache2/modules/mod_proxy_hcheck.so
Listen %[1]s:80
<VirtualHost *:80>
    ProxyPass        / balancer://http-pool/
    ProxyPassReverse / balancer://http-pool/
</VirtualHost>
`

// program is a director's program: how it is asked to look at a configuration, and
// how it is started.
type program struct {
	check, start func(t *testing.T, h *network.Host, text string) *exec.Cmd
}

var keepalived = program{
	check: func(t *testing.T, h *network.Host, text string) *exec.Cmd {
		return exec.Command("keepalived", "--config-test", "--log-console", "--use-file", file(t, h, "keepalived.conf", keepalivedHead+text))
	},
	start: func(t *testing.T, h *network.Host, text string) *exec.Cmd {
		pid := func(name string) string { return filepath.Join(h.Dir, name+".pid") }
		return exec.Command("keepalived", "--dont-fork", "--log-console", "--log-detail",
			"--use-file", file(t, h, "keepalived.conf", keepalivedHead+text),
			"--pid", pid("keepalived"), "--vrrp_pid", pid("vrrp"), "--checkers_pid", pid("checkers"))
	},
}

// ldirectord can only be started; -d keeps it from leaving.
var ldirectord = program{
	start: func(t *testing.T, h *network.Host, text string) *exec.Cmd {
		return exec.Command("ldirectord", "-d", file(t, h, "ldirectord.cf", text), "start")
	},
}

var haproxy = program{
	check: func(t *testing.T, h *network.Host, text string) *exec.Cmd { return haproxyOf(t, h, text, "-c") },
	start: func(t *testing.T, h *network.Host, text string) *exec.Cmd { return haproxyOf(t, h, text, "-db") },
}

func haproxyOf(t *testing.T, h *network.Host, text, flag string) *exec.Cmd {
	head := file(t, h, "head.cfg", fmt.Sprintf(haproxyHead, network.VIP))
	return exec.Command("haproxy", flag, "-f", head, "-f", file(t, h, "haproxy.cfg", text))
}

var apache = program{
	check: func(t *testing.T, h *network.Host, text string) *exec.Cmd { return apacheOf(t, h, text, "-t") },
	start: func(t *testing.T, h *network.Host, text string) *exec.Cmd {
		return apacheOf(t, h, text, "-DFOREGROUND")
	},
}

func apacheOf(t *testing.T, h *network.Host, text, flag string) *exec.Cmd {
	return exec.Command("apache2", "-f", file(t, h, "apache.conf", fmt.Sprintf(apacheHead, network.VIP, h.Dir)+text), flag)
}
