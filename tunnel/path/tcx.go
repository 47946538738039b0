package path

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// express asks what the programs of eBPF do with the packets of the legs that sit
// on the links that face the directors, beside the filters of tc: tcx, of Linux 6.6.
// The first of them that decides is the last that is asked (tcx_run,
// net/core/dev.c).
func express(links []Link, q Question, s samples) ([]Stop, error) {
	var stops []Stop
	for _, l := range links {
		if l.Type != unix.ARPHRD_ETHER || !q.passes(l.Index) {
			continue
		}
		for leg, hook := range map[Leg]uint32{Outer: unix.BPF_TCX_INGRESS, Answer: unix.BPF_TCX_EGRESS} {
			list, err := expressPrograms(l.Index, hook)
			if err != nil {
				return stops, fmt.Errorf("cannot list the programs of tcx on %s: %w", l.Name, err)
			}
			if stop, ok := firstStop(list, l, leg, s[leg]); ok {
				stops = append(stops, stop)
			}
		}
	}
	return stops, nil
}

func firstStop(list []expressProgram, l Link, leg Leg, packets [][]byte) (Stop, bool) {
	for _, p := range packets {
		for _, x := range list {
			did, err := runProgram(x.id, l, p)
			if err != nil || did == ^uint32(0) { // TCX_NEXT
				continue
			}
			why := map[uint32]string{2: "drops them", 7: "sends them elsewhere"}[did] // TCX_DROP, TCX_REDIRECT
			if why == "" {
				break
			}
			remedy := fmt.Sprintf("see whose it is, and end that: bpftool net show dev %s", l.Name)
			if x.link != 0 {
				remedy = fmt.Sprintf("bpftool link detach id %d", x.link)
			}
			return Stop{Leg: leg, Where: fmt.Sprintf("the eBPF program %d (tcx) on %s", x.id, l.Name), Why: why, Remedy: remedy}, true
		}
	}
	return Stop{}, false
}

// expressProgram is a program of tcx, and the bpf_link that holds it; 0: none.
type expressProgram struct{ id, link uint32 }

// expressPrograms lists the programs at a hook of a link in the order in which
// they run. It is BPF_PROG_QUERY: the part named query of union bpf_attr in
// linux/bpf.h. A kernel without tcx says EINVAL, and has none.
func expressPrograms(index int, hook uint32) ([]expressProgram, error) {
	var ids, held [64]uint32
	query := struct {
		index, hook, flags, attachFlags uint32
		ids                             *uint32
		count, _                        uint32
		programFlags, links             *uint32
		linkFlags                       *uint32
		revision                        uint64
	}{index: uint32(index), hook: hook, ids: &ids[0], count: uint32(len(ids)), links: &held[0]}
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_QUERY, uintptr(unsafe.Pointer(&query)), unsafe.Sizeof(query))
	switch errno {
	case 0:
	case unix.EINVAL, unix.ENOENT, unix.ENOSYS:
		return nil, nil
	default:
		return nil, errno
	}
	var list []expressProgram
	for i := range min(query.count, uint32(len(ids))) {
		list = append(list, expressProgram{ids[i], held[i]})
	}
	return list, nil
}
