package tunnel

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// Namespace is a network namespace of this machine.
type Namespace struct {
	Name string // as ip-netns(8) has it; empty: it has none
	PID  int    // a process in it, where it has no name
	file string
}

// Enter is the words that run a command in it.
func (ns Namespace) Enter() string {
	if ns.Name != "" {
		return "ip netns exec " + ns.Name
	}
	return fmt.Sprintf("nsenter -t %d -n", ns.PID)
}

// String names it for people.
func (ns Namespace) String() string {
	switch {
	case ns.Name != "":
		return ns.Name
	case ns.PID == 1:
		return "that of process 1"
	}
	return fmt.Sprintf("that of process %d", ns.PID)
}

// mostNamespaces bounds how many are told of.
const mostNamespaces = 64

// OtherNamespaces lists the network namespaces besides that of the calling thread
// that have a name or a process: that of process 1, those with a name, the others.
// Which of them can be seen depends on the rights of the caller and on /proc. Root
// is / but in tests.
func OtherNamespaces(root string) []Namespace {
	type identity struct{ dev, ino uint64 }
	var list []Namespace
	known := map[identity]bool{}
	add := func(ns Namespace) {
		var s unix.Stat_t
		if unix.Stat(ns.file, &s) != nil || len(list) == mostNamespaces {
			return
		}
		if i := (identity{s.Dev, s.Ino}); !known[i] {
			known[i] = true
			list = append(list, ns)
		}
	}
	proc := filepath.Join(root, "proc")
	add(Namespace{file: filepath.Join(proc, "thread-self/ns/net")})
	if len(list) == 0 {
		return nil // what is not known to be another one is none
	}
	add(Namespace{PID: 1, file: filepath.Join(proc, "1/ns/net")})
	named, _ := os.ReadDir(filepath.Join(root, "run/netns"))
	for _, e := range named {
		add(Namespace{Name: e.Name(), file: filepath.Join(root, "run/netns", e.Name())})
	}
	running, _ := os.ReadDir(proc)
	for _, e := range running {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			add(Namespace{PID: pid, file: filepath.Join(proc, e.Name(), "ns/net")})
		}
	}
	return list[1:]
}

// Look runs look in the namespace, on a thread of its own that ends with it. It
// needs CAP_SYS_ADMIN.
func (ns Namespace) Look(look func()) error {
	ended := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: nobody else gets this thread
		ended <- ns.enter(look)
	}()
	return <-ended
}

func (ns Namespace) enter(look func()) error {
	fd, err := unix.Open(ns.file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot look into the network namespace %s: %w", ns, err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("cannot look into the network namespace %s: %w", ns, err)
	}
	look()
	return nil
}
