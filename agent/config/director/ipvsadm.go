package director

// ipvsadm writes rules. Nobody checks a node then.
func ipvsadm(p *page, s site) {
	p.start(s, "ipvsadm -R", "The director needs the VIPs itself: "+list(s.vips())+".")
	p.comment("Nobody asks the nodes: one that fails stays in. A drain turns /ready and then waits for connections to end, which they do not while the director sends new ones. First give the node weight 0 by hand:")
	p.line("#")
	for _, one := range s.pools {
		p.line("#   ipvsadm -e -t %s -r %s -i -w 0", one.service, one.nodes[0])
	}
	p.line("#")
	p.needsSettings()
	for _, one := range s.pools {
		p.line("-A -t %s -s wrr", one.service)
		for _, node := range one.nodes {
			p.line("-a -t %s -r %s -i -w %d", one.service, node, weight)
		}
	}
}
