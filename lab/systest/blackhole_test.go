//go:build lab

package systest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"rsagent/lab/network"
)

// Of the black hole: where uploads go, and how large they are.
const (
	uploadPort  = 8000
	uploadBytes = 10 << 20
)

// newBlackHole is a site whose paths take packets of 1500 bytes, which with
// another header in front do not fit, and whose director tells nobody.
func newBlackHole(t *testing.T) (*network.Site, *network.Sink) {
	t.Helper()
	site := newSite(t)
	ok(t, site.Dir1.Direct([]*network.Host{site.Web1}, 80, uploadPort))
	for _, h := range site.Hosts() {
		// Otherwise hosts hand each other packets of up to 64 KiB.
		_, err := h.Run("ethtool", "-K", "eth0", "tso", "off", "gso", "off", "gro", "off")
		ok(t, err)
	}
	_, err := site.Dir1.Run("nft", `
		table ip silence {
			counter unreachable {}
			chain output {
				type filter hook output priority 0
				icmp type destination-unreachable counter name unreachable drop
			}
		}`)
	ok(t, err)
	_, err = site.Web1.StartNginx()
	ok(t, err)
	sink, err := site.Web1.StartSink(uploadPort)
	ok(t, err)
	t.Cleanup(func() { ok(t, sink.Close()) })
	return site, sink
}

func TestTheClampEndsABlackHole(t *testing.T) {
	site, sink := newBlackHole(t)
	for _, test := range []struct {
		name, clamp string
		announced   int
		stalls      bool
	}{
		{"without the clamp an upload hangs", `"off"`, 1460, true},
		{"with the clamp it comes through", `"auto"`, 1440, false},
		{"and hangs again without", `"off"`, 1460, true},
		{"a number is a clamp too", "1400", 1400, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			agent := startAgent(t, site.Web1, site.AgentConfig("[tunnel]\nclamp_mss = "+test.clamp+"\n", network.HTTPPool))
			defer dies(t, agent)
			if mss := announced(t, site); mss != test.announced {
				t.Errorf("the VIP announces an MSS of %d, want %d", mss, test.announced)
			}
			silenced, received, began := unreachable(t, site.Dir1), sink.Received(), time.Now()
			upload, err := site.Client.StartUpload(uploadPort, uploadBytes)
			ok(t, err)
			err = upload.Wait(sink, 5*time.Second)
			t.Logf("after %v: %d bytes came, %v", time.Since(began), sink.Received()-received, err)
			silenced = unreachable(t, site.Dir1) - silenced
			switch {
			case test.stalls && !errors.Is(err, network.ErrStalled):
				t.Errorf("an upload ends with %v, want it to hang", err)
			case test.stalls && silenced == 0:
				t.Error("the director never said that a packet is too large, so something else stopped the upload")
			case !test.stalls && err != nil:
				t.Errorf("an upload fails: %v", err)
			case !test.stalls && silenced > 0:
				t.Errorf("the director had to say %d times that a packet is too large", silenced)
			}
		})
	}
}

// announced is the MSS in the answer of the VIP to a new connection.
func announced(t *testing.T, site *network.Site) int {
	t.Helper()
	capture, err := site.StartCapture()
	ok(t, err)
	allAnswered(t, site.Client.Requests(1), "web1")
	frames, err := capture.Stop()
	ok(t, err)
	const synAck = 2 | 16
	for _, f := range frames {
		if p := f.Packet; f.Host == "client" && !f.Sent && p != nil && p.From == network.VIP && p.Flags == synAck {
			return p.MSS
		}
	}
	t.Fatal("the client got no SYN-ACK")
	return 0
}

// unreachable is how often the director was kept from saying that a packet
// cannot go on.
func unreachable(t *testing.T, director *network.Host) (packets int) {
	t.Helper()
	out, err := director.Run("nft", "list", "counter", "ip", "silence", "unreachable")
	ok(t, err)
	_, after, _ := strings.Cut(out, "packets ")
	_, err = fmt.Sscan(after, &packets)
	ok(t, err)
	return packets
}
