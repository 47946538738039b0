package path

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// balancers finds the services of IPVS in this node's own kernel that take what
// comes out of the tunnel to other hosts: IPVS sees whatever comes in for the VIP
// (ip_vs_in, net/netfilter/ipvs/ip_vs_core.c), and does not know that a director
// has balanced it before. A service that is chosen by a mark is left out: who
// makes marks knows where packets come from.
func balancers(q Question) ([]Stop, error) {
	list, err := os.ReadFile(procNet + "ip_vs")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // no IPVS in this namespace
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the services of IPVS: %w", err)
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("cannot list the addresses of this node: %w", err)
	}
	isOwn := func(a netip.Addr) bool {
		return slices.ContainsFunc(own, func(o net.Addr) bool {
			n, ok := o.(*net.IPNet)
			return ok && n.IP.Equal(net.IP(a.AsSlice()))
		})
	}
	var stops []Stop
	for _, v := range virtualServices(string(list)) {
		if i := slices.IndexFunc(v.servers, func(s netip.AddrPort) bool { return !isOwn(s.Addr()) }); i >= 0 && asksFor(q, v.at) {
			stops = append(stops, Stop{Leg: Inner, Where: "IPVS on this node",
				Why:    fmt.Sprintf("sends what is for %s on to %s", v.at, v.servers[i].Addr()),
				Remedy: fmt.Sprintf("ipvsadm -D -t %s   # and stop what makes it anew, such as keepalived or ldirectord on this node", v.at)})
		}
	}
	return stops, nil
}

// asksFor tells whether clients ask for the service: port 0 is every port.
func asksFor(q Question, service netip.AddrPort) bool {
	if !slices.Contains(q.VIPs, service.Addr()) {
		return false
	}
	return service.Port() == 0 || len(q.Services) == 0 || slices.Contains(q.Services, service)
}

// virtualService is a service of TCP, and the servers that new connections to it
// go to.
type virtualService struct {
	at      netip.AddrPort
	servers []netip.AddrPort
}

// virtualServices reads /proc/net/ip_vs (ip_vs_info_seq_show,
// net/netfilter/ipvs/ip_vs_ctl.c):
//
//	TCP  0A090064:0050 rr
//	  -> 0A09001F:0050      Tunnel  1      0          0
func virtualServices(list string) []virtualService {
	var all []virtualService
	known := false // the service that the lines of servers belong to
	for line := range strings.Lines(list) {
		f := strings.Fields(line)
		switch {
		case len(f) < 2:
		case f[0] != "->":
			var at netip.AddrPort
			at, known = hexAddress(f[1])
			if known = known && f[0] == "TCP"; known {
				all = append(all, virtualService{at: at})
			}
		case known && len(f) >= 4 && f[3] != "0": // weight 0 gets no new connection
			if server, ok := hexAddress(f[1]); ok {
				v := &all[len(all)-1]
				v.servers = append(v.servers, server)
			}
		}
	}
	return all
}

// hexAddress reads 0A090064:0050.
func hexAddress(text string) (netip.AddrPort, bool) {
	addr, port, _ := strings.Cut(text, ":")
	b, err := hex.DecodeString(addr + port)
	if err != nil || len(addr) != 8 || len(port) != 4 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), uint16(b[4])<<8|uint16(b[5])), true
}
