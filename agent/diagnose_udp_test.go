package agent

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rsagent/agent/config"
	"rsagent/tunnel/path"
)

func TestADirectorThatTunnelsByUDPIsNamed(t *testing.T) {
	director := netip.MustParseAddr("10.9.0.21")
	c := config.Config{Tunnel: config.Tunnel{Mode: config.ModeIPIP, Device: "tunl0"}, Directors: []netip.Prefix{netip.PrefixFrom(director, 32)}}
	by := func(from string, port uint16, gue bool) path.InUDP {
		return path.InUDP{Sender: path.Sender{Addr: netip.MustParseAddr(from), Link: 2}, Port: port, GUE: gue}
	}
	for _, test := range []struct {
		name        string
		seen        map[path.InUDP]int
		unwrapped   int
		gotten, how string // empty: nothing is said
	}{
		{"GUE", map[path.InUDP]int{by("10.9.0.21", 5555, true): 3}, 0,
			"3 packets from 10.9.0.21 came in by eth0 in UDP to port 5555, and none came out of tunl0",
			"the director wraps them in GUE in place of IPIP, and nothing on this node unwraps that"},
		{"FOU to several ports", map[path.InUDP]int{by("10.9.0.21", 5556, false): 9, by("10.9.0.21", 5555, false): 4}, 0,
			"4 packets from 10.9.0.21 came in by eth0 in UDP to port 5555, and none came out of tunl0",
			"the director wraps them in FOU in place of IPIP, and nothing on this node unwraps that"},
		{"two packets may be anything", map[path.InUDP]int{by("10.9.0.21", 5555, true): 2}, 0, "", ""},
		{"a stranger", map[path.InUDP]int{by("10.9.0.9", 5555, true): 9}, 0, "", ""},
		{"what others send comes out", map[path.InUDP]int{by("10.9.0.21", 5555, true): 9}, 1, "", ""},
		{"nothing", nil, 0, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := path.Facts{Node: netip.MustParseAddr("10.9.0.31"), Links: []path.Link{{Index: 2, Name: "eth0"}},
				Wire: path.Wire{InUDP: test.seen, Unwrapped: test.unwrapped}}
			got, cause, remedy := inUDP(c, &f)
			if diff := cmp.Diff([]string{test.gotten, test.how}, []string{got, cause}); diff != "" || (remedy == "") != (got == "") {
				t.Errorf("remedy %q, -want +got:\n%s", remedy, diff)
			}
		})
	}
}
