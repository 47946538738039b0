package path

import (
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Programs of two instructions each (linux/bpf.h): r0 = what is returned; exit.
func returns(what int32) []uint64 { return []uint64{uint64(uint32(what))<<32 | 0xb7, 0x95} }

func TestProgramsOfTCXThatTakeThePackets(t *testing.T) {
	const next, pass, drop, redirect = -1, 0, 2, 7
	for _, x := range []struct {
		name     string
		hook     uint32
		programs []int32
		want     string // of Where and Why; empty: nothing is in the way
	}{
		{"none", unix.BPF_TCX_INGRESS, nil, ""},
		{"one that passes", unix.BPF_TCX_INGRESS, []int32{pass}, ""},
		{"one that drops", unix.BPF_TCX_INGRESS, []int32{drop}, "on eth0 drops them"},
		{"one that drops the answers", unix.BPF_TCX_EGRESS, []int32{drop}, "on eth0 drops them"},
		{"one that sends them elsewhere", unix.BPF_TCX_INGRESS, []int32{redirect}, "on eth0 sends them elsewhere"},
		{"one that leaves it to the next", unix.BPF_TCX_INGRESS, []int32{next, drop}, "on eth0 drops them"},
		{"one that passes, before one that drops", unix.BPF_TCX_INGRESS, []int32{pass, drop}, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			enterNamespace(t)
			list, err := links()
			if err != nil {
				t.Fatal(err)
			}
			q := questionOn(list)
			want := x.want
			for _, p := range x.programs {
				if !attachTCX(t, q.Facing[0], x.hook, returns(p)) {
					want = "" // a kernel without tcx has no programs of it
				}
			}
			stops, err := express(list, q, samplesOf(q, testNode))
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, s := range stops {
				got += s.Where + " " + s.Why
				if !strings.HasPrefix(s.Remedy, "bpftool link detach id ") {
					t.Errorf("the remedy is %q", s.Remedy)
				}
			}
			if want == "" && got != "" || !strings.HasSuffix(got, want) {
				t.Errorf("got %q, want %q", got, x.want)
			}
		})
	}
}

// attachTCX puts a program on a link until the test ends. It says no where the
// kernel has no tcx.
func attachTCX(t *testing.T, index int, hook uint32, program []uint64) bool {
	t.Helper()
	terms := []byte("none\x00")
	load := struct {
		kind, count    uint32
		program, terms unsafe.Pointer
		_              [13]uint64
	}{kind: unix.BPF_PROG_TYPE_SCHED_CLS, count: uint32(len(program)), program: unsafe.Pointer(&program[0]), terms: unsafe.Pointer(&terms[0])}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&load)), unsafe.Sizeof(load))
	if errno != 0 {
		t.Fatalf("cannot load a program: %v", errno)
	}
	defer unix.Close(int(fd))
	create := struct {
		program, index, hook, flags uint32
		_                           [4]uint64
	}{program: uint32(fd), index: uint32(index), hook: hook}
	link, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_LINK_CREATE, uintptr(unsafe.Pointer(&create)), unsafe.Sizeof(create))
	if errno == unix.EINVAL {
		return false
	}
	if errno != 0 {
		t.Fatalf("cannot attach a program: %v", errno)
	}
	t.Cleanup(func() { unix.Close(int(link)) })
	return true
}
