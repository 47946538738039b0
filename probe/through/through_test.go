package through

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rsagent/packet"
)

// short is a timeout for questions that get no answer: one SYN, and a second.
const short = 400 * time.Millisecond

func TestAGoodNodeIsGoodFromBothDirectors(t *testing.T) {
	for _, role := range []string{"active", "backup"} {
		t.Run(role, func(t *testing.T) {
			director, node := newPair(t)
			if role == "active" {
				active(director)
			}
			node.unwrap()
			node.listen(":80")
			for range 20 {
				r := director.ask1(Question{})
				if r.State != Good || r.Weight != 100 || r.Took <= 0 || r.Why != "" {
					t.Fatalf("got %+v", r)
				}
			}
			until(t, "no connection is left half open", func() bool { return node.halfOpen() == 0 })
		})
	}
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 100 {
		if is() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("not within a second: %s", what)
}

func TestEachFaultIsFoundFromBothDirectors(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(director, node *host)
		why  string // how it begins
		hint string // what one of the likely causes has
	}{
		{"nothing listens", func(_, _ *host) {},
			"it refuses the connection", "nothing on the node listens on port 80"},
		{"the VIP is missing", func(_, node *host) { node.listen(":80"); node.shell("ip addr del 10.9.0.100/32 dev in1") },
			"no SYN-ACK from the VIP within 400ms", "tunl0 lacks the VIP"},
		{"the link that unwraps is down", func(_, node *host) { node.listen(":80"); node.shell("ip link set in1 down") },
			"no SYN-ACK from the VIP within 400ms", "tunl0 lacks the VIP"},
		{"rp_filter is strict", func(_, node *host) {
			node.listen(":80")
			node.shell("echo 1 > /proc/sys/net/ipv4/conf/in1/rp_filter")
		}, "no SYN-ACK from the VIP within 400ms", "rp_filter is strict"},
		{"the answers are discarded", func(_, node *host) {
			node.listen(":80")
			node.shell("ip rule add pref 7 from 10.9.0.100 blackhole")
		}, "no SYN-ACK from the VIP within 400ms", "do not find back to 10.9.0.21"},
		{"protocol 4 is dropped", func(_, node *host) {
			node.listen(":80")
			node.shell("nft 'table ip t { chain c { type filter hook prerouting priority 0; ip protocol 4 drop; }; }'")
		}, "no SYN-ACK from the VIP within 400ms", "protocol 4 from 10.9.0.21 is dropped"},
		{"protocol 4 is prohibited", func(_, node *host) {
			node.listen(":80")
			// A filter's "reject" stays silent for IPIP: it takes the sum of what is in it
			// for wrong (nf_reject_verify_csum in include/net/netfilter/nf_reject.h).
			node.shell("echo 1 > /proc/sys/net/ipv4/conf/eth0/forwarding", "ip rule add pref 10 lookup local", "ip rule del pref 0",
				"ip rule add pref 5 iif eth0 ipproto 4 prohibit")
		}, "it answers IPIP by ICMP administratively prohibited", "--add-protocol=ipip"},
		{"what is unwrapped is prohibited", func(_, node *host) {
			node.listen(":80")
			node.shell("nft 'table ip t { chain c { type filter hook input priority 0; iifname in1 reject with icmp type host-prohibited; }; }'")
		}, "it unwraps the SYN and answers by ICMP host prohibited", "packet filter rejects what comes out"},
		{"the packet filter resets", func(_, node *host) {
			node.listen(":80")
			node.shell("nft 'table ip t { chain c { type filter hook input priority 0; tcp dport 80 reject with tcp reset; }; }'")
		}, "it refuses the connection", "rejects with a reset"},
		{"the answers are masqueraded", func(_, node *host) {
			node.listen(":80")
			node.shell("nft 'table ip t { chain c { type nat hook postrouting priority 100; }; chain d { type filter hook output priority -300; ip saddr 10.9.0.100 ip saddr set 10.9.0.31; }; }'")
		}, "the answer comes from 10.9.0.31:80, not from the VIP", "rewrites what the VIP sends"},
		{"the node has no route for the VIP", func(_, node *host) {
			node.listen(":80")
			node.shell("ip addr del 10.9.0.100/32 dev in1", "ip route add unreachable 10.9.0.100", "echo 1 > /proc/sys/net/ipv4/conf/in1/forwarding")
		}, "it unwraps the SYN and answers by ICMP host unreachable", "the node lacks the VIP"},
		{"this host's packet filter drops IPIP", func(director, _ *host) {
			director.shell("nft 'table ip t { chain c { type filter hook output priority 0; ip protocol 4 drop; }; }'")
		}, "the packet filter of this host drops IPIP to 10.9.0.31", ""},
		{"this host has no route", func(director, _ *host) { director.shell("ip route add unreachable 10.9.0.31") },
			"this host has no route to 10.9.0.31: no route to host", ""},
		{"the node is not there", func(_, node *host) { node.shell("ip addr del 10.9.0.31/24 dev eth0") },
			"no SYN-ACK from the VIP within 400ms", "it does not answer ARP for 10.9.0.31"},
	} {
		for _, role := range []string{"active", "backup"} {
			t.Run(test.name+", "+role, func(t *testing.T) {
				t.Parallel()
				director, node := newPair(t)
				if role == "active" {
					active(director)
				}
				node.unwrap()
				test.do(director, node)
				r := director.ask1(Question{Timeout: short})
				if r.State != Failed || r.Weight != 0 || !strings.HasPrefix(r.Why, test.why) {
					t.Errorf("got %+v\nwant %s", r, test.why)
				}
				if !strings.Contains(strings.Join(r.Likely, "\n"), test.hint) {
					t.Errorf("likely is %q, want %q", r.Likely, test.hint)
				}
				until(t, "no connection is left half open", func() bool { return node.halfOpen() == 0 })
			})
		}
	}
}

// Without anybody who takes protocol 4, the kernel itself says so.
func TestANodeWithoutIPIPSaysSo(t *testing.T) {
	director, node := newPair(t)
	node.listen(":80")
	r := director.ask1(Question{})
	if r.Why != "it answers IPIP by ICMP protocol unreachable" || !strings.Contains(r.Likely[0], "modprobe ipip") {
		t.Errorf("got %+v", r)
	}
}

// granting is the answer to a SYN with the acknowledgement that is asked for.
func granting(syn packet.Header, from netip.AddrPort, ack uint32) []byte {
	return packet.Segment{From: from, To: syn.Source(), Flags: packet.SYN | packet.ACK, Seq: 77, Ack: ack}.Packet()
}

func TestAnswersThatAreForgedLateOrLost(t *testing.T) {
	other := netip.MustParseAddrPort("10.9.0.99:80")
	for _, test := range []struct {
		name string
		how  func(nth int, syn packet.Header) [][]byte
		want State
		why  string
	}{
		{"a wrong number is no answer", func(_ int, syn packet.Header) [][]byte {
			return [][]byte{granting(syn, testVIP, syn.Seq), granting(syn, testVIP, syn.Seq+2)}
		}, Failed, "no SYN-ACK from the VIP within 400ms, and 4 with a wrong number"},
		{"a forged reset with a wrong number is no answer", func(_ int, syn packet.Header) [][]byte {
			return [][]byte{packet.Segment{From: testVIP, To: syn.Source(), Flags: packet.RST | packet.ACK, Ack: 1}.Packet(), granting(syn, testVIP, syn.Seq+1)}
		}, Good, ""},
		{"a forged answer does not hide the real one", func(_ int, syn packet.Header) [][]byte {
			return [][]byte{granting(syn, testVIP, syn.Seq+9), granting(syn, testVIP, syn.Seq+1)}
		}, Good, ""},
		{"an answer for another port is no answer", func(_ int, syn packet.Header) [][]byte {
			syn.Ports[0]++
			return [][]byte{granting(syn, testVIP, syn.Seq+1)}
		}, Failed, "no SYN-ACK"},
		{"an answer from elsewhere is told apart", func(_ int, syn packet.Header) [][]byte {
			return [][]byte{granting(syn, other, syn.Seq+1)}
		}, Failed, "the answer comes from 10.9.0.99:80, not from the VIP"},
		{"a SYN that is lost is sent again", func(nth int, syn packet.Header) [][]byte {
			if nth == 1 {
				return nil
			}
			return [][]byte{granting(syn, testVIP, syn.Seq+1)}
		}, Good, ""},
		{"an answer may take a while", func(_ int, syn packet.Header) [][]byte {
			time.Sleep(100 * time.Millisecond)
			return [][]byte{granting(syn, testVIP, syn.Seq+1)}
		}, Good, ""},
		{"a late answer is none", func(_ int, syn packet.Header) [][]byte {
			time.Sleep(600 * time.Millisecond)
			return [][]byte{granting(syn, testVIP, syn.Seq+1)}
		}, Failed, "no SYN-ACK"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			director, node := newPair(t)
			nth := 0
			others := node.answer(func(syn packet.Header) [][]byte { nth++; return test.how(nth, syn) })
			began := time.Now()
			r := director.ask1(Question{Timeout: short})
			if r.State != test.want || !strings.HasPrefix(r.Why, test.why) {
				t.Errorf("got %+v, want %s: %s", r, test.want, test.why)
			}
			if took := time.Since(began); took > short+500*time.Millisecond {
				t.Errorf("it took %v", took)
			}
			until(t, "the connection is reset", func() bool { return others() == 1 })
		})
	}
}

// Two at the same time share the service, and neither takes the other's answer.
func TestProbesAtTheSameTime(t *testing.T) {
	director, node := newPair(t)
	active(director)
	node.unwrap()
	node.listen(":80")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 10 {
				results, err := director.ask(Question{VIP: testVIP, Reals: []netip.Addr{testNode}})
				if err != nil || results[0].State != Good {
					t.Errorf("got %+v, %v", results, err)
				}
			}
		})
	}
	all.Wait()
	until(t, "no connection is left half open", func() bool { return node.halfOpen() == 0 })
}

func TestAHundredNodesAtOnce(t *testing.T) {
	director, node := newPair(t)
	node.unwrap()
	node.listen(":80")
	director.shell("ip route add 10.9.1.0/24 dev eth0")
	var q Question
	q.VIP, q.Timeout = testVIP, time.Second
	var lines []string
	for i := range 100 {
		a := netip.AddrFrom4([4]byte{10, 9, 1, byte(i + 1)})
		q.Reals = append(q.Reals, a)
		if i%10 != 9 { // each tenth is not there
			lines = append(lines, fmt.Sprintf("ip addr add %s/32 dev eth0", a))
		}
	}
	node.shell(lines...)
	began := time.Now()
	results, err := director.ask(q)
	if err != nil || len(results) != 100 {
		t.Fatalf("got %d results, %v", len(results), err)
	}
	if took := time.Since(began); took > q.Timeout+500*time.Millisecond {
		t.Errorf("it took %v", took)
	}
	for i, r := range results {
		want := Good
		if i%10 == 9 {
			want = Failed
		}
		if r.State != want || r.Real != q.Reals[i] {
			t.Errorf("got %+v, want %s of %s", r, want, q.Reals[i])
		}
	}
	until(t, "no connection is left half open", func() bool { return node.halfOpen() == 0 })
}

func TestTheSourceCanBeChosen(t *testing.T) {
	director, node := newPair(t)
	director.shell("ip addr add 10.9.0.22/24 dev eth0")
	node.answer(func(syn packet.Header) [][]byte {
		if syn.From.String() != "10.9.0.22" {
			return nil
		}
		return [][]byte{granting(syn, testVIP, syn.Seq+1)}
	})
	if r := director.ask1(Question{Source: netip.MustParseAddr("10.9.0.22"), Timeout: short}); r.State != Good {
		t.Errorf("got %+v", r)
	}
	r := director.ask1(Question{Source: netip.MustParseAddr("10.9.0.23"), Timeout: short})
	if r.State != Failed || !strings.Contains(r.Why, "cannot use its address 10.9.0.23") {
		t.Errorf("got %+v", r)
	}
}

func TestADirectorThatSendsFromTheVIPIsTold(t *testing.T) {
	director, _ := newPair(t)
	active(director)
	director.shell("ip route add 10.9.0.31 dev eth0 src 10.9.0.100")
	if r := director.ask1(Question{}); !strings.Contains(r.Why, "sends to 10.9.0.31 from the VIP") {
		t.Errorf("got %+v", r)
	}
}

// keep leaves the calling thread one capability, or none.
func keep(t *testing.T, capability uint32) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	data[0].Effective, data[0].Permitted = capability, capability
	if err := unix.Capset(&header, &data[0]); err != nil {
		t.Error(err)
	}
}

func TestOneCapabilityIsEnough(t *testing.T) {
	director, node := newPair(t)
	active(director)
	node.unwrap()
	node.listen(":80")
	q := Question{VIP: testVIP, Reals: []netip.Addr{testNode}}
	director.do(func() {
		keep(t, 1<<unix.CAP_NET_RAW)
		if results, err := Ask(t.Context(), q); err != nil || results[0].State != Good {
			t.Errorf("with CAP_NET_RAW alone: %+v, %v", results, err)
		}
		keep(t, 0)
		if _, err := Ask(t.Context(), q); err == nil || !strings.Contains(err.Error(), "CAP_NET_RAW") {
			t.Errorf("without: %v", err)
		}
	})
}

func TestQuestionsThatMakeNoSense(t *testing.T) {
	good := Question{VIP: testVIP, Reals: []netip.Addr{testNode}}
	for want, change := range map[string]func(*Question){
		"want an IPv4 address and a port":      func(q *Question) { q.VIP = netip.MustParseAddrPort("[2001:db8::1]:80") },
		"cannot ask 0 real servers":            func(q *Question) { q.Reals = nil },
		"twice":                                func(q *Question) { q.Reals = []netip.Addr{testNode, testNode} },
		"that is the VIP, want the node's own": func(q *Question) { q.Reals = []netip.Addr{testVIP.Addr()} },
		"want the IPv4 address of one":         func(q *Question) { q.Reals = []netip.Addr{netip.MustParseAddr("::1")} },
		"takes nothing from itself":            func(q *Question) { q.Source = testVIP.Addr() },
		"cannot ask within -1s":                func(q *Question) { q.Timeout = -time.Second },
	} {
		q := good
		change(&q)
		if _, err := Ask(t.Context(), q); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
