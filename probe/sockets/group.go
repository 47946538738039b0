package sockets

import (
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Group is the control group of a process, as far as it can keep the process's
// sockets from their peers: cgroups(7). What is not known is empty.
type Group struct {
	Path   string // below the root of the second hierarchy, such as /system.slice/nginx.service
	Frozen bool   // it, or one above it: nothing in it runs
	// Ingress and Egress are how many programs of eBPF see, and may drop, what
	// its sockets receive and send.
	Ingress, Egress int
}

// Unit is the service of systemd whose group it is, "" if it is another's.
func (g Group) Unit() string {
	if name := filepath.Base(g.Path); strings.HasSuffix(name, ".service") {
		return name
	}
	return ""
}

// groupOf reads the group of a process, whose directory is below proc. In a
// container that does not see its own group nothing is known.
func groupOf(dir, root string) Group {
	file, err := os.ReadFile(filepath.Join(dir, "cgroup"))
	if err != nil {
		return Group{}
	}
	var g Group
	for line := range strings.Lines(string(file)) {
		if path, unified := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); unified && !strings.Contains(path, "..") {
			g.Path = path
		}
	}
	if g.Path == "" {
		return g
	}
	at := filepath.Join(root, g.Path)
	events, _ := os.ReadFile(filepath.Join(at, "cgroup.events"))
	g.Frozen = strings.Contains(string(events), "frozen 1")
	if d, err := os.Open(at); err == nil {
		defer d.Close()
		g.Ingress, g.Egress = programs(d, unix.BPF_CGROUP_INET_INGRESS), programs(d, unix.BPF_CGROUP_INET_EGRESS)
	}
	return g
}

// programs asks how many programs are in force at a control group, with those of
// the groups above it; 0 if that cannot be asked. It is BPF_PROG_QUERY with
// BPF_F_QUERY_EFFECTIVE: the part named query of union bpf_attr in linux/bpf.h.
func programs(group *os.File, attach uint32) int {
	const effective = 1
	query := struct {
		target, attach, flags, attachFlags uint32
		ids                                uint64
		count                              uint32
		_                                  [36]byte // what newer kernels have more
	}{target: uint32(group.Fd()), attach: attach, flags: effective}
	_, _, err := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_QUERY, uintptr(unsafe.Pointer(&query)), unsafe.Sizeof(query))
	if err != 0 {
		return 0
	}
	return int(query.count)
}
