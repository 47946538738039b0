package director

// script is where the check through the tunnel goes on a director with ldirectord,
// which gives a checkcommand four arguments of its own and takes none of ours.
const script = "/etc/ha.d/rsagent-check"

// ldirectord writes a virtual for each pool. All stands in the virtuals, so that
// nothing changes for others in the file, but checkinterval, which counts there
// only with fork = yes.
func ldirectord(p *page, s site) {
	p.start(s, "ldirectord.cf", "What brings the VIPs to the live director (keepalived, heartbeat, pacemaker) stays: "+list(s.vips())+".")
	if s.deletes {
		p.comment("A drain, like a failure, deletes the node (quiescent = no): connections that it still has break. Without --delete-failed it gets weight 0 and they go on.")
	} else {
		p.comment("A drain, like a failure, gives the node weight 0 (quiescent = yes): flows go on, new ones go elsewhere.")
	}
	p.pace(s, s.pace.fails)
	p.comment("With fork = yes each service is checked by itself, so no other delays it; the nodes of one are asked one after the other.")
	p.needsSettings("persistent")
	if s.check == CheckProbe {
		p.script(s)
	}
	p.line("")
	p.line("fork = yes")
	for _, one := range s.pools {
		p.line("")
		p.line("virtual = %s", one.service)
		for _, node := range one.nodes {
			p.line("    real = %s ipip %d", node, weight)
		}
		p.line("    scheduler = wrr")
		p.line("    protocol = tcp")
		p.line("    quiescent = %s", yes(!s.deletes))
		p.line("    checkinterval = %d", s.pace.interval)
		p.line("    failurecount = %d", s.pace.fails)
		p.line("    checktimeout = %d", s.pace.interval+1)
		if s.check == CheckProbe {
			p.line("    checktype = external")
			p.line(`    checkcommand = "%s"`, script)
			continue
		}
		p.line("    negotiatetimeout = %d", s.pace.interval+1)
		p.line("    checktype = negotiate")
		p.line("    service = http")
		p.line("    checkport = %s", s.port)
		p.line(`    request = "%s"`, s.ready(one, s.pace.fails))
		p.line(`    receive = "^ready$"`)
	}
}

// script shows the program that asks through the tunnel.
func (p *page) script(s site) {
	p.line("#")
	p.comment("The check through the tunnel, for " + script + ", mode 755:")
	p.line("#")
	p.line("#   #!/bin/sh")
	p.line(`#   case "$1:$2" in`)
	for _, one := range s.pools {
		p.line("#   %s) pool=%s ;;", one.service, one.name)
	}
	p.line("#   *) exit 1 ;;")
	p.line("#   esac")
	p.line("#   exec %s --plain --timeout %ds", s.probe(pool{name: "$pool"}, `"$3"`, `"$1:$2"`, s.pace.fails), s.pace.interval)
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}
