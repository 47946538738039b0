package director

import (
	"fmt"
	"net/netip"
	"strings"
)

// keepalived writes a virtual_server for each pool.
func keepalived(p *page, s site) {
	p.start(s, "keepalived.conf", "It goes beside your vrrp_instance, whose virtual_ipaddress is "+list(s.vips())+".")
	switch {
	case s.check == CheckProbe:
		p.comment("Each node is asked through the tunnel, and at /ready/POOL. A drain gives it weight 0 at the first word of it (misc_dynamic; keepalived 2.2.0 or newer): flows go on, new ones go elsewhere. What asks needs CAP_NET_RAW, so it runs as root: see enable_script_security in keepalived.conf(5).")
		p.pace(s, 1)
	case s.deletes:
		p.comment("A drain, like a failure, deletes the node: connections that it still has break. Without --delete-failed it gets weight 0 and they go on.")
		p.pace(s, s.pace.fails)
	default:
		p.comment("A drain, like a failure, gives the node weight 0 (inhibit_on_failure): flows go on, new ones go elsewhere.")
		p.pace(s, s.pace.fails)
	}
	if s.check == CheckProbe && !s.deletes {
		p.comment("A node that fails gets weight 0 too (inhibit_on_failure).")
	}
	p.needsSettings("persistence_timeout")
	for _, one := range s.pools {
		p.line("")
		p.line("virtual_server %s %d {", one.service.Addr(), one.service.Port())
		p.line("    delay_loop %d", s.pace.interval)
		p.line("    lvs_sched wrr")
		p.line("    lvs_method TUN")
		p.line("    protocol TCP")
		for _, node := range one.nodes {
			p.line("")
			p.line("    real_server %s %d {", node.Addr(), node.Port())
			p.line("        weight %d", weight)
			if !s.deletes {
				p.line("        inhibit_on_failure")
			}
			if s.check == CheckProbe {
				p.miscCheck(s, one, node)
			} else {
				p.httpGet(s, one)
			}
			p.line("    }")
		}
		p.line("}")
	}
}

func (p *page) httpGet(s site, one pool) {
	p.line("        HTTP_GET {")
	p.line("            url {")
	p.line("                path %s", s.ready(one, s.pace.fails))
	p.line("                status_code 200")
	p.line("            }")
	p.line("            connect_port %s", s.port)
	p.line("            connect_timeout %d", s.pace.interval)
	p.retries(s)
	p.line("        }")
}

func (p *page) miscCheck(s site, one pool, node netip.AddrPort) {
	p.line("        MISC_CHECK {")
	p.line(`            misc_path "%s --weight %d --timeout %ds"`, s.probe(one, node.Addr().String(), one.service.String(), 1), weight, s.pace.interval)
	p.line("            misc_timeout %d", s.pace.interval+1)
	p.line("            misc_dynamic")
	p.line("            user root")
	p.retries(s)
	p.line("        }")
}

// retries: keepalived acts on one failure more than it retries.
func (p *page) retries(s site) {
	p.line("            retry %d", s.pace.fails-1)
	p.line("            delay_before_retry %d", s.pace.interval)
}

// probe is the command that asks a node through the tunnel, for a director that acts
// on a drain after so many refusals.
func (s site) probe(one pool, node, vip string, fails int) string {
	return fmt.Sprintf("%s probe --real %s --vip %s --ready http://:%s%s", s.program, node, vip, s.port, s.ready(one, fails))
}

// needsSettings points to the kernel's settings. Persistence is the director's own,
// under the name that its program has for it.
func (p *page) needsSettings(persistence string) {
	p.comment("The kernel's settings: rsagent config director sysctl. Without all of them a node at weight 0 gets new connections from source ports that are used again, and if you set " + persistence + ", from every client that was there before: a drain would not end in time.")
}

func list(addresses []netip.Addr) string {
	var all []string
	for _, a := range addresses {
		all = append(all, a.String())
	}
	return strings.Join(all, ", ")
}
