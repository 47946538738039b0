package agent

import (
	"cmp"
	"fmt"
	"slices"

	"rsagent/agent/config"
	"rsagent/tunnel/path"
)

// inUDP says how a director wraps packets so that no IPIP device gets them; got is
// empty if none is seen to.
func inUDP(c config.Config, f *path.Facts) (got, cause, remedy string) {
	const few = 3
	var found []path.InUDP
	for by, count := range f.Wire.InUDP {
		if count >= few && isDirector(c, by.Addr) {
			found = append(found, by)
		}
	}
	if len(found) == 0 || f.Wire.Unwrapped > 0 {
		return "", "", ""
	}
	by := slices.MinFunc(found, func(a, b path.InUDP) int { return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Port, b.Port)) })
	kind := "FOU"
	if by.GUE {
		kind = "GUE"
	}
	got = fmt.Sprintf("%d packets from %s came in by %s in UDP to port %d, and none came out of %s", f.Wire.InUDP[by], by.Addr, nameOf(f, by.Link), by.Port, c.Tunnel.Device)
	cause = fmt.Sprintf("the director wraps them in %s in place of IPIP, and nothing on this node unwraps that", kind)
	remedy = fmt.Sprintf("on the director, for each service: ipvsadm -e -t VIP:PORT -r %s:PORT -i --tun-type ipip -w WEIGHT   # with keepalived: lvs_method TUN type ipip", f.Node)
	return got, cause, remedy
}
