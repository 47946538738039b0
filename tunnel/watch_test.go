package tunnel

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// watching starts Watch in the namespace of the test and returns the calls of
// changed, run together, once it has subscribed.
func watching(t *testing.T) <-chan struct{} {
	t.Helper()
	return watchingWith(t, Watch)
}

func watchingWith(t *testing.T, watch func(context.Context, func()) error) <-chan struct{} {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	calls := make(chan struct{}, 1)
	done := inSameNamespace(t)(func() {
		if err := watch(ctx, func() { signal(calls) }); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); <-done })
	wantCall(t, calls, "to tell that it has subscribed")
	return calls
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

func TestWatchTellsOfEachKindOfChange(t *testing.T) {
	enterNamespace(t)
	addVeth(t, "v0", "v1")
	h := openHandle(t)
	calls := watching(t)
	vip := netip.MustParseAddr("203.0.113.10")
	changes := []struct {
		name string
		do   func() error
	}{
		{"an address is added", func() error { return h.AddVIP("v0", vip) }},
		{"an address is removed", func() error { return h.RemoveAddress("v0", netip.PrefixFrom(vip, 32)) }},
		{"a link goes up", func() error { return h.SetUp("v0") }},
		{"a link goes down", func() error { return h.SetDown("v0") }},
		{"rp_filter is written", func() error {
			return os.WriteFile("/proc/sys/net/ipv4/conf/v0/rp_filter", []byte("1"), 0)
		}},
		{"rp_filter of all is written", func() error {
			return os.WriteFile("/proc/sys/net/ipv4/conf/all/rp_filter", []byte("1"), 0)
		}},
		{"a link is deleted", func() error {
			l, err := h.find("v0")
			if err != nil {
				return err
			}
			return h.route.LinkDel(l)
		}},
	}
	for _, change := range changes {
		wantQuiet(t, calls)
		must(t, change.do())
		wantCall(t, calls, "when "+change.name)
	}
}

func TestWatchDoesNotSeeOtherNamespaces(t *testing.T) {
	enterNamespace(t)
	calls := watching(t)
	wantQuiet(t, calls)
	enterNamespace(t)
	addVeth(t, "v0", "v1")
	select {
	case <-calls:
		t.Error("changed was called")
	case <-time.After(100 * time.Millisecond):
	}
}

// What overflows the socket is lost, so the call that follows is all there is
// to tell of it.
func TestWatchTellsOfWhatItLost(t *testing.T) {
	enterNamespace(t)
	addVeth(t, "v0", "v1")
	h := openHandle(t)
	var socket *os.File
	subscriptions := 0
	tiny := func() (*os.File, error) {
		file, err := subscribe()
		if err == nil {
			err = control(file, func(fd int) error {
				return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1) // the kernel takes its least
			})
		}
		socket = file
		subscriptions++
		return file, err
	}
	calls, flooded := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	var count atomic.Int32
	done := inSameNamespace(t)(func() {
		err := watch(ctx, func() {
			if count.Add(1) == 1 {
				close(calls)
				<-flooded
			}
		}, tiny)
		if err != nil {
			t.Error(err)
		}
	})
	<-calls
	for i := range 500 {
		must(t, h.AddVIP("v0", netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})))
	}
	if drops(t, socket) == "0" {
		t.Fatal("nothing was lost")
	}
	close(flooded)
	eventually(t, "changed is called for what was lost", func() bool { return count.Load() > 1 })
	time.Sleep(50 * time.Millisecond)

	before := count.Load()
	must(t, h.SetUp("v0"))
	eventually(t, "changed is called after the loss", func() bool { return count.Load() > before })
	cancel()
	<-done
	if subscriptions != 1 {
		t.Errorf("subscribed %d times", subscriptions)
	}
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

func TestWatchSubscribesAnewWhenTheSocketBreaks(t *testing.T) {
	enterNamespace(t)
	addVeth(t, "v0", "v1")
	h := openHandle(t)
	sockets := make(chan *os.File, 2)
	recorded := func() (*os.File, error) {
		file, err := subscribe()
		sockets <- file
		return file, err
	}
	calls := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := inSameNamespace(t)(func() {
		if err := watch(ctx, func() { signal(calls) }, recorded); err != nil {
			t.Error(err)
		}
	})
	first := <-sockets
	wantCall(t, calls, "to tell that it has subscribed")
	wantQuiet(t, calls)
	first.Close()
	wantCall(t, calls, "after the socket broke")
	wantQuiet(t, calls)
	must(t, h.SetUp("v0"))
	wantCall(t, calls, "by the new subscription")
	cancel()
	<-done
}

func TestWatchEndsAtOnceAndLeavesNothing(t *testing.T) {
	runtime.GC() // closes what earlier tests left
	files, goroutines := openFiles(t), runtime.NumGoroutine()
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		subscribed, ended := make(chan struct{}, 1), make(chan error, 1)
		go func() { ended <- Watch(ctx, func() { signal(subscribed) }) }()
		wantCall(t, subscribed, "to tell that it has subscribed")
		start := time.Now()
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 500*time.Millisecond {
			t.Fatalf("Watch took %s to end", took)
		}
	}
	if after := openFiles(t); after > files {
		t.Errorf("%d files were open before, %d are after", files, after)
	}
	eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
}

func TestWatchEndsAlthoughEventsNeverDo(t *testing.T) {
	enterNamespace(t)
	inside := inSameNamespace(t)
	stop := make(chan struct{})
	churned := inside(func() { churn(t, stop) })
	defer func() { close(stop); <-churned }()
	ctx, cancel := context.WithCancel(t.Context())
	var count atomic.Int32
	done := inside(func() {
		if err := Watch(ctx, func() { count.Add(1) }); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "events come", func() bool { return count.Load() > 100 })
	cancel()
	select {
	case <-done:
	case <-time.After(time.Second):
		t.Error("Watch goes on")
	}
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
