package path

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// proc is what Linux 6.1 lists.
const proc = `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
UDP  0A090064:0035 rr  
  -> 0A09001F:0035      Tunnel  1      0          0         
TCP  0A090064:0050 wlc  persistent 600
  -> 0A090020:0050      Tunnel  1      3          12        
  -> 0A09001F:0050      Local   1      0          0         
  -> 0A090021:0050      Tunnel  0      0          0         
FWM  00000001 rr  
  -> 0A090020:0000      Tunnel  1      0          0         
TCP  [2001:0db8:0000:0000:0000:0000:0000:0001]:0050 rr
  -> [2001:0db8:0000:0000:0000:0000:0000:0002]:0050      Tunnel  1      0          0         
TCP  0A090064:01BB rr  
`

func TestVirtualServicesOfTCPAndWhoGetsNewConnections(t *testing.T) {
	at := netip.MustParseAddrPort
	want := []virtualService{
		{at("10.9.0.100:80"), []netip.AddrPort{at("10.9.0.32:80"), at("10.9.0.31:80")}},
		{at("10.9.0.100:443"), nil},
	}
	got := virtualServices(proc)
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(virtualService{}), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestWhichVirtualServicesClientsAskFor(t *testing.T) {
	vip, at := netip.MustParseAddr("10.9.0.100"), netip.MustParseAddrPort
	pools := Question{VIPs: []netip.Addr{vip}, Services: []netip.AddrPort{at("10.9.0.100:80")}}
	for _, x := range []struct {
		name    string
		q       Question
		service string
		want    bool
	}{
		{"a pool", pools, "10.9.0.100:80", true},
		{"another port", pools, "10.9.0.100:8080", false},
		{"every port of the VIP", pools, "10.9.0.100:0", true},
		{"another address", pools, "10.9.0.101:80", false},
		{"a port where no pool is known", Question{VIPs: []netip.Addr{vip}}, "10.9.0.100:8080", true},
	} {
		t.Run(x.name, func(t *testing.T) {
			if got := asksFor(x.q, at(x.service)); got != x.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func FuzzVirtualServices(f *testing.F) {
	f.Add(proc)
	f.Fuzz(func(t *testing.T, list string) {
		for _, v := range virtualServices(list) {
			if !v.at.IsValid() {
				t.Errorf("a service without an address: %v", v)
			}
		}
	})
}
