package agent

import (
	"net/netip"
	"strings"
	"testing"

	"rsagent/tunnel/path"
)

// Where nobody says who the directors are, what came in is followed.
func TestARuleThatDropsWhatCameInIsNamed(t *testing.T) {
	sender := netip.MustParseAddr("10.9.0.21")
	for _, test := range []struct{ name, rules, want string }{
		{"nothing is dropped", `table ip site { chain in { type filter hook input priority 0; ip protocol 47 drop; }; }`, ""},
		{"behind the bridge", `table ip site { chain in { type filter hook input priority 0; iifname br0 ip protocol 4 drop; }; }`, "table ip site"},
		{"on the bridge", `table bridge site { chain in { type filter hook input priority 0; iifname port ip protocol 4 drop; }; }`, "table bridge site"},
		{"on another port", `table bridge site { chain in { type filter hook input priority 0; iifname tap drop; }; }`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			inNamespace(t, func(h Host) {
				shell(t, `
					ip link add port type veth peer name wire
					ip link add br0 type bridge
					ip link set port master br0
					nft -f - <<'END'
`+test.rules+"\nEND\n")
				c := declared(t, "vips = [\"203.0.113.10\"]\n")
				n := Node{}
				n.Net, n.NetErr = h.Net.Observe()
				n.Examined = &Examination{Filters: h.filters(c, n)}
				port, bridge := n.link("port"), n.link("br0")
				n.Examined.Path = path.Facts{
					Node: netip.MustParseAddr("10.9.0.31"), Links: []path.Link{{Index: port.Index, Name: "port", Master: bridge.Index, MasterKind: "bridge"}},
					Wire: path.Wire{From: map[path.Sender]int{{Addr: sender, Link: port.Index}: 9}},
				}
				cause, remedy := notLetIn(c, n)
				if test.want == "" && cause != "" || !strings.Contains(cause, test.want) {
					t.Errorf("got %q, want %q", cause, test.want)
				}
				if cause != "" {
					shell(t, remedy)
					n.Examined.Filters = h.filters(c, n)
					if again, _ := notLetIn(c, n); again != "" {
						t.Errorf("after %q: %s", remedy, again)
					}
				}
			})
		})
	}
}
