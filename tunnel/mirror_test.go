package tunnel

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// following runs a Mirror in the namespace of the test until it ends.
func following(t *testing.T, h *Handle, i Interest, told func(Change)) *Mirror {
	t.Helper()
	m, err := h.Follow(i, told)
	must(t, err)
	runs(t, m)
	return m
}

// followingFirewall runs a FirewallWatch; what it tells is run together.
func followingFirewall(t *testing.T) (*FirewallWatch, <-chan struct{}) {
	t.Helper()
	calls := make(chan struct{}, 1)
	w, err := FollowFirewall(func(Change) { signal(calls) })
	must(t, err)
	w.Changed()
	runs(t, w)
	return w, calls
}

func runs(t *testing.T, w interface {
	Run(context.Context)
	Close()
}) {
	ctx, cancel := context.WithCancel(t.Context())
	done := inSameNamespace(t)(func() { w.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		<-done
		w.Close()
	})
}

func signal(calls chan<- struct{}) {
	select {
	case calls <- struct{}{}:
	default:
	}
}

func wantCall(t *testing.T, calls <-chan struct{}, why string) {
	t.Helper()
	select {
	case <-calls:
	case <-time.After(5 * time.Second):
		t.Fatalf("changed was not called %s", why)
	}
}

// wantQuiet waits until changed has not been called for a while.
func wantQuiet(t *testing.T, calls <-chan struct{}) {
	t.Helper()
	for range 50 {
		select {
		case <-calls:
		case <-time.After(50 * time.Millisecond):
			return
		}
	}
	t.Fatal("changed is called without end")
}

var vip10 = netip.MustParseAddr("203.0.113.10")

func vipsOn(device string, vips ...netip.Addr) Interest {
	i := Interest{Device: device, VIPs: map[netip.Addr]bool{}}
	for _, v := range vips {
		i.VIPs[v] = true
	}
	return i
}

// wantMirrored fails unless the Mirror shows what the kernel lists.
func wantMirrored(t rapid.TB, m *Mirror, h *Handle) {
	t.Helper()
	got, err := m.Look()
	if err != nil {
		t.Fatal(err)
	}
	want, err := h.Observe()
	if err != nil {
		t.Fatal(err)
	}
	for a, at := range want.Addresses {
		want.Addresses[a] = slices.DeleteFunc(at, func(at Address) bool {
			return !m.interest.VIPs[a] && at.Link != m.interest.Device
		})
	}
	maps.DeleteFunc(want.Addresses, func(_ netip.Addr, at []Address) bool { return len(at) == 0 })
	maps.DeleteFunc(want.Local, func(a netip.Addr, _ bool) bool { return !m.interest.VIPs[a] })
	options := cmp.Options{
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmpopts.EquateEmpty(),
		cmpopts.IgnoreFields(Node{}, "Serial", "LinkSerial", "SettingSerial", "RouteSerial"),
	}
	if diff := cmp.Diff(want, got, options); diff != "" {
		t.Fatalf("node (-listed +mirrored):\n%s", diff)
	}
}

func TestWordComesOfEachChangeThatMattersAndOfNoOther(t *testing.T) {
	enterNamespace(t)
	addVeth(t, "v0", "v1")
	h, other := openHandle(t), openHandle(t)
	told := make(chan Change, 100)
	m := following(t, h, vipsOn("v0", vip10), func(c Change) { told <- c })
	write := func(key, value string) error { return os.WriteFile("/proc/sys/net/ipv4/conf/"+key, []byte(value), 0) }
	own := netip.MustParseAddr("203.0.113.11")
	changes := []struct {
		name string
		do   func() error
		want []Change
	}{
		{"a VIP is added elsewhere", func() error { return addVIP(other, "v1", vip10) }, []Change{{Address: vip10, Link: "v1"}}},
		{"a VIP is removed elsewhere", func() error { return removeAddress(other, "v1", netip.PrefixFrom(vip10, 32)) }, []Change{{Address: vip10, Link: "v1"}}},
		{"any address is added to the device", func() error { return addVIP(other, "v0", own) }, []Change{{Address: own, Link: "v0"}}},
		{"an address elsewhere, but for its routes", func() error { return addVIP(other, "v1", own) }, []Change{{Routing: true}}},
		{"a rule is added", func() error {
			r := netlink.NewRule()
			r.Table, r.Priority = 100, 5
			return netlink.RuleAdd(r)
		}, []Change{{Routing: true}}},
		{"a link goes up", func() error { return setUp(other, "v0") }, []Change{{Link: "v0"}}},
		{"a link goes down", func() error { return setDown(other, "v0") }, []Change{{Link: "v0"}}},
		{"by the handle itself", func() error { return addVIP(h, "v0", vip10) }, nil},
		{"rp_filter is written", func() error { return write("v0/rp_filter", "1") }, []Change{{Setting: true}}},
		{"rp_filter of all is written", func() error { return write("all/rp_filter", "1") }, []Change{{Setting: true}}},
		{"a link is deleted", func() error { return netlink.LinkDel(must1(netlink.LinkByName("v0"))) }, []Change{{Link: "v0"}, {Link: "v1"}}},
	}
	for _, change := range changes {
		wantMirrored(t, m, h)
		for len(told) > 0 {
			<-told
		}
		must(t, change.do())
		time.Sleep(50 * time.Millisecond)
		seen := map[Change]bool{}
		for len(told) > 0 {
			c := <-told
			if c.Author != 0 && c.Author != int(other.ask.port) && !c.Setting && c.Address.IsValid() {
				t.Errorf("%s: it was done by %d, not %d", change.name, other.ask.port, c.Author)
			}
			c.Author = 0
			seen[c] = true
		}
		if change.want == nil && len(seen) > 0 || change.want != nil && change.want[0].Routing && len(seen) > 1 {
			t.Errorf("%s: told of %v", change.name, seen)
		}
		for _, c := range change.want {
			if !seen[c] {
				t.Errorf("%s: told of %v, not of %v", change.name, seen, c)
			}
		}
	}
	wantMirrored(t, m, h)
}

func must1[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Whatever is done in whatever order, a look shows what the kernel would list.
func TestAMirrorShowsWhatTheKernelLists(t *testing.T) {
	enterNamespace(t)
	h, other := openHandle(t), openHandle(t)
	m, err := h.Follow(vipsOn("a0", vip10), func(Change) {})
	must(t, err)
	defer m.Close()
	names := []string{"a0", "a1", "b.0"}
	link := func(name string) netlink.Link {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: name, Index: 9999}}
		}
		return l
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(names)
		addr := rapid.Custom(func(t *rapid.T) netip.Prefix {
			last := rapid.SampledFrom([]byte{10, 11}).Draw(t, "address")
			return netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, last}), rapid.SampledFrom([]int{24, 32}).Draw(t, "bits"))
		})
		// Each may fail, as what it needs may not be there.
		t.Repeat(map[string]func(*rapid.T){
			"add a link": func(t *rapid.T) {
				n := name.Draw(t, "name")
				_ = netlink.LinkAdd(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: n}})
			},
			"delete a link":   func(t *rapid.T) { _ = netlink.LinkDel(link(name.Draw(t, "name"))) },
			"rename a link":   func(t *rapid.T) { _ = netlink.LinkSetName(link(name.Draw(t, "from")), name.Draw(t, "to")) },
			"set a link up":   func(t *rapid.T) { _ = setUp(other, name.Draw(t, "name")) },
			"set a link down": func(t *rapid.T) { _ = setDown(other, name.Draw(t, "name")) },
			"add an address": func(t *rapid.T) {
				_ = other.AddAddresses(addressOn(other, name.Draw(t, "name"), addr.Draw(t, "address")))
			},
			"add one itself": func(t *rapid.T) { _ = h.AddAddresses(addressOn(h, name.Draw(t, "name"), addr.Draw(t, "address"))) },
			"remove an address": func(t *rapid.T) {
				_ = other.RemoveAddresses(addressOn(other, name.Draw(t, "name"), addr.Draw(t, "address")))
			},
			"remove the local route": func(t *rapid.T) {
				_ = netlink.RouteDel(&netlink.Route{Table: unix.RT_TABLE_LOCAL, Dst: netlink.NewIPNet(addr.Draw(t, "address").Addr().AsSlice()), Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST})
			},
			"put the local route back": func(t *rapid.T) {
				_ = other.AddLocalRoute(addressOn(other, name.Draw(t, "name"), addr.Draw(t, "address"))[0])
			},
			"list anew": func(t *rapid.T) {
				if err := m.Relist(); err != nil && !again(err) {
					t.Fatal(err)
				}
			},
			"": func(t *rapid.T) { wantMirrored(t, m, h) },
		})
	})
}

// Something may happen between the subscription and the first look.
func TestAMirrorTakesInWhatHappensBeforeItsFirstLook(t *testing.T) {
	enterNamespace(t)
	h, other := openHandle(t), openHandle(t)
	m, err := h.Follow(vipsOn("v0"), func(Change) {})
	must(t, err)
	defer m.Close()
	addVeth(t, "v0", "v1")
	must(t, addVIP(other, "v0", netip.MustParseAddr("10.0.0.1")))
	wantMirrored(t, m, h)
}

// What overflows the socket is lost, and the next look lists everything.
func TestAMirrorThatLostWordListsAnew(t *testing.T) {
	enterNamespace(t)
	addVeth(t, "v0", "v1")
	h, other := openHandle(t), openHandle(t)
	lost := 0
	m, err := h.Follow(vipsOn("v0"), func(c Change) {
		if c.Lost {
			lost++
		}
	})
	must(t, err)
	defer m.Close()
	wantMirrored(t, m, h)
	must(t, unix.SetsockoptInt(m.events.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1)) // the kernel takes its least
	for i := range 500 {
		must(t, addVIP(other, "v0", netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})))
	}
	if drops(t, m.events.file) == "0" {
		t.Fatal("nothing was lost")
	}
	wantMirrored(t, m, h)
	if lost != 1 {
		t.Errorf("told of a loss %d times", lost)
	}
	must(t, setUp(other, "v0"))
	wantMirrored(t, m, h)
}

// While others change thousands of things a list cannot be had, and is not
// needed.
func TestAMirrorIsExactWhileListsAreInterrupted(t *testing.T) {
	enterNamespace(t)
	addVeth(t, "v0", "v1")
	h, other := openHandle(t), openHandle(t)
	m := following(t, h, vipsOn("v0", vip10), func(Change) {})
	wantMirrored(t, m, h)
	stop := make(chan struct{})
	churned := inSameNamespace(t)(func() { churn(t, stop) })
	defer func() { close(stop); <-churned }()
	for i := range 500 {
		must(t, addVIP(other, "v0", vip10))
		if n, err := m.Look(); err != nil || len(n.Addresses[vip10]) != 1 || !n.Local[vip10] {
			t.Fatalf("look %d does not show what was added: %+v, %v", i, n, err)
		}
		must(t, removeAddress(other, "v0", netip.PrefixFrom(vip10, 32)))
		if n, err := m.Look(); err != nil || len(n.Addresses[vip10]) != 0 || n.Local[vip10] {
			t.Fatalf("look %d shows what was removed: %+v, %v", i, n, err)
		}
	}
}

func TestALookAtWhatDidNotChangeCostsNoMemory(t *testing.T) {
	enterNamespace(t)
	addVeth(t, "v0", "v1")
	h := openHandle(t)
	m, err := h.Follow(vipsOn("v0"), func(Change) {})
	must(t, err)
	defer m.Close()
	if n := testing.AllocsPerRun(100, func() { _, err = m.Look() }); n > 0 || err != nil {
		t.Errorf("%v allocations a look, %v", n, err)
	}
}

func TestAMirrorSubscribesAnewWhenTheSocketBreaks(t *testing.T) {
	enterNamespace(t)
	addVeth(t, "v0", "v1")
	h, other := openHandle(t), openHandle(t)
	calls := make(chan struct{}, 1)
	m := following(t, h, vipsOn("v0"), func(Change) { signal(calls) })
	wantMirrored(t, m, h)
	wantQuiet(t, calls)
	m.events.mu.Lock()
	m.events.file.Close()
	m.events.mu.Unlock()
	must(t, setUp(other, "v0"))
	wantCall(t, calls, "after the socket broke")
	wantMirrored(t, m, h)
	wantQuiet(t, calls)
	must(t, setDown(other, "v0"))
	wantCall(t, calls, "by the new subscription")
	wantMirrored(t, m, h)
}

func TestAMirrorEndsAtOnceAndLeavesNothing(t *testing.T) {
	enterNamespace(t)
	h := openHandle(t)
	runtime.GC() // closes what earlier tests left
	files, goroutines := openFiles(t), runtime.NumGoroutine()
	for range 20 {
		m, err := h.Follow(Interest{}, func(Change) {})
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); m.Run(ctx) }()
		start := time.Now()
		cancel()
		<-ended
		m.Close()
		if took := time.Since(start); took > 500*time.Millisecond {
			t.Fatalf("it took %s to end", took)
		}
	}
	if after := openFiles(t); after > files {
		t.Errorf("%d files were open before, %d are after", files, after)
	}
	eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
}

func TestNoMessageMakesAMirrorPanic(t *testing.T) {
	kinds := []uint16{unix.RTM_NEWLINK, unix.RTM_DELLINK, unix.RTM_NEWADDR, unix.RTM_DELADDR, unix.RTM_NEWROUTE, unix.RTM_DELROUTE, unix.RTM_NEWNETCONF}
	rapid.Check(t, func(t *rapid.T) {
		s := newState()
		for range 5 {
			m := message{kind: rapid.SampledFrom(kinds).Draw(t, "kind"), body: rapid.SliceOfN(rapid.Byte(), 0, 80).Draw(t, "body")}
			if len(m.body) > 0 && rapid.Bool().Draw(t, "of IPv4 or no family") {
				m.body[0] = rapid.SampledFrom([]byte{unix.AF_INET, unix.AF_UNSPEC}).Draw(t, "family")
			}
			_, _ = s.apply(m)
		}
		s.node(func(string, netip.Addr) bool { return true })
	})
}

// control runs f on the descriptor of a file or connection.
func control(c syscall.Conn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	if failed := raw.Control(func(fd uintptr) { err = f(int(fd)) }); failed != nil {
		return failed
	}
	return err
}

// drops is how many messages the kernel could not deliver to a socket.
func drops(t *testing.T, socket *os.File) string {
	t.Helper()
	var stat unix.Stat_t
	must(t, control(socket, func(fd int) error { return unix.Fstat(fd, &stat) }))
	table, err := os.ReadFile("/proc/thread-self/net/netlink")
	must(t, err)
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); f[9] == fmt.Sprint(stat.Ino) {
			return f[8]
		}
	}
	t.Fatalf("no socket %d in\n%s", stat.Ino, table)
	return ""
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(entries)
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 500 {
		if is() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	stacks := make([]byte, 1<<16)
	t.Fatalf("it does not come to this: %s\n%s", what, stacks[:runtime.Stack(stacks, true)])
}
