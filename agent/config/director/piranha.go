package director

import (
	"fmt"
	"slices"
)

// piranha writes lvs.cf. nanny asks a node at the port that its server has. That
// can be the health port: with tunnelling, ipvsadm puts the port of the service in
// its place, since the kernel cannot change it. It does so where it adds and
// changes a server and not where it deletes one (ipvsadm.c), so a node that fails
// has to be quiesced.
func piranha(p *page, s site) {
	p.start(s, "lvs.cf of piranha", "It is a whole file, for both directors: see that the interfaces of the VIPs (eth0:1 and so on) are yours, and raise serial_no with every change.")
	p.comment("A drain, like a failure, gives the node weight 0 (quiesce_server = 1): flows go on, new ones go elsewhere.")
	p.comment(fmt.Sprintf("nanny asks a server at its own port, %s, which ipvsadm changes to the service's: a tunnel changes no port. It does not where nanny deletes a server, so leave quiesce_server at 1, and after you have taken a server out of this file, ipvsadm -d it yourself. expect has to be there: without it nanny takes any answer for good.", s.port))
	p.pace(s, 1)
	p.needsSettings("persistent")
	p.line("")
	p.line("serial_no = 1")
	p.line("primary = %s", s.directors[0])
	if len(s.directors) > 1 {
		p.line("backup = %s", s.directors[1])
		p.line("backup_active = 1")
	} else {
		p.line("backup_active = 0")
	}
	p.line("heartbeat = 1")
	p.line("keepalive = 2")
	p.line("deadtime = 6")
	p.line("service = lvs")
	p.line("network = tunnel")
	p.line("debug_level = NONE")
	for _, one := range s.pools {
		p.virtual(s, one)
	}
}

func (p *page) virtual(s site, one pool) {
	p.line("")
	p.line("virtual %s {", one.name)
	p.line("    active = 1")
	p.line("    address = %s eth0:%d", one.service.Addr(), slices.Index(s.vips(), one.service.Addr())+1)
	p.line("    vip_nmask = 255.255.255.255")
	p.line("    port = %d", one.service.Port())
	p.line(`    send = "GET %s HTTP/1.0\r\n\r\n"`, s.ready(one, 1))
	p.line(`    expect = "HTTP/1.0 200"`)
	p.line("    use_regex = 0")
	p.line("    load_monitor = none")
	p.line("    scheduler = wrr")
	p.line("    protocol = tcp")
	p.line("    timeout = %d", s.pace.interval)
	p.line("    reentry = %d", 2*s.pace.interval)
	p.line("    quiesce_server = 1")
	for _, node := range one.nodes {
		p.line("    server %s {", node.Addr())
		p.line("        address = %s", node.Addr())
		p.line("        port = %s", s.port)
		p.line("        active = 1")
		p.line("        weight = %d", weight)
		p.line("    }")
	}
	p.line("}")
}
