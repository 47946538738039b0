package agent

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/tunnel/path"
)

func TestTheDiagnosisOfAWay(t *testing.T) {
	director, vip := netip.MustParseAddr("10.9.0.21"), netip.MustParseAddr("10.9.0.100")
	c := config.Config{
		Tunnel: config.Tunnel{Mode: config.ModeIPIP, Device: "tunl0"}, VIPs: []netip.Addr{vip},
		Directors: []netip.Prefix{netip.PrefixFrom(director, 32)},
	}
	eth0 := path.Link{Index: 2, Name: "eth0", Type: 1, Up: true, Carrier: true, Kind: "veth"}
	tunl0 := path.Link{Index: 3, Name: "tunl0", Kind: "ipip", Up: true, Carrier: true}
	good := path.Trial{Service: netip.AddrPortFrom(vip, 80), Client: netip.AddrPortFrom(director, 40000), Looped: true,
		Unwrapped: "tunl0", Granted: true, By: "eth0", As: netip.AddrPortFrom(vip, 80)}
	half := good
	half.Granted, half.Half, half.As = false, true, netip.AddrPort{}
	lost := half
	lost.Half = false
	disguised := good
	disguised.As = netip.MustParseAddrPort("10.9.0.31:80")
	mac := func(m string) path.Claim { return path.Claim{Link: "eth0", MAC: m} }
	claims := func(more ...path.Claim) map[netip.Addr][]path.Claim {
		return map[netip.Addr][]path.Claim{director: {mac("02:00:0a:09:00:15")}, vip: more}
	}
	sent := func(n int) map[path.Sender]int { return map[path.Sender]int{{Addr: director, Link: 2}: n} }
	stuck := func(kind, parent string) path.Queue {
		full := path.Traffic{Bytes: 900, Waiting: 9, WaitingBytes: 900}
		return path.Queue{Link: "eth0", Kind: kind, Parent: parent, Root: parent == "", Watched: 2 * time.Second, Before: full, After: full}
	}
	busy := stuck("pfifo_fast", "")
	busy.After.Bytes += 90_000
	stranger := map[path.Sender]int{{Addr: netip.MustParseAddr("192.0.2.1"), Link: 2}: 9}
	for _, x := range []struct {
		name string
		id   string
		do   func(*path.Facts)
		want health.Status
	}{
		{"a good node", pathInID, func(f *path.Facts) { f.Trials = []path.Trial{good} }, health.OK},
		{"a service has no socket, and says so", pathInID, func(f *path.Facts) { r := lost; r.Refused = true; f.Trials = []path.Trial{r} }, health.OK},
		{"nothing may be tried", pathInID, func(f *path.Facts) { f.TrialErr = errors.New("no") }, health.Unknown},
		{"a trial is lost", pathInID, func(f *path.Facts) { f.Trials = []path.Trial{lost} }, health.Failed},
		{"a trial is lost for one client only", pathInID, func(f *path.Facts) { f.Trials = []path.Trial{lost, good} }, health.OK},
		{"the answer is lost", pathOutID, func(f *path.Facts) { f.Trials = []path.Trial{half}; f.Resolved = map[netip.Addr]bool{director: true} }, health.Failed},
		{"the answer waits for a director that is off", pathOutID, func(f *path.Facts) { f.Trials = []path.Trial{half} }, health.OK},
		{"the answer has another source", pathOutID, func(f *path.Facts) { f.Trials = []path.Trial{disguised} }, health.Failed},
		{"nothing came", pathVanishID, func(*path.Facts) {}, health.OK},
		{"directors send, and all comes out", pathVanishID, func(f *path.Facts) { f.Wire = path.Wire{From: sent(20), Unwrapped: 20, Asked: 9, Answered: 9} }, health.OK},
		{"directors send, and nothing comes out", pathVanishID, func(f *path.Facts) { f.Wire = path.Wire{From: sent(20)} }, health.Failed},
		{"what comes out is not answered", pathVanishID, func(f *path.Facts) { f.Wire = path.Wire{From: sent(20), Unwrapped: 20, Asked: 9} }, health.Failed},
		{"directors' packets are marked, and dropped for it", pathECNID, func(f *path.Facts) { f.Wire = path.Wire{From: sent(20), Congested: sent(5)} }, health.Failed},
		{"a stranger's packets are marked", pathECNID, func(f *path.Facts) { f.Wire = path.Wire{From: stranger, Congested: stranger} }, health.OK},
		{"a branch loses all, and trials get answers", pathLossID, func(f *path.Facts) {
			f.Queues, f.Trials = []path.Queue{{Link: "eth0", Kind: "netem", Parent: "1:3", Loss: 1}}, []path.Trial{good}
		}, health.OK},
		{"a branch loses all, and trials get none", pathLossID, func(f *path.Facts) {
			f.Queues, f.Trials = []path.Queue{{Link: "eth0", Kind: "netem", Parent: "1:3", Loss: 1}}, []path.Trial{half}
		}, health.Failed},
		{"a stranger sends", "path/strangers", func(f *path.Facts) { f.Wire = path.Wire{From: stranger} }, health.Failed},
		{"a director sends", "path/strangers", func(f *path.Facts) { f.Wire = path.Wire{From: sent(20)} }, health.OK},
		{"no carrier", pathLinksID, func(f *path.Facts) { f.Links[0].Carrier = false }, health.Failed},
		{"no ARP", pathLinksID, func(f *path.Facts) { f.Links[0].NoARP = true }, health.Failed},
		{"no ARP, and none needed", pathLinksID, func(f *path.Facts) {
			f.Links[0].NoARP, f.Gateway = true, path.Gateway{Link: 2, State: unix.NUD_PERMANENT}
		}, health.OK},
		{"an obstacle", pathTCID, func(f *path.Facts) { f.Classifiers = []path.Stop{{Where: "x", Why: "drops them"}} }, health.Failed},
		{"obstacles cannot be listed", pathTCID, func(f *path.Facts) { f.ClassifiersErr = errors.New("no") }, health.Unknown},
		{"a tunnel takes them, and serves", pathTunnelsID, func(f *path.Facts) {
			f.Tunnels = []path.Stop{{Where: "the tunnel t1", Why: "takes"}}
			f.Trials = []path.Trial{good}
		}, health.OK},
		{"this node balances, too", pathIPVSID, func(f *path.Facts) { f.Balancers = []path.Stop{{Where: "IPVS", Why: "sends on"}} }, health.Failed},
		{"services of IPVS cannot be listed", pathIPVSID, func(f *path.Facts) { f.BalancersErr = errors.New("no") }, health.Unknown},
		{"a tunnel takes them", pathTunnelsID, func(f *path.Facts) {
			f.Tunnels = []path.Stop{{Where: "the tunnel t1", Why: "takes"}}
			f.Trials = []path.Trial{lost}
		}, health.Failed},
		{"the kernel is deaf to ARP", pathARPID, func(f *path.Facts) { f.Unheard = []netip.Addr{director} }, health.Failed},
		{"ARP was not asked", pathARPID, func(f *path.Facts) { f.ClaimsErr = errors.New("no") }, health.OK},
		{"a director answers for the VIP", "arp/elsewhere", func(f *path.Facts) { f.Claims = claims(mac("02:00:0a:09:00:15")) }, health.OK},
		{"somebody else does", "arp/elsewhere", func(f *path.Facts) { f.Claims = claims(mac("02:00:0a:09:00:20")) }, health.Failed},
		{"a virtual router does", "arp/elsewhere", func(f *path.Facts) { f.Claims = claims(mac("00:00:5e:00:01:33")) }, health.OK},
		{"two do", "arp/conflict", func(f *path.Facts) { f.Claims = claims(mac("02:00:0a:09:00:15"), mac("02:00:0a:09:00:20")) }, health.Failed},
		{"tests of a bad network", pathLossID, func(f *path.Facts) { f.Queues = []path.Queue{{Link: "eth0", Kind: "netem", Root: true, Loss: 1}} }, health.Failed},
		{"a little loss does not end service", pathLossID, func(f *path.Facts) { f.Queues = []path.Queue{{Link: "eth0", Kind: "netem", Root: true, Loss: 0.1}} }, health.OK},
		{"a little loss is told", "path/queue", func(f *path.Facts) { f.Queues = []path.Queue{{Link: "eth0", Kind: "netem", Root: true, Loss: 0.1}} }, health.Failed},
		{"a shaper lets nothing out, and trials get no answer", pathLossID, func(f *path.Facts) {
			f.Queues, f.Trials = []path.Queue{stuck("tbf", "")}, []path.Trial{half}
		}, health.Failed},
		{"a shaper lets nothing out for others than clients", pathLossID, func(f *path.Facts) {
			f.Queues, f.Trials = []path.Queue{{Link: "eth0", Kind: "htb", Root: true}, stuck("pfifo", "1:20"), {Link: "eth0", Kind: "pfifo", Parent: "1:10"}}, []path.Trial{good}
		}, health.OK},
		{"a class lets nothing out, and trials get no answer", pathLossID, func(f *path.Facts) {
			f.Queues, f.Trials = []path.Queue{{Link: "eth0", Kind: "htb", Root: true}, stuck("pfifo", "1:20"), {Link: "eth0", Kind: "pfifo", Parent: "1:10"}}, []path.Trial{half}
		}, health.Failed},
		{"the shaper of another link", pathLossID, func(f *path.Facts) {
			q := stuck("tbf", "")
			q.Link = "tunl0"
			f.Queues, f.Trials = []path.Queue{q}, []path.Trial{half}
		}, health.OK},
		{"what is beneath the link lets nothing out", pathLossID, func(f *path.Facts) {
			q := stuck("tbf", "")
			q.Link = "tunl0"
			f.Queues, f.Trials, f.Beneath = []path.Queue{q}, []path.Trial{half}, []int{3}
		}, health.Failed},
		{"a shaper drops all", pathLossID, func(f *path.Facts) {
			f.Queues = []path.Queue{{Link: "eth0", Kind: "tbf", Root: true, Watched: time.Second, After: path.Traffic{Dropped: 9}}}
		}, health.Failed},
		{"a queue that is full goes on", pathLossID, func(f *path.Facts) {
			f.Queues, f.Trials = []path.Queue{busy}, []path.Trial{half}
		}, health.OK},
		{"answers wait, and come", "path/queue", func(f *path.Facts) {
			f.Queues, f.Trials = []path.Queue{stuck("pfifo_fast", "")}, []path.Trial{good}
		}, health.Failed},
		{"some flows wait where each has a queue of its own", "path/queue", func(f *path.Facts) {
			f.Queues, f.Trials = []path.Queue{stuck("fq_codel", "")}, []path.Trial{good}
		}, health.OK},
		{"a queue that is full is quick", "path/queue", func(f *path.Facts) { f.Queues = []path.Queue{busy} }, health.OK},
		{"queues cannot be listed", "path/queue", func(f *path.Facts) { f.QueuesErr = errors.New("no") }, health.Unknown},
		{"UDP is answered from the node's own address", "path/udp", func(f *path.Facts) {
			f.Wire.Misnamed = map[netip.AddrPort]int{netip.AddrPortFrom(vip, 53): 5}
		}, health.Failed},
		{"UDP is answered from the VIP", "path/udp", func(f *path.Facts) { f.Wire = path.Wire{From: sent(20), Unwrapped: 20} }, health.OK},
		{"UDP may not be watched", "path/udp", func(f *path.Facts) { f.WireErr = errors.New("no") }, health.Unknown},
		{"a limit is reached", "limits/conntrack", func(f *path.Facts) { f.Limits = []path.Limit{{ID: "conntrack", Got: "9 of 9"}} }, health.Failed},
		{"another limit is reached", "limits/ttl", func(f *path.Facts) { f.Limits = []path.Limit{{ID: "conntrack"}} }, health.OK},
	} {
		t.Run(x.name, func(t *testing.T) {
			n := Node{Facing: []int{2}, Examined: &Examination{Services: &Services{}, Path: path.Facts{Links: []path.Link{eth0, tunl0}}}}
			x.do(&n.Examined.Path)
			found := false
			for _, condition := range append(underneath(c), diagnosis(c)...) {
				if condition.ID == x.id {
					found = true
					if v := condition.Evaluate(n); v.Status != x.want || v.Status == health.Failed && v.Got == "" {
						t.Errorf("%s: got %+v, want %s", x.id, v, x.want)
					}
				}
			}
			if !found {
				t.Fatalf("there is no %s", x.id)
			}
		})
	}
}

func TestNothingOfTheDiagnosisNeedsWhatComesLater(t *testing.T) {
	c := config.Config{Tunnel: config.Tunnel{Mode: config.ModeIPIP, Device: "tunl0"}, VIPs: []netip.Addr{netip.MustParseAddr("10.9.0.100")}}
	known := map[string]bool{}
	for _, condition := range Examined(c) {
		for _, need := range condition.Needs {
			if !known[need] {
				t.Errorf("%s needs %s, which does not come before it", condition.ID, need)
			}
		}
		if known[condition.ID] {
			t.Errorf("%s is there twice", condition.ID)
		}
		if condition.Effect == "" {
			t.Errorf("%s has no effect", condition.ID)
		}
		known[condition.ID] = true
	}
}

// A packet of the node's own says nothing of those of directors: a guard lets
// those in and it not.
func TestATrialWithoutDirectorsThatIsKeptOutIsNoFault(t *testing.T) {
	lost := path.Trial{Service: netip.MustParseAddrPort("203.0.113.10:80"), Looped: true}
	inside := lost
	inside.Unwrapped = "tunl0"
	for _, x := range []struct {
		name      string
		directors string
		trial     path.Trial
		want      health.Status
	}{
		{"no directors, kept out of the tunnel", "", lost, health.OK},
		{"a network of directors, kept out of the tunnel", `"10.0.0.0/24"`, lost, health.OK},
		{"a director, kept out of the tunnel", `"10.0.0.7"`, lost, health.Failed},
		{"no directors, lost behind the tunnel", "", inside, health.Failed},
	} {
		t.Run(x.name, func(t *testing.T) {
			c, err := config.Parse("test.toml", []byte("vips = [\"203.0.113.10\"]\ndirectors = ["+x.directors+"]\n"))
			if err != nil {
				t.Fatal(err)
			}
			n := Node{Examined: &Examination{Services: &Services{}, Path: path.Facts{Trials: []path.Trial{x.trial}}}}
			if v := trialArrives(c, nil).Evaluate(n); v.Status != x.want {
				t.Errorf("got %+v, want %s", v, x.want)
			}
		})
	}
}

func TestATrialThatAFullPoolDropsSaysNothingOfTheWay(t *testing.T) {
	service := netip.AddrPortFrom(vip, 80)
	pool := declared(t, `vips = ["203.0.113.10"]
directors = ["10.9.0.21"]
[[pool]]
name = "web"
vip = "203.0.113.10"
port = 80
`)
	for _, test := range []struct {
		name  string
		c     config.Config
		queue uint32
		want  health.Status
	}{
		{"a pool with room", pool, 5, health.Failed},
		{"a pool without room", pool, 6, health.OK},
		{"no pool tells of the service", oneVIPOnly(t), 6, health.Failed},
	} {
		t.Run(test.name, func(t *testing.T) {
			services := goodServices()
			services.Listeners[0].Queue, services.Listeners[0].Limit = test.queue, 5
			n := Node{Examined: &Examination{Services: services, Path: path.Facts{
				Trials: []path.Trial{{Service: service, Looped: true, Unwrapped: "tunl0"}},
			}}}
			if v := trialArrives(test.c, nil).Evaluate(n); v.Status != test.want {
				t.Errorf("got %+v, want %s", v, test.want)
			}
		})
	}
}

func oneVIPOnly(t *testing.T) config.Config {
	t.Helper()
	return declared(t, "vips = [\"203.0.113.10\"]\ndirectors = [\"10.9.0.21\"]\n")
}
