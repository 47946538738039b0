package path

import (
	"net/netip"
	"testing"
)

func TestWhatStandsInTheWayOfARoutedPacket(t *testing.T) {
	client := netip.MustParseAddr("198.51.100.1")
	in := Flow{In: "wire", From: client, To: testVIP}
	out := Flow{In: "lo", From: testVIP, To: client}
	for _, c := range []struct {
		name   string
		lines  []string
		flow   Flow
		remedy string // empty: nothing is in the way
	}{
		{"nothing", nil, in, ""},
		{"nothing, on the way out", nil, out, ""},
		{"a rule discards what comes in", []string{"ip rule add pref 50 lookup local", "ip rule del pref 0", "ip rule add pref 10 iif wire blackhole"}, in, "ip rule del pref 10"},
		{"a rule for another link", []string{"ip rule add pref 50 lookup local", "ip rule del pref 0", "ip rule add pref 10 iif lo blackhole"}, in, ""},
		{"a rule forbids the answers", []string{"ip rule add pref 77 from 10.9.0.100 prohibit"}, out, "ip rule del pref 77"},
		{"a rule for marked packets", []string{"ip rule add pref 77 fwmark 5 prohibit"}, out, ""},
		{"a rule for all but the VIP", []string{"ip rule add pref 77 not from 10.9.0.100 prohibit"}, out, ""},
		{"a rule for UDP", []string{"ip rule add pref 77 ipproto udp prohibit"}, out, ""},
		{"a table discards the answers", []string{"ip rule add pref 77 from 10.9.0.100 lookup 77", "ip route add blackhole default table 77"}, out, "ip rule del pref 77"},
		{"a route discards the answers", []string{"ip route add unreachable 198.51.100.0/24"}, out, "ip route del unreachable 198.51.100.0/24 table main"},
		{"a longer prefix leads out", []string{"ip route add blackhole 198.51.0.0/16", "ip route add 198.51.100.0/24 via 10.9.0.1"}, out, ""},
		{"a table without a route for it", []string{"ip rule add pref 77 from 10.9.0.100 lookup 77", "ip route add throw default table 77"}, out, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			enterNamespace(t, append([]string{"ip addr add 10.9.0.31/24 dev eth0", "ip addr add 10.9.0.100/32 dev lo", "ip route add default via 10.9.0.1"}, c.lines...)...)
			stop, err := Explain(c.flow)
			if err != nil {
				t.Fatal(err)
			}
			if stop.Remedy != c.remedy {
				t.Fatalf("the remedy is %q, want %q: %+v", stop.Remedy, c.remedy, stop)
			}
			if c.remedy == "" {
				if stop != (Stop{}) {
					t.Errorf("found %+v", stop)
				}
				return
			}
			shell(t, stop.Remedy)
			if stop, err = Explain(c.flow); err != nil || stop != (Stop{}) {
				t.Errorf("the remedy leaves %+v, %v", stop, err)
			}
		})
	}
}
