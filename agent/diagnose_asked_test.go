package agent

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"rsagent/tunnel"
	"rsagent/tunnel/path"
)

func TestAClientThatAskedIsToldWhatBecomesOfIt(t *testing.T) {
	const device = 3
	gone := netip.MustParseAddr("10.9.0.77")
	in, out := tunnel.Route{Local: true, Link: 1}, tunnel.Route{Link: 2}
	no := func(err error) error { return fmt.Errorf("cannot look up the route: %w", err) }
	stop := path.Stop{Where: "the route blackhole 198.51.100.0/24", Why: "discards it", Remedy: "ip route del blackhole 198.51.100.0/24"}
	for _, test := range []struct {
		name  string
		asked Asked
		want  string // cause | remedy
	}{
		{"nothing stands in the way", Asked{Way: Way{In: in, Out: out}}, " | "},
		{"there is no route", Asked{Way: Way{In: in, OutErr: no(unix.ENETUNREACH)}},
			"there is no way from 203.0.113.10 to 198.51.100.7 | ip route add default via GATEWAY"},
		{"there is no route, and so the source is refused", Asked{Way: Way{InErr: no(unix.EXDEV), OutErr: no(unix.ENETUNREACH)}},
			"there is no way from 203.0.113.10 to 198.51.100.7 | ip route add default via GATEWAY"},
		{"a black hole", Asked{Way: Way{In: in, OutErr: no(unix.EINVAL)}, OutStop: stop},
			"there is no way from 203.0.113.10 to 198.51.100.7: the route blackhole 198.51.100.0/24 discards it | ip route del blackhole 198.51.100.0/24"},
		{"the source is refused", Asked{Way: Way{InErr: no(unix.EXDEV), Out: out}, OutStop: stop},
			"what 198.51.100.7 asks of 203.0.113.10:80 is not delivered on this node: the route blackhole 198.51.100.0/24 discards it | ip route del blackhole 198.51.100.0/24"},
		{"sent on to another host", Asked{Way: Way{In: out, Out: out}},
			"what 198.51.100.7 asks of 203.0.113.10:80 is not delivered on this node | "},
		{"back into the tunnel", Asked{Way: Way{In: in, Out: tunnel.Route{Link: device}}},
			"the answer to 198.51.100.7 is routed into the tunnel | "},
		{"by a gateway that is not there", Asked{Way: Way{In: in, Out: tunnel.Route{Link: 2, Gateway: gone}}},
			"the answer to 198.51.100.7 goes by the gateway 10.9.0.77, which does not answer ARP | see whose route it is: ip route get 198.51.100.7 from 203.0.113.10; " +
				"and give it a gateway that is there, or take it away: ip route show via 10.9.0.77"},
		{"by a gateway that is there", Asked{Way: Way{In: in, Out: tunnel.Route{Link: 2, Gateway: netip.MustParseAddr("10.9.0.10")}}}, " | "},
		{"the kernel could not say", Asked{Way: Way{InErr: no(unix.ENOBUFS), OutErr: no(unix.ENOBUFS)}}, " | "},
	} {
		test.asked.VIP, test.asked.Client = netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("198.51.100.7")
		test.asked.Service = netip.AddrPortFrom(test.asked.VIP, 80)
		cause, remedy := test.asked.whyUnanswered(device, &Examination{Path: path.Facts{Unreached: map[netip.Addr]bool{gone: true}}}, nil)
		if diff := cmp.Diff(test.want, cause+" | "+remedy); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}
