package director

import (
	"fmt"

	"rsagent/agent/config"
)

// haproxy writes a backend for each pool.
func haproxy(p *page, s site) {
	p.start(s, "haproxy.cfg", "It goes behind your defaults, which have the timeouts; your frontends choose by default_backend or use_backend.")
	switch {
	case s.check == CheckAgent:
		p.comment("By agent-check a node drains at the first word of it: sessions go on, persistent ones too, new ones go elsewhere. HAProxy keeps what it was told last while nobody answers, so the check of /live is there for a node that is gone.")
	case s.ready404:
		p.comment("A drain is told by 404 (health.drain_status), which disable-on-404 takes for a soft stop: sessions go on, persistent ones too, new ones go elsewhere. A failure takes the node down.")
	default:
		p.comment("A drain, like a failure, takes the node down: sessions go on, new ones go elsewhere, and so do persistent ones. Do not set on-marked-down shutdown-sessions, which would break them.")
	}
	p.pace(s, s.drainFails())
	p.kept()
	for _, one := range s.pools {
		p.line("")
		p.line("backend %s", one.name)
		p.line("    mode %s", mode(one))
		p.line("    balance roundrobin")
		if s.check == CheckAgent {
			p.line("    option httpchk GET /live")
		} else {
			p.line("    option httpchk GET %s", s.ready(one, s.drainFails()))
		}
		if s.ready404 && s.check != CheckAgent {
			p.line("    http-check disable-on-404")
		}
		p.line("    default-server inter %ds fall %d rise 2 weight %d", s.pace.interval, s.pace.fails, weight)
		for _, node := range one.nodes {
			agent := ""
			if s.check == CheckAgent {
				agent = fmt.Sprintf(` agent-check agent-port %s agent-inter %ds agent-send "%s\n"`, s.agentPort, s.pace.interval, one.name)
			}
			p.line("    server %s %s check port %s%s", node.Addr(), node, s.port, agent)
		}
	}
}

// mode is what a proxy may know of a service: one over TLS, or of another
// protocol, is passed on as it is.
func mode(one pool) string {
	if one.probe == config.ProbeHTTP {
		return "http"
	}
	return "tcp"
}

// kept says what holds a drain up behind a proxy. An idle connection whose last
// question and answer are of one tick of the clock cannot be told from one that
// waits (tunnel.Connections).
func (p *page) kept() {
	p.comment("What a proxy keeps open to a node can hold a drain up until the web server there closes it: have keepalive_timeout (nginx) or KeepAliveTimeout (httpd) well below drain.timeout.")
}

// drainFails is after how many refusals a drained node is out: a soft stop, and a
// drain by agent-check, come with the first.
func (s site) drainFails() int {
	if s.ready404 || s.check == CheckAgent {
		return 1
	}
	return s.pace.fails
}
