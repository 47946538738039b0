package director

import (
	"fmt"
	"slices"
	"strings"

	"rsagent/agent/config"
)

// longestName is the longest name of a pool that fits into what Apache keeps of a
// balancer (PROXY_BALANCER_MAX_NAME_SIZE) and of the path of a check
// (PROXY_WORKER_MAX_ROUTE_SIZE), both 64 in mod_proxy.h.
const longestName = 48

// timeToLive is for how many seconds Apache uses a connection again: less than the
// 5 s after which httpd on a node closes one by default (nginx: 75 s). Else a
// request can meet the closing, and is lost.
const timeToLive = 4

// apacheNames says which names cannot be told apart by Apache: a balancer's is that
// of a host, in which case does not count.
func apacheNames(pools []pool) error {
	taken := map[string]string{}
	for _, one := range pools {
		low := strings.ToLower(one.name)
		if other, twice := taken[low]; twice {
			return fmt.Errorf("to Apache the pools %s and %s have the same name", other, one.name)
		}
		taken[low] = one.name
		if len(one.name) > longestName {
			return fmt.Errorf("the name of pool %s is too long for Apache, expected at most %d characters", one.name, longestName)
		}
	}
	return nil
}

// apache writes a balancer for each pool.
func apache(p *page, s site) {
	https := slices.ContainsFunc(s.pools, func(one pool) bool { return scheme(one) == "https" })
	modules := "proxy, proxy_http, proxy_balancer, proxy_hcheck, lbmethod_byrequests, slotmem_shm and watchdog"
	if https {
		modules = "ssl, " + modules
	}
	p.start(s, "Apache httpd 2.4.21 or newer", "It needs the modules "+modules+".")
	p.comment("A drain, like a failure, takes the node out of its balancer: requests under way go on, new ones go elsewhere, and so do those of sticky sessions.")
	p.pace(s, s.pace.fails)
	p.kept()
	p.comment(fmt.Sprintf("ttl has Apache use no connection again that the web server is about to close, so there it must be more than %d s.", timeToLive))
	p.line("#")
	p.comment("mod_proxy_hcheck asks a node at its own port only, so the web server there has to pass /ready on to rsagent. nginx:")
	p.line("#")
	p.line("#   location /ready/ {")
	p.line("#       proxy_pass http://%s;", s.local)
	p.line(`#       proxy_set_header User-Agent "$remote_addr $http_user_agent";`)
	p.line("#   }")
	p.line("#")
	p.comment("httpd (with mod_headers):")
	p.line("#")
	p.line("#   ProxyPass /ready/ http://%s/ready/", s.local)
	p.line(`#   <Location "/ready/">`)
	p.line(`#       RequestHeader set User-Agent "expr=%%{REMOTE_ADDR}"`)
	p.line("#   </Location>")
	p.line("#")
	p.comment("The User-Agent has rsagent tell several proxies apart. health.allow, if set, needs this node itself too. Then, in your virtual host, with a path of your own:")
	for _, one := range s.pools {
		p.line("#")
		if scheme(one) == "https" {
			p.line("#   SSLProxyEngine on")
			p.line("#   SSLProxyCheckPeerName off")
		}
		p.line("#   ProxyPass        / balancer://%s/", one.name)
		p.line("#   ProxyPassReverse / balancer://%s/", one.name)
	}
	if https {
		// Requests take this from their virtual host, and checks from the server that the
		// balancer is in (hc_check_http in mod_proxy_hcheck.c).
		p.line("")
		p.comment("Checks take these from here, and requests from their virtual host. Nodes have addresses here, and certificates names.")
		p.line("SSLProxyEngine on")
		p.line("SSLProxyCheckPeerName off")
	}
	for _, one := range s.pools {
		p.line("")
		p.line(`<Proxy "balancer://%s">`, one.name)
		for _, node := range one.nodes {
			p.line(`    BalancerMember "%s://%s" ttl=%d hcmethod=GET hcuri=%s hcinterval=%d hcpasses=2 hcfails=%d`,
				scheme(one), node, timeToLive, s.ready(one, s.pace.fails), s.pace.interval, s.pace.fails)
		}
		p.line("    ProxySet lbmethod=byrequests")
		p.line("</Proxy>")
	}
}

func scheme(one pool) string {
	if one.probe == config.ProbeHTTPS {
		return "https"
	}
	return "http"
}
