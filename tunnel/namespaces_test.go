package tunnel

import (
	"os/exec"
	"slices"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestAnotherNamespaceIsFoundAndLookedInto(t *testing.T) {
	p := exec.Command("sleep", "60")
	p.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Process.Kill(); p.Wait() })
	list := OtherNamespaces("/")
	at := slices.IndexFunc(list, func(ns Namespace) bool { return ns.PID == p.Process.Pid })
	if at < 0 {
		t.Fatalf("process %d is in none of %v", p.Process.Pid, list)
	}
	var names []string
	err := list[at].Look(func() {
		links, _ := netlink.LinkList()
		for _, l := range links {
			if l.Attrs().Flags&unix.IFF_UP != 0 {
				t.Errorf("%s is up in a new namespace", l.Attrs().Name)
			}
			names = append(names, l.Attrs().Name)
		}
	})
	if err != nil || !slices.Contains(names, "lo") {
		t.Errorf("%v, %v", names, err)
	}
	for range 100 { // on whatever thread
		if slices.ContainsFunc(OtherNamespaces("/"), func(ns Namespace) bool { return ns.PID == syscall.Getpid() }) {
			t.Fatal("the thread that looked is still in use")
		}
	}
	gone := Namespace{PID: 1, file: "/no/such"}
	if err := gone.Look(func() { t.Error("it looked") }); err == nil {
		t.Error("a namespace that is gone is no error")
	}
	if list := OtherNamespaces(t.TempDir()); list != nil {
		t.Errorf("without /proc: %v", list)
	}
}
