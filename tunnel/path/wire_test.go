package path

import (
	"net/netip"
	"testing"
	"time"
)

func TestLookingTakesAsLongAsItWatches(t *testing.T) {
	enterNamespace(t, "ip addr add 10.9.0.31/24 dev eth0")
	all, err := links()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	f := Look(questionOn(all))
	took := time.Since(began)
	t.Logf("took %s", took)
	if f.LinksErr != nil || f.WireErr != nil || f.ClassifiersErr != nil || f.ProgramsErr != nil || f.PoliciesErr != nil || f.QueuesErr != nil || f.ClaimsErr != nil {
		t.Errorf("could not look: %+v", f)
	}
	if f.Node != netip.MustParseAddr("10.9.0.31") || f.ForeignErr == nil && !f.Foreign {
		t.Errorf("the node is %s, in a namespace of its own: %v, %v", f.Node, f.Foreign, f.ForeignErr)
	}
	if f.TrialErr == nil {
		t.Error("a node without a tunnel was tried")
	}
	if took > time.Second {
		t.Errorf("took %s", took)
	}
}

func TestWhoAnswersForAnAddress(t *testing.T) {
	enterNamespace(t, "ip addr add 10.9.0.31/24 dev eth0", "ip link set wire address 02:00:00:00:00:09", "ip addr add 10.9.0.100/32 dev wire")
	all, err := links()
	if err != nil {
		t.Fatal(err)
	}
	f := Look(questionOn(all))
	want := Claim{Link: "eth0", MAC: "02:00:00:00:00:09"}
	if got := f.Claims[testVIP]; len(got) != 1 || got[0] != want {
		t.Errorf("%s is claimed by %v, want %v", testVIP, got, want)
	}
}

func TestALinkThatIsDown(t *testing.T) {
	enterNamespace(t, "ip link set wire down", "ip link set eth0 arp off")
	all, err := links()
	if err != nil {
		t.Fatal(err)
	}
	l := linkOf(all, func(l Link) bool { return l.Name == "eth0" })
	if !l.Up || l.Carrier || !l.NoARP || l.Kind != "veth" || l.Type != 1 {
		t.Errorf("eth0 is %+v", *l)
	}
}
