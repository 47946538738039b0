package tunnel

import (
	"net/netip"
	"testing"
)

func TestLinkTowardFollowsTheRoutes(t *testing.T) {
	enterNamespace(t)
	h := openHandle(t)
	must(t, h.SetUp("lo"))
	must(t, h.AddVIP("lo", netip.MustParseAddr("203.0.113.10")))
	node, err := h.Observe()
	must(t, err)
	if got, err := h.LinkToward(netip.MustParseAddr("203.0.113.10")); err != nil || got != node.Links[0].Index {
		t.Errorf("got link %d and %v, want %s", got, err, node.Links[0].Name)
	}
	if got, err := h.LinkToward(netip.MustParseAddr("198.51.100.1")); err == nil {
		t.Errorf("a route to nowhere leads to link %d", got)
	}
}
