//go:build lab

package systest

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rsagent/lab/network"
)

// letter is a packet that somebody sends through the tunnel of web1. It says
// that it comes from web2, which never sent it.
type letter struct {
	sender *network.Host
	syn    bool
	to     netip.Addr
}

// name tells letters apart, also on the wire.
func (l letter) name() string {
	kind := "UDP"
	if l.syn {
		kind = "SYN"
	}
	return fmt.Sprintf("%s from %s to %s", kind, l.sender.Name, l.to)
}

const (
	mailPort = 9999
	// Each letter has a source port of its own: an unanswered SYN-ACK is sent
	// again for a minute, also when the next ones are on their way.
	firstPort = 20000
)

func (l letter) packet(site *network.Site, port int) []byte {
	from := netip.AddrPortFrom(site.Web2.Addr, uint16(port))
	if l.syn {
		return network.SYNPacket(from, netip.AddrPortFrom(l.to, 80))
	}
	return network.UDPPacket(from, netip.AddrPortFrom(l.to, mailPort), l.name())
}

// letters are sent by two hosts that are no directors, and by one that is.
func letters(site *network.Site) []letter {
	var all []letter
	for _, sender := range []*network.Host{site.Client, site.Dir2, site.Dir1} {
		all = append(all,
			letter{sender, false, network.VIP},
			letter{sender, true, network.VIP},
			letter{sender, false, site.Web1.Addr},
			letter{sender, true, site.Web1.Addr})
	}
	return all
}

func TestNobodyButADirectorGetsIn(t *testing.T) {
	site := newSite(t)
	ok(t, site.Dir1.Direct([]*network.Host{site.Web1}, 80))
	_, err := site.Web1.StartNginx()
	ok(t, err)
	config := fmt.Sprintf("vips = [%q]\ndirectors = [%q]\n", network.VIP, site.Dir1.Addr)
	var everything []string
	for _, l := range letters(site) {
		everything = append(everything, l.name())
	}
	for round, test := range []struct {
		name, guard         string
		arrive              []string
		notDirector, notVIP float64
	}{
		{"guarded", "true", []string{"UDP from dir1 to 10.9.0.100", "SYN from dir1 to 10.9.0.100"}, 8, 2},
		{"not guarded", "false", everything, 0, 0},
		{"guarded again", "true", []string{"UDP from dir1 to 10.9.0.100", "SYN from dir1 to 10.9.0.100"}, 8, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			agent := startAgent(t, site.Web1, config+"[tunnel]\nguard = "+test.guard+"\n"+network.HTTPPool)
			defer dies(t, agent)
			truth := watchTruth(t, site, site.Web1)
			slices.Sort(test.arrive)
			if diff := cmp.Diff(test.arrive, arrived(t, site, firstPort+100*round)); diff != "" {
				t.Errorf("got through (-want +got):\n%s", diff)
			}
			wantDropped(t, site.Web1, map[string]float64{"not_director": test.notDirector, "not_vip": test.notVIP})
			truth.end(t)
		})
	}
}

// arrived sends all letters and returns the names of those that web1 took: of
// a UDP packet the text, of a SYN the answer.
func arrived(t *testing.T, site *network.Site, port int) []string {
	t.Helper()
	mailbox, err := site.Web1.OpenMailbox(mailPort)
	ok(t, err)
	defer func() { ok(t, mailbox.Close()) }()
	capture, err := site.StartCapture()
	ok(t, err)
	all := letters(site)
	for i, l := range all {
		ok(t, l.sender.SendEncapsulated(site.Web1, l.packet(site, port+i)))
	}
	for _, sender := range []*network.Host{site.Client, site.Dir2, site.Dir1} {
		// What this comes after has come.
		_, _, err := sender.Get("http://" + site.Web1.Addr.String() + "/")
		ok(t, err)
	}
	time.Sleep(200 * time.Millisecond)
	frames, err := capture.Stop()
	ok(t, err)

	names := mailbox.Mail()
	const synAck = 2 | 16
	for _, f := range frames {
		p := f.Packet
		if !f.Sent || f.Host != "web1" || p == nil || p.Flags != synAck || p.To != site.Web2.Addr {
			continue
		}
		number := int(p.ToPort) - port
		if number >= 0 && number < len(all) && !slices.Contains(names, all[number].name()) {
			names = append(names, all[number].name())
		}
	}
	slices.Sort(names)
	return names
}

// wantDropped waits until the metrics say how much the guard has dropped. They
// do by the next sweep.
func wantDropped(t *testing.T, node *network.Host, want map[string]float64) {
	t.Helper()
	got := map[string]float64{}
	for deadline := time.Now().Add(12 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		for class := range want {
			got[class] = metric(t, node, fmt.Sprintf("rsagent_guard_dropped_packets_total{class=%q}", class))
		}
		if cmp.Equal(want, got) {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("dropped packets by class (-want +got):\n%s", cmp.Diff(want, got))
			return
		}
	}
}
