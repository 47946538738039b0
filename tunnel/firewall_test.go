package tunnel

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	nfnetlink "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func addrs(list ...string) []netip.Addr {
	var parsed []netip.Addr
	for _, a := range list {
		parsed = append(parsed, netip.MustParseAddr(a))
	}
	return parsed
}

func prefixes(list ...string) []netip.Prefix {
	var parsed []netip.Prefix
	for _, p := range list {
		parsed = append(parsed, netip.MustParsePrefix(p))
	}
	return parsed
}

// wholeFirewall is one with everything in it. There is no tunl0 in most tests'
// namespaces; the kernel does not mind.
func wholeFirewall() Firewall {
	return Firewall{
		Guard:     true,
		Directors: prefixes("192.0.2.1/32", "198.51.100.77/24", "198.51.100.0/25"),
		VIPs:      addrs("203.0.113.10", "203.0.113.11", "203.0.113.10"),
		Device:    "tunl0",
		MSS:       1440,
	}
}

// wantHeld looks and fails unless want is in place.
func wantHeld(t *testing.T, h *Handle, want Firewall) FirewallState {
	t.Helper()
	state, err := h.ObserveFirewall()
	must(t, err)
	if held, got := state.Holds(want); !held {
		t.Errorf("not in place: %s", got)
	}
	return state
}

func TestFirewallIsListedAsItWasWanted(t *testing.T) {
	enterNamespace(t)
	h := openHandle(t)
	variants := []struct {
		name   string
		change func(*Firewall)
	}{
		{"all of it", func(*Firewall) {}},
		{"no director", func(f *Firewall) { f.Directors = nil }},
		{"anybody is a director", func(f *Firewall) { f.Directors = prefixes("0.0.0.0/0") }},
		{"the first and the last address", func(f *Firewall) { f.Directors = prefixes("0.0.0.0/32", "255.255.255.255/32") }},
		{"no VIP", func(f *Firewall) { f.VIPs = nil }},
		{"no clamp", func(f *Firewall) { f.MSS = 0 }},
		{"no guard", func(f *Firewall) { f.Guard, f.Device = false, "" }},
		{"another device, of the longest name", func(f *Firewall) { f.Device = "tunnel.89012345" }},
		{"another MSS", func(f *Firewall) { f.MSS = 1428 }},
		{"neither guard nor clamp", func(f *Firewall) { f.Guard, f.MSS = false, 0 }},
	}
	for _, v := range variants {
		want := wholeFirewall()
		v.change(&want)
		for _, round := range []string{"after", "twice after"} {
			must(t, h.ApplyFirewall(want))
			state := wantHeld(t, h, want)
			planned, err := want.State()
			must(t, err)
			if diff := cmp.Diff(planned, state, cmp.AllowUnexported(FirewallState{}, table{}, chain{}, set{}, element{})); diff != "" {
				t.Errorf("%s: %s the one before (-want +got):\n%s", v.name, round, diff)
			}
		}
		state, err := h.ObserveFirewall()
		must(t, err)
		for _, other := range variants {
			wantedElse := wholeFirewall()
			other.change(&wantedElse)
			if held, got := state.Holds(wantedElse); held != (other.name == v.name) || held != (got == "") {
				t.Errorf("while there is %q, it says %v, %q of %q", v.name, held, got, other.name)
			}
		}
	}
}

func TestFirewallThatIsNotThereCanBeObservedAndRemoved(t *testing.T) {
	enterNamespace(t)
	h := openHandle(t)
	state := wantHeld(t, h, Firewall{})
	if held, got := state.Holds(wholeFirewall()); held || got != "the table is not there" {
		t.Errorf("got %v, %q", held, got)
	}
	must(t, h.RemoveFirewall())
	must(t, h.ApplyFirewall(wholeFirewall()))
	must(t, h.RemoveFirewall())
	wantHeld(t, h, Firewall{})
}

func TestFirewallThatCouldNotBeReachedAtFirstIsReachedLater(t *testing.T) {
	enterNamespace(t)
	before := openHandle(t)
	reopened := func() *Handle {
		h := openWithFiles(t, 3) // the packet filter's is the fourth
		t.Cleanup(h.Close)
		if h.firewallErr == nil {
			t.Fatal("the packet filter was reached")
		}
		return h
	}
	h := reopened()
	must(t, h.ApplyFirewall(wholeFirewall()))
	wantHeld(t, h, wholeFirewall())
	wantHeld(t, reopened(), wholeFirewall())
	must(t, reopened().RemoveFirewall())
	wantHeld(t, before, Firewall{})

	h = reopened()
	enterNamespace(t)
	wantError(t, h.ApplyFirewall(wholeFirewall()),
		"cannot open a netlink socket to the packet filter: the thread is in another network namespace by now")
	wantHeld(t, openHandle(t), Firewall{})
}

// openWithFiles opens a Handle while the process may open only so many files
// more.
func openWithFiles(t *testing.T, more int) *Handle {
	t.Helper()
	var limit unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	low := limit
	for low.Cur = 0; more > 0; low.Cur++ {
		if _, err := unix.FcntlInt(uintptr(low.Cur), unix.F_GETFD, 0); err == unix.EBADF {
			more--
		}
	}
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &low))
	h, err := Open()
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	must(t, err)
	return h
}

func TestFirewallLeavesOtherTablesAlone(t *testing.T) {
	enterNamespace(t)
	h := openHandle(t)
	c := &nftables.Conn{}
	c.AddTable(&nftables.Table{Name: "mine", Family: nftables.TableFamilyIPv4})
	c.AddTable(&nftables.Table{Name: tableName, Family: nftables.TableFamilyINet})
	must(t, c.Flush())
	must(t, h.ApplyFirewall(wholeFirewall()))
	wantHeld(t, h, wholeFirewall())
	must(t, h.RemoveFirewall())
	tables, err := c.ListTables()
	must(t, err)
	if len(tables) != 2 {
		t.Errorf("there are %d tables", len(tables))
	}
}

// raw sends one message of nf_tables by itself.
func raw(t *testing.T, kind uint16, attrs ...nfnetlink.Attribute) {
	t.Helper()
	c, err := nfnetlink.Dial(unix.NETLINK_NETFILTER, nil)
	must(t, err)
	defer c.Close()
	data, err := nfnetlink.MarshalAttributes(attrs)
	must(t, err)
	message := func(kind uint16, flags nfnetlink.HeaderFlags, family byte, resource byte, data []byte) nfnetlink.Message {
		return nfnetlink.Message{
			Header: nfnetlink.Header{Type: nfnetlink.HeaderType(kind), Flags: nfnetlink.Request | flags},
			Data:   append([]byte{family, 0, 0, resource}, data...),
		}
	}
	_, err = c.SendMessages([]nfnetlink.Message{
		message(unix.NFNL_MSG_BATCH_BEGIN, 0, 0, unix.NFNL_SUBSYS_NFTABLES, nil),
		message(unix.NFNL_SUBSYS_NFTABLES<<8|kind, nfnetlink.Create|nfnetlink.Acknowledge, unix.NFPROTO_IPV4, 0, data),
		message(unix.NFNL_MSG_BATCH_END, 0, 0, unix.NFNL_SUBSYS_NFTABLES, nil),
	})
	must(t, err)
	_, err = c.Receive()
	must(t, err)
}

// ours is what there is of rsagent's table, for somebody who meddles with it.
type ours struct {
	*nftables.Conn
	table          *nftables.Table
	guard, clamp   *nftables.Chain
	guards, clamps []*nftables.Rule
}

func inside(t *testing.T) ours {
	t.Helper()
	o := ours{
		Conn:  &nftables.Conn{},
		table: ourTable(),
		guard: &nftables.Chain{Name: guardChain, Table: ourTable()},
		clamp: &nftables.Chain{Name: clampChain, Table: ourTable()},
	}
	var err error
	o.guards, err = o.GetRules(o.table, o.guard)
	must(t, err)
	o.clamps, err = o.GetRules(o.table, o.clamp)
	must(t, err)
	return o
}

func (o ours) set(t *testing.T, name string) *nftables.Set {
	t.Helper()
	s, err := o.GetSetByName(o.table, name)
	must(t, err)
	return s
}

func (o ours) replace(r *nftables.Rule, exprs ...expr.Any) {
	o.ReplaceRule(&nftables.Rule{Table: o.table, Chain: r.Chain, Handle: r.Handle, Exprs: exprs})
}

// chain makes the chain of the guard anew, with the same rules.
func (o ours) chain(hook nftables.ChainHook, priority nftables.ChainPriority) {
	o.FlushChain(o.guard)
	o.DelChain(o.guard)
	policy := nftables.ChainPolicyAccept
	chain := o.AddChain(&nftables.Chain{Table: o.table, Name: guardChain, Type: nftables.ChainTypeFilter, Hooknum: &hook, Priority: &priority, Policy: &policy})
	for _, r := range o.guards {
		o.AddRule(&nftables.Rule{Table: o.table, Chain: chain, Exprs: r.Exprs})
	}
}

func TestFirewallIsSeenToBeTamperedWithAndMended(t *testing.T) {
	drop := nftables.ChainPolicyDrop
	accept := []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}
	vip := func(address string) []nftables.SetElement {
		return []nftables.SetElement{{Key: netip.MustParseAddr(address).AsSlice()}}
	}
	tests := []struct {
		name   string
		tamper func(t *testing.T, o ours)
		want   string
	}{
		{"the ruleset is flushed", func(_ *testing.T, o ours) { o.FlushRuleset() }, "the table is not there"},
		{"the table is deleted", func(_ *testing.T, o ours) { o.DelTable(o.table) }, "the table is not there"},
		{"the table is flushed", func(_ *testing.T, o ours) { o.FlushTable(o.table) },
			"the number of rules in chain clamp is 0, not 1; the number of rules in chain guard is 0, not 2"},
		{"the table is put to sleep", func(t *testing.T, _ ours) {
			raw(t, unix.NFT_MSG_NEWTABLE, nameAttribute(unix.NFTA_TABLE_NAME, tableName),
				nfnetlink.Attribute{Type: unix.NFTA_TABLE_FLAGS, Data: []byte{0, 0, 0, unix.NFT_TABLE_F_DORMANT}})
		}, "the table has the flags 0x1 (1: dormant)"},
		{"a rule is deleted", func(t *testing.T, o ours) { must(t, o.DelRule(o.guards[0])) },
			"the number of rules in chain guard is 1, not 2"},
		{"a rule lets all through", func(_ *testing.T, o ours) {
			o.InsertRule(&nftables.Rule{Table: o.table, Chain: o.guard, Exprs: accept})
		}, "the number of rules in chain guard is 3, not 2"},
		{"a rule drops no more", func(_ *testing.T, o ours) { o.replace(o.guards[0], o.guards[0].Exprs[:5]...) },
			"rule 1 of chain guard is another one"},
		{"a rule has a condition more", func(_ *testing.T, o ours) {
			o.replace(o.guards[1], append([]expr.Any{&expr.Limit{Type: expr.LimitTypePkts, Rate: 1, Unit: expr.LimitTimeHour}}, o.guards[1].Exprs...)...)
		}, "rule 2 of chain guard is another one"},
		{"a rule is about another device", func(_ *testing.T, o ours) { o.replace(o.guards[1], dropNotVIP("tunl1")...) },
			"rule 2 of chain guard is another one"},
		{"the rules change places", func(_ *testing.T, o ours) {
			o.replace(o.guards[0], o.guards[1].Exprs...)
			o.replace(o.guards[1], o.guards[0].Exprs...)
		}, "rule 1 of chain guard is another one; rule 2 of chain guard is another one"},
		{"the MSS is changed", func(_ *testing.T, o ours) { o.replace(o.clamps[0], lowerMSS(1460)...) },
			"rule 1 of chain clamp is another one"},
		{"a chain drops what it does not name", func(_ *testing.T, o ours) {
			o.AddChain(&nftables.Chain{Table: o.table, Name: guardChain, Policy: &drop})
		}, "chain guard does not let through what it does not name"},
		{"a chain is elsewhere", func(_ *testing.T, o ours) { o.chain(unix.NF_INET_LOCAL_IN, -290) },
			`chain guard is elsewhere: type "filter" hook 1 priority -290`},
		{"a chain is later", func(_ *testing.T, o ours) { o.chain(unix.NF_INET_PRE_ROUTING, -100) },
			`chain guard is elsewhere: type "filter" hook 0 priority -100`},
		{"a chain is nowhere", func(_ *testing.T, o ours) {
			o.FlushChain(o.clamp)
			o.DelChain(o.clamp)
			o.AddChain(&nftables.Chain{Table: o.table, Name: clampChain})
		}, `chain clamp is elsewhere: type "" hook 0 priority 0`},
		{"a chain is deleted", func(_ *testing.T, o ours) {
			o.FlushChain(o.clamp)
			o.DelChain(o.clamp)
		}, "chain clamp is not there"},
		{"a chain is added", func(_ *testing.T, o ours) {
			priority := nftables.ChainPriority(-299)
			o.AddChain(&nftables.Chain{Table: o.table, Name: "mine", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: &priority, Policy: &drop})
		}, "chain mine is there"},
		{"a VIP is taken out", func(t *testing.T, o ours) {
			must(t, o.SetDeleteElements(o.set(t, vipsSet), vip("203.0.113.10")))
		}, "set vips lacks 203.0.113.10"},
		{"an address is made a VIP", func(t *testing.T, o ours) {
			must(t, o.SetDeleteElements(o.set(t, vipsSet), vip("203.0.113.10")))
			must(t, o.SetAddElements(o.set(t, vipsSet), vip("192.0.2.9")))
		}, "set vips lacks 203.0.113.10; set vips has 192.0.2.9"},
		{"every address is made a VIP", func(t *testing.T, _ ours) {
			flags, err := nfnetlink.MarshalAttributes([]nfnetlink.Attribute{{Type: unix.NFTA_SET_ELEM_FLAGS, Data: []byte{0, 0, 0, setElemCatchAll}}})
			must(t, err)
			list, err := nfnetlink.MarshalAttributes([]nfnetlink.Attribute{{Type: unix.NLA_F_NESTED | unix.NFTA_LIST_ELEM, Data: flags}})
			must(t, err)
			raw(t, unix.NFT_MSG_NEWSETELEM, nameAttribute(unix.NFTA_SET_ELEM_LIST_TABLE, tableName), nameAttribute(unix.NFTA_SET_ELEM_LIST_SET, vipsSet),
				nfnetlink.Attribute{Type: unix.NLA_F_NESTED | unix.NFTA_SET_ELEM_LIST_ELEMENTS, Data: list})
		}, "set vips has *"},
		{"the set of VIPs is emptied", func(t *testing.T, o ours) { o.FlushSet(o.set(t, vipsSet)) },
			"set vips lacks 203.0.113.10 and 1 more"},
		{"a director is taken out", func(t *testing.T, o ours) {
			must(t, o.SetDeleteElements(o.set(t, directorsSet), setElements(intervals(merge(prefixes("192.0.2.1/32"))))))
		}, "set directors lacks 192.0.2.1 and 1 more"},
		{"a network is made a director", func(t *testing.T, o ours) {
			must(t, o.SetAddElements(o.set(t, directorsSet), setElements(intervals(merge(prefixes("10.0.0.0/8"))))))
		}, "set directors has 10.0.0.0 and 1 more"},
		{"a set is added", func(t *testing.T, o ours) {
			must(t, o.AddSet(&nftables.Set{Table: o.table, Name: "mine", KeyType: nftables.TypeEtherAddr},
				[]nftables.SetElement{{Key: []byte{2, 0, 0, 0, 0, 1}}}))
		}, "set mine is there"},
		{"an object of another kind is added, and used", func(_ *testing.T, o ours) {
			o.AddObj(&nftables.QuotaObj{Table: o.table, Name: "mine", Bytes: 1})
			o.AddRule(&nftables.Rule{Table: o.table, Chain: o.guard, Exprs: []expr.Any{&expr.Objref{Type: unix.NFT_OBJECT_QUOTA, Name: "mine"}}})
		}, `the number of rules in chain guard is 3, not 2; the counters are ["clamped" "mine of type 2" "not_director" "not_vip"], not ["clamped" "not_director" "not_vip"]`},
		{"a counter is added", func(_ *testing.T, o ours) { o.AddObj(&nftables.CounterObj{Table: o.table, Name: "mine"}) },
			`the counters are ["clamped" "mine" "not_director" "not_vip"], not ["clamped" "not_director" "not_vip"]`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			enterNamespace(t)
			h := openHandle(t)
			want := wholeFirewall()
			must(t, h.ApplyFirewall(want))
			wantHeld(t, h, want)

			o := inside(t)
			test.tamper(t, o)
			must(t, o.Flush())
			state, err := h.ObserveFirewall()
			must(t, err)
			if held, got := state.Holds(want); held || got != test.want {
				t.Errorf("got %v, %q, want %q", held, got, test.want)
			}
			must(t, h.ApplyFirewall(want))
			wantHeld(t, h, want)
		})
	}
}

func TestFirewallIsNeverSeenHalfChanged(t *testing.T) {
	enterNamespace(t)
	h := openHandle(t)
	one, other := wholeFirewall(), wholeFirewall()
	other.VIPs, other.Directors, other.MSS = nil, prefixes("10.0.0.0/8"), 1428
	for i := range 3000 {
		other.VIPs = append(other.VIPs, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	must(t, h.ApplyFirewall(one))
	stop := make(chan struct{})
	churned := inSameNamespace(t)(func() {
		rival, err := Open()
		if err != nil {
			t.Error(err)
			return
		}
		defer rival.Close()
		for want := other; ; want, other, one = one, one, other {
			select {
			case <-stop:
				return
			default:
			}
			if err := rival.ApplyFirewall(want); err != nil {
				t.Error(err)
				return
			}
		}
	})
	defer func() { close(stop); <-churned }()
	first, second := one, other
	interrupted, complete := 0, 0
	// Which of them a look is depends on who else wants the processors.
	for end := time.Now().Add(time.Minute); interrupted < 20 || complete < 20; {
		if time.Now().After(end) {
			t.Fatalf("in a minute %d looks were interrupted and %d complete", interrupted, complete)
		}
		state, err := h.firewall.look()
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			interrupted++
			continue
		}
		must(t, err)
		complete++
		holdsFirst, why := state.Holds(first)
		if holdsSecond, whyNot := state.Holds(second); holdsFirst == holdsSecond {
			t.Fatalf("it is neither the one (%s) nor the other (%s)", why, whyNot)
		}
	}
}

func TestFirewallOfTenThousandVIPs(t *testing.T) {
	enterNamespace(t)
	h := openHandle(t)
	want := wholeFirewall()
	for i := range 10000 {
		want.VIPs = append(want.VIPs, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	must(t, h.ApplyFirewall(want))
	must(t, h.ApplyFirewall(want))
	state := wantHeld(t, h, want)
	want.VIPs = want.VIPs[:10001]
	if held, got := state.Holds(want); held || got != "set vips has 10.0.39.14 and 1 more" {
		t.Errorf("got %v, %q", held, got)
	}
}

func BenchmarkFirewallOfTenThousandVIPs(b *testing.B) {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		b.Fatal(err)
	}
	h, err := Open()
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	want := wholeFirewall()
	for i := range 10000 {
		want.VIPs = append(want.VIPs, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	b.Run("apply", func(b *testing.B) {
		for b.Loop() {
			if err := h.ApplyFirewall(want); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("observe", func(b *testing.B) {
		for b.Loop() {
			if _, err := h.ObserveFirewall(); err != nil {
				b.Fatal(err)
			}
		}
	})
	state, err := h.ObserveFirewall()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("compare", func(b *testing.B) {
		for b.Loop() {
			if held, got := state.Holds(want); !held {
				b.Fatal(got)
			}
		}
	})
}

func TestFirewallThatCannotBeIsRefused(t *testing.T) {
	enterNamespace(t)
	h := openHandle(t)
	must(t, h.ApplyFirewall(wholeFirewall()))
	tests := []struct {
		name   string
		change func(*Firewall)
		want   string
	}{
		{"a director of IPv6", func(f *Firewall) { f.Directors = prefixes("2001:db8::/32") }, "the director 2001:db8::/32 is not an IPv4 address or prefix"},
		{"no director at all", func(f *Firewall) { f.Directors = []netip.Prefix{{}} }, "the director invalid Prefix is not an IPv4 address or prefix"},
		{"a VIP of IPv6", func(f *Firewall) { f.VIPs = addrs("2001:db8::1") }, "the VIP 2001:db8::1 is not an IPv4 address"},
		{"no device", func(f *Firewall) { f.Device = "" }, `the guard needs the name of the tunnel device, not ""`},
		{"a device of too long a name", func(f *Firewall) { f.Device = "tunnel.890123456" }, `the guard needs the name of the tunnel device, not "tunnel.890123456"`},
		{"too great an MSS", func(f *Firewall) { f.MSS = 65536 }, "an MSS of 65536 bytes cannot be announced"},
		{"a negative MSS", func(f *Firewall) { f.MSS = -1 }, "an MSS of -1 bytes cannot be announced"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			want := wholeFirewall()
			test.change(&want)
			wantError(t, h.ApplyFirewall(want), "cannot set the packet filter: "+test.want)
			if held, got := (FirewallState{}).Holds(want); held || got != test.want {
				t.Errorf("got %v, %q", held, got)
			}
		})
	}
	wantHeld(t, h, wholeFirewall())
}

func TestFirewallNeedsCapNetAdmin(t *testing.T) {
	enterNamespace(t)
	h := openHandle(t)
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	must(t, unix.Capget(&header, &sets[0]))
	sets[0].Effective &^= 1 << unix.CAP_NET_ADMIN // of this thread, which ends with the test
	must(t, unix.Capset(&header, &sets[0]))
	_, err := h.ObserveFirewall()
	wantError(t, err, "cannot look at the packet filter: operation not permitted (rsagent needs CAP_NET_ADMIN)")
	wantError(t, h.ApplyFirewall(wholeFirewall()), "cannot set the packet filter: operation not permitted (rsagent needs CAP_NET_ADMIN)")
	wantError(t, h.RemoveFirewall(), "cannot remove the table from the packet filter: operation not permitted (rsagent needs CAP_NET_ADMIN)")
	_, err = FollowFirewall(func(Change) {})
	wantError(t, err, "cannot subscribe to what happens to the packet filter: operation not permitted (rsagent needs CAP_NET_ADMIN)")
}

func TestWordComesOfEachChangeToTheTableAndOfNoOther(t *testing.T) {
	enterNamespace(t)
	h := openHandle(t)
	w, calls := followingFirewall(t)
	meddle := func(f func(t *testing.T, o ours)) func(*testing.T) {
		return func(t *testing.T) {
			o := inside(t)
			f(t, o)
			must(t, o.Flush())
		}
	}
	changes := []struct {
		name string
		do   func(*testing.T)
	}{
		{"the firewall is applied", func(t *testing.T) { must(t, h.ApplyFirewall(wholeFirewall())) }},
		{"a rule is deleted", meddle(func(t *testing.T, o ours) { must(t, o.DelRule(o.guards[0])) })},
		{"a VIP is taken out", meddle(func(t *testing.T, o ours) { o.FlushSet(o.set(t, vipsSet)) })},
		{"the ruleset is flushed", func(t *testing.T) {
			c := &nftables.Conn{}
			c.FlushRuleset()
			must(t, c.Flush())
		}},
	}
	for _, change := range changes {
		wantQuiet(t, calls)
		change.do(t)
		wantCall(t, calls, "when "+change.name)
		if !w.Changed() || w.Changed() {
			t.Errorf("%s: not noted, or noted for ever", change.name)
		}
	}
	wantQuiet(t, calls)
	wantHeld(t, h, Firewall{})
	must(t, h.RemoveFirewall())
	c := &nftables.Conn{}
	other := c.AddTable(&nftables.Table{Name: "docker", Family: nftables.TableFamilyIPv4})
	c.AddChain(&nftables.Chain{Table: other, Name: "rsagent"})
	c.AddTable(&nftables.Table{Name: tableName, Family: nftables.TableFamilyINet})
	must(t, c.Flush())
	if w.Changed() {
		t.Error("somebody else's table is taken for ours")
	}
	select {
	case <-calls:
		t.Error("changed was called for nothing")
	case <-time.After(100 * time.Millisecond):
	}
}

func TestMergedPrefixesAreTheSameAddresses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prefix := rapid.Custom(func(t *rapid.T) netip.Prefix {
			// Few bits vary, so that prefixes meet and overlap, at both ends too.
			addr := [4]byte{
				rapid.SampledFrom([]byte{0, 1, 127, 128, 255}).Draw(t, "first"),
				rapid.SampledFrom([]byte{0, 255}).Draw(t, "second"), 0,
				rapid.Byte().Draw(t, "last"),
			}
			return netip.PrefixFrom(netip.AddrFrom4(addr), rapid.IntRange(0, 32).Draw(t, "bits"))
		})
		list := rapid.SliceOf(prefix).Draw(t, "prefixes")
		before := fmt.Sprint(list)
		spans := merge(list)
		if fmt.Sprint(list) != before {
			t.Fatal("the list was changed")
		}
		for i, s := range spans {
			if s.first > s.last || i > 0 && uint64(spans[i-1].last)+1 >= uint64(s.first) {
				t.Fatalf("spans are not in order, or touch: %v", spans)
			}
		}
		// Whether an address belongs changes at these only.
		edges := map[netip.Addr]bool{netip.MustParseAddr("0.0.0.0"): true, netip.MustParseAddr("255.255.255.255"): true}
		for _, e := range intervals(spans) {
			edges[netip.AddrFrom4(e.key)] = true
		}
		for _, p := range list {
			first := p.Masked().Addr().As4()
			last := first
			for bit := p.Bits(); bit < 32; bit++ {
				last[bit/8] |= 0x80 >> (bit % 8)
			}
			edges[netip.AddrFrom4(first)], edges[netip.AddrFrom4(last)] = true, true
		}
		for edge := range edges {
			for _, a := range []netip.Addr{edge.Prev(), edge, edge.Next()} {
				if a.IsValid() && contains(list, a) != spanned(spans, a) {
					t.Fatalf("%s: in the prefixes %v, in the spans %v: %v", a, contains(list, a), spanned(spans, a), spans)
				}
			}
		}
	})
}

func contains(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// spanned looks a up as the kernel does: what comes last before it, or at it,
// says whether it is in the set.
func spanned(spans []span, a netip.Addr) bool {
	in := false
	for _, e := range intervals(spans) {
		if netip.AddrFrom4(e.key).Compare(a) <= 0 {
			in = e.flags == 0
		}
	}
	return in
}
