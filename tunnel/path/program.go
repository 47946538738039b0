package path

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// programs asks what the XDP programs of the links that face the directors do
// with what a director sends: the kernel runs them on a packet that is not
// there (BPF_PROG_TEST_RUN, bpf(2)).
func programs(links []Link, q Question, s samples) ([]Stop, error) {
	var stops []Stop
	for _, l := range links {
		if !q.passes(l.Index) {
			continue
		}
		for _, x := range l.XDP {
			for _, p := range s[Outer] {
				did, err := runProgram(x.ID, l, p)
				if err != nil {
					return stops, fmt.Errorf("cannot try the XDP program on %s: %w", l.Name, err)
				}
				why := map[uint32]string{0: "drops them (it ends with an error)", 1: "drops them", 3: "sends them back"}[did]
				if why != "" {
					stops = append(stops, Stop{Leg: Outer, Where: fmt.Sprintf("the XDP program %d on %s", x.ID, l.Name), Why: why,
						Remedy: fmt.Sprintf("ip link set dev %s %s off", l.Name, x.Mode)})
					break
				}
			}
		}
	}
	return stops, nil
}

// runProgram returns what a program says of a packet that comes in by an
// Ethernet link. It needs CAP_SYS_ADMIN.
func runProgram(id uint32, l Link, packet []byte) (uint32, error) {
	const getByID, testRun = 13, 10 // BPF_PROG_GET_FD_BY_ID, BPF_PROG_TEST_RUN: linux/bpf.h
	get := struct{ id, next, flags uint32 }{id: id}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, getByID, uintptr(unsafe.Pointer(&get)), unsafe.Sizeof(get))
	if errno != 0 {
		return 0, fmt.Errorf("program %d: %w", id, errno)
	}
	defer unix.Close(int(fd))
	frame := append(append([]byte{}, l.MAC[:]...), 2, 0, 0, 0, 0, 1, 8, 0)
	frame = append(frame, packet...)
	out := make([]byte, len(frame)+512)
	run := struct {
		fd, returned, sizeIn, sizeOut uint32
		in, out                       uint64
		repeat, duration              uint32
		contextIn, contextOut         uint32
		pointers                      [2]uint64
	}{
		fd: uint32(fd), sizeIn: uint32(len(frame)), sizeOut: uint32(len(out)), repeat: 1,
		in: uint64(uintptr(unsafe.Pointer(&frame[0]))), out: uint64(uintptr(unsafe.Pointer(&out[0]))),
	}
	_, _, errno = unix.Syscall(unix.SYS_BPF, testRun, uintptr(unsafe.Pointer(&run)), unsafe.Sizeof(run))
	runtime.KeepAlive(frame)
	runtime.KeepAlive(out)
	if errno != 0 {
		return 0, fmt.Errorf("program %d does not run on trial: %w", id, errno)
	}
	return run.returned, nil
}
