package director

import (
	"errors"
	"net"
	"net/netip"
	"slices"

	"rsagent/agent/config"
)

// Own is the address by which the directors reach this node: where its health
// endpoint listens if that is one address, else where a packet to the first
// director leaves from. None is sent.
func Own(c config.Config) (netip.Addr, error) {
	unknown := errors.New("its address cannot be told: give --real ADDRESS for each real server")
	host, _, err := net.SplitHostPort(c.Health.Listen)
	if err != nil {
		return netip.Addr{}, unknown
	}
	if a, err := netip.ParseAddr(host); err == nil && a.Is4() && !a.IsUnspecified() && !a.IsLoopback() {
		return a, nil
	}
	if len(c.Directors) == 0 {
		return netip.Addr{}, unknown
	}
	conn, err := net.Dial("udp4", netip.AddrPortFrom(c.Directors[0].Addr(), 9).String())
	if err != nil {
		return netip.Addr{}, unknown
	}
	defer conn.Close()
	a := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	isDirector := func(p netip.Prefix) bool { return p.IsSingleIP() && p.Addr() == a }
	if a.IsLoopback() || slices.Contains(c.VIPs, a) || slices.ContainsFunc(c.Directors, isDirector) {
		return netip.Addr{}, unknown
	}
	return a, nil
}
