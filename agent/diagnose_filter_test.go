package agent

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rsagent/agent/health"
)

// filteredNode has a tunnel device, one director and one pool.
const filteredNode = `
vips = ["203.0.113.10"]
directors = ["10.9.0.21"]
[[pool]]
name = "web"
vip = "203.0.113.10"
port = 80
`

func TestPacketFiltersInTheWayAreNamed(t *testing.T) {
	for _, test := range []struct{ name, rules, want string }{
		{"no filter at all", "", ""},
		{"a node that lets in what it lives by",
			`table inet filter {
				chain input { type filter hook input priority 0; policy drop
					ct state established,related accept
					iif lo accept
					ip protocol 4 ip saddr 10.9.0.21 accept
					tcp dport { 80, 443 } accept
				}
				chain output { type filter hook output priority 0; policy accept; }
			}`, ""},
		{"IPIP is dropped",
			`table inet filter { chain input { type filter hook input priority 0; ip protocol 4 drop; }; }`,
			"failed filter/directors: IPIP from 10.9.0.21 to 10.9.0.31 is dropped"},
		{"a policy that knows of no tunnel",
			`table ip filter { chain input { type filter hook input priority 0; policy drop; tcp dport 80 accept; }; }`,
			"failed filter/directors: IPIP from 10.9.0.21 to 10.9.0.31 is dropped"},
		{"the pool's port is closed",
			`table ip filter { chain input { type filter hook input priority 0; policy drop; ip protocol 4 accept; }; }`,
			"failed filter/clients: TCP from any client to 203.0.113.10:80 is dropped"},
		{"the port is somebody else's",
			`table ip nat { chain prerouting { type nat hook prerouting priority -100; tcp dport 80 dnat to 172.17.0.2:80; }; }`,
			"failed filter/clients: TCP from any client to 203.0.113.10:80 is changed (172.17.0.2:80)"},
		{"answers are refused",
			`table ip filter { chain output { type filter hook output priority 0; ip saddr 203.0.113.10 reject; }; }`,
			"failed filter/answers: TCP from 203.0.113.10:80 to any client is refused"},
		{"a bridge drops IPIP",
			`table bridge filter { chain input { type filter hook input priority 0; ip protocol 4 drop; }; }`,
			"failed filter/directors: IPIP from 10.9.0.21 to 10.9.0.31 is dropped"},
		{"a bridge drops the answers",
			`table bridge filter { chain output { type filter hook output priority 0; oifname port ip saddr 203.0.113.10 drop; }; }`,
			"failed filter/answers: TCP from 203.0.113.10:80 to any client is dropped"},
		{"a bridge drops what it sends on to others",
			`table bridge filter { chain forward { type filter hook forward priority 0; policy drop; }; }`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			inNamespace(t, func(h Host) {
				shell(t, `
					ip link set lo up
					ip link add port type veth peer name wire
					ip link add eth0 type bridge
					ip link set port master eth0
					ip link set port up; ip link set wire up
					ip addr add 10.9.0.31/24 dev eth0
					ip link set eth0 up
					ip route add default via 10.9.0.1
					ip link add tunl0 type ifb
					ip addr add 203.0.113.10/32 dev tunl0
					ip link set tunl0 up
					nft -f - <<'END'
`+test.rules+"\nEND\n")
				got := filterFindings(t, h)
				words, rest, _ := strings.Cut(got, " by ")
				if diff := cmp.Diff(test.want, words); diff != "" {
					t.Fatalf("what is found (-want +got):\n%s\n%s", diff, rest)
				}
			})
		})
	}
}

// filterFindings returns the findings about packet filters that are not ok, and
// sees to it that the remedy of each mends it.
func filterFindings(t *testing.T, h Host) string {
	t.Helper()
	c := declared(t, filteredNode)
	conditions := needingNothing(filterConditions(c))
	look := func() (bad []health.Finding) {
		n := Node{}
		n.Net, n.NetErr = h.Net.Observe()
		n.Examined = &Examination{Filters: h.filters(c, n)}
		for _, f := range evaluate(conditions, n) {
			if f.Status != health.OK {
				bad = append(bad, f)
			}
		}
		return bad
	}
	found := look()
	var words []string
	for _, f := range found {
		words = append(words, string(f.Status)+" "+f.ID+": "+f.Got)
		shell(t, f.Remedy)
	}
	if len(found) > 0 && len(look()) > 0 && !strings.Contains(found[0].Remedy, "#") {
		t.Errorf("after %q: %+v", found[0].Remedy, look())
	}
	return strings.Join(words, "\n")
}

func needingNothing(conditions []Condition) []Condition {
	for i := range conditions {
		conditions[i].Needs = nil
	}
	return conditions
}

func shell(t *testing.T, script string) {
	t.Helper()
	cmd := exec.Command("sh", "-ec", script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
}
