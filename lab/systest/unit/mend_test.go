//go:build lab

package unit

import (
	"testing"
	"time"
)

// Word of a change must reach the daemon through all that the unit shuts it off
// with. The sweep, 10 s apart, would hide that it does not.
func TestUnderTheUnitWhatIsChangedIsMendedBeforeTheNextSweep(t *testing.T) {
	site := newSite(t)
	s := start(t, site)
	const soon = 4 * time.Second
	for _, change := range []struct{ name, do, mended string }{
		{"a setting", "sysctl -qw net.ipv4.conf.all.arp_ignore=0", "net.ipv4.conf.all.arp_ignore"},
		{"a setting of an interface that is new", "ip link add link eth0 name eth0.7 type vlan id 7; sysctl -qw net/ipv4/conf/eth0.7/arp_ignore=9", "net.ipv4.conf.eth0/7.arp_ignore"},
		{"the VIP", "ip addr del 10.9.0.100/32 dev tunl0", "address 10.9.0.100/32 on tunl0"},
		{"the packet filter", "nft delete table ip rsagent", "table ip rsagent"},
		{"the module", "modprobe -r ipip", "device tunl0"},
	} {
		before := s.repairs(change.mended)
		began := time.Now()
		_, err := site.Web1.Run("sh", "-ec", change.do)
		ok(t, err)
		for s.repairs(change.mended) == before && time.Since(began) < soon {
			time.Sleep(50 * time.Millisecond)
		}
		if s.repairs(change.mended) == before {
			t.Errorf("%s is not mended within %v", change.name, soon)
		}
		t.Logf("%s: mended within %v", change.name, time.Since(began))
		ok(t, site.Web1.UntilReady())
	}
}

// repairs is how often the journal has a repair of what.
func (s service) repairs(what string) (n int) {
	s.t.Helper()
	for _, e := range s.journal() {
		if e.has("repaired") && e.has(what) {
			n++
		}
	}
	return n
}
