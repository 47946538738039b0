package path

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestThePortByWhichABridgeHasAHost(t *testing.T) {
	const bridge = "ip link add br0 type bridge; ip link set eth0 master br0; ip link set br0 up; ip addr add 10.9.0.31/24 dev br0"
	for _, x := range []struct {
		name  string
		lines []string
		want  string // empty: it is not known
	}{
		{"the only one", []string{bridge}, "eth0"},
		{"none", []string{"ip link add br0 type bridge; ip link set br0 up"}, ""},
		{"two, and the host was never heard of", []string{bridge, "ip link add tap0 type veth peer name tap1; ip link set tap0 master br0"}, ""},
		{"two, and the bridge has learnt one", []string{bridge, "ip link add tap0 type veth peer name tap1; ip link set tap0 master br0",
			"ip neigh add 10.9.0.21 lladdr 02:00:00:00:00:21 dev br0; bridge fdb add 02:00:00:00:00:21 dev tap0 master static"}, "tap0"},
	} {
		t.Run(x.name, func(t *testing.T) {
			enterNamespace(t, x.lines...)
			all, err := links()
			if err != nil {
				t.Fatal(err)
			}
			named := func(index int) string {
				if l := linkOf(all, func(l Link) bool { return l.Index == index }); l != nil {
					return l.Name
				}
				return ""
			}
			br0 := linkOf(all, func(l Link) bool { return l.Name == "br0" })
			port, ok := (&Bridges{}).Port(br0.Index, testDirector)
			if got := named(port); got != x.want || ok != (x.want != "") {
				t.Errorf("got %q, %t, want %q", got, ok, x.want)
			}
			under, tagged := (&Bridges{links: all}).beneath([]int{br0.Index}, questionOn(all).Directors)
			if (len(under) > 0) != ok || len(tagged) > 0 || ok && named(under[0]) != x.want {
				t.Errorf("beneath the bridge are %v and %v, want %q", under, tagged, x.want)
			}
		})
	}
}

func TestWhatIsBeneathALink(t *testing.T) {
	list := []Link{
		{Index: 1, Name: "eth0", Master: 3, Up: true}, {Index: 2, Name: "eth1", Master: 3, Up: true}, {Index: 9, Name: "eth2", Master: 3},
		{Index: 3, Name: "bond0", Kind: "bond", Up: true}, {Index: 4, Name: "bond0.100", Kind: "vlan", lower: 3}, {Index: 5, Name: "veth0", Kind: "veth", lower: 1},
	}
	for _, x := range []struct {
		name          string
		over          int
		under, tagged int // how many
	}{{"a bond", 3, 2, 0}, {"a VLAN on a bond", 4, 0, 3}, {"one end of a pair", 5, 0, 0}, {"a NIC", 1, 0, 0}} {
		if under, tagged := (&Bridges{links: list}).beneath([]int{x.over}, nil); len(under) != x.under || len(tagged) != x.tagged {
			t.Errorf("beneath %s are %v and %v, want %d and %d", x.name, under, tagged, x.under, x.tagged)
		}
	}
}

func TestAProgramOnThePortOfABridgeIsInTheWay(t *testing.T) {
	enterNamespace(t, "ip link add br0 type bridge; ip link set eth0 master br0; ip link set br0 up; ip addr add 10.9.0.31/24 dev br0",
		"ip link add tap0 type veth peer name tap1; ip link set tap0 master br0",
		"ip neigh add 10.9.0.21 lladdr 02:00:00:00:00:21 dev br0; bridge fdb add 02:00:00:00:00:21 dev eth0 master static")
	all, err := links()
	if err != nil {
		t.Fatal(err)
	}
	index := func(name string) int { return linkOf(all, func(l Link) bool { return l.Name == name }).Index }
	q := questionOn(all)
	q.Facing = []int{index("br0")}
	const drop = 2
	if !attachTCX(t, index("tap0"), unix.BPF_TCX_INGRESS, returns(drop)) {
		return // a kernel without tcx has no programs of it
	}
	if f := Look(q); len(f.Classifiers) != 0 || f.ClassifiersErr != nil {
		t.Errorf("a program on the port of others is in the way: %+v, %v", f.Classifiers, f.ClassifiersErr)
	}
	attachTCX(t, index("eth0"), unix.BPF_TCX_INGRESS, returns(drop))
	if f := Look(q); len(f.Classifiers) != 1 || f.Classifiers[0].Leg != Outer {
		t.Errorf("a program on the port of the director is not in the way: %+v, %v", f.Classifiers, f.ClassifiersErr)
	}
}
