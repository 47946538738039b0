package director

import (
	"fmt"
	"strings"
)

// ipvsadm writes rules, without a comment: ipvsadm -R takes none.
func ipvsadm(p *page, s site) {
	var drains []string
	for _, one := range s.pools {
		p.line("-A -t %s -s wrr", one.service)
		for _, node := range one.nodes {
			p.line("-a -t %s -r %s -i -w %d", one.service, node, weight)
		}
		drains = append(drains, fmt.Sprintf("ipvsadm -e -t %s -r %s -i -w 0", one.service, one.nodes[0]))
	}
	p.warnings = append(p.warnings, "nobody asks the nodes then: one that fails stays in, and a drain waits for connections to end while the director sends new ones. First give the node weight 0 by hand: "+strings.Join(drains, "; "))
}
