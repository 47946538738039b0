//go:build lab

package path

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFiltersOfTCThatTakeThePackets(t *testing.T) {
	const clsact = "tc qdisc add dev eth0 clsact"
	const in = "tc filter add dev eth0 ingress pref 7 "
	for _, c := range []struct {
		name  string
		lines []string
		want  []string // the remedies
	}{
		{"none", nil, nil},
		{"an empty hook", []string{clsact}, nil},
		{"matchall drops", []string{clsact, in + "matchall action drop"}, []string{"tc filter del dev eth0 ingress pref 7"}},
		{"the old hook too", []string{"tc qdisc add dev eth0 ingress", "tc filter add dev eth0 parent ffff: pref 9 matchall action drop"}, []string{"tc filter del dev eth0 ingress pref 9"}},
		{"u32 drops IPIP", []string{clsact, in + "protocol ip u32 match ip protocol 4 0xff action drop"}, []string{"tc filter del dev eth0 ingress pref 7"}},
		{"u32 drops a director", []string{clsact, in + "protocol ip u32 match ip src 10.9.0.21/32 action drop"}, []string{"tc filter del dev eth0 ingress pref 7"}},
		{"u32 drops another host", []string{clsact, in + "protocol ip u32 match ip src 10.9.0.77/32 action drop"}, nil},
		{"flower drops IPIP", []string{clsact, in + "protocol ip flower ip_proto 4 action drop"}, []string{"tc filter del dev eth0 ingress pref 7"}},
		{"flower drops UDP", []string{clsact, in + "protocol ip flower ip_proto udp action drop"}, nil},
		{"flower drops what has another TTL", []string{clsact, in + "protocol ip flower ip_proto 4 ip_ttl 1 action drop"}, nil},
		{"flower drops IPv6", []string{clsact, in + "protocol ipv6 flower action drop"}, nil},
		{"an earlier filter lets them through", []string{clsact, "tc filter add dev eth0 ingress pref 3 matchall action ok", in + "matchall action drop"}, nil},
		{"an earlier filter marks them", []string{clsact, "tc filter add dev eth0 ingress pref 3 matchall action continue", in + "matchall action drop"}, []string{"tc filter del dev eth0 ingress pref 7"}},
		{"flower drops the answers", []string{clsact, "tc filter add dev eth0 egress pref 5 protocol ip flower ip_proto tcp src_port 80 action drop"}, []string{"tc filter del dev eth0 egress pref 5"}},
		{"flower drops answers of another service", []string{clsact, "tc filter add dev eth0 egress pref 5 protocol ip flower ip_proto tcp src_port 81 action drop"}, nil},
		{"they are copied", []string{clsact, in + "matchall action mirred egress mirror dev wire"}, nil},
		{"they are sent elsewhere", []string{clsact, in + "matchall action mirred egress redirect dev wire"}, []string{"tc filter del dev eth0 ingress pref 7"}},
		{"another chain drops", []string{clsact, in + "chain 5 matchall action drop"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			enterNamespace(t, c.lines...)
			all, err := links()
			if err != nil {
				t.Fatal(err)
			}
			q := questionOn(all)
			stops, err := taken(all, q)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range stops {
				got = append(got, s.Remedy)
				shell(t, s.Remedy)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				for _, parent := range []uint32{ingressMinor, egressMinor, 0xffff0000} {
					list, err := filters(*linkOf(all, func(l Link) bool { return l.Name == "eth0" }), parent)
					t.Logf("%+v %v", list, err)
				}
				t.Errorf("(-want +got)\n%s", diff)
			}
			if left, err := taken(all, q); err != nil || len(left) > 0 {
				t.Errorf("the remedies leave %v, %v", left, err)
			}
		})
	}
}

// taken is what stands in the way on the links as they are now.
func taken(links []Link, q Question) ([]Stop, error) {
	hooks, err := queues(links)
	if err != nil {
		return nil, err
	}
	return classifiers(links, hooks, q, samplesOf(q, testNode))
}
