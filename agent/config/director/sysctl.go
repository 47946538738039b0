package director

// settings writes what IPVS must be told so that weight 0 means it
// (Documentation/networking/ipvs-sysctl.rst).
func settings(p *page, _ site) {
	p.head("/etc/sysctl.d on a director with IPVS", "The keys are there once ip_vs is loaded: name it in /etc/modules-load.d. Each network namespace has its own.")
	p.line("")
	p.comment("A client that uses a source port again gets a new choice of node. In a tunnel the director does not see the end of a connection, and would send the new one after the old for 2 minutes, to a node at weight 0 too.")
	p.line("net.ipv4.vs.conn_reuse_mode = 3")
	p.line("")
	p.comment("With persistence, a client of a node at weight 0 gets another one at its next connection, and stays there.")
	p.line("net.ipv4.vs.expire_quiescent_template = 1")
	p.line("")
	p.comment("Connections to a node that is deleted end, instead of being sent nowhere. And with persistence, for which conn_reuse_mode does nothing, this is what keeps a source port that is used again from a node at weight 0.")
	p.line("net.ipv4.vs.expire_nodest_conn = 1")
}
