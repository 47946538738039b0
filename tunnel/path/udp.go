package path

import (
	"bytes"
	"maps"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"rsagent/packet"
)

const (
	plainIPv4 = 0x45 // the first byte of a packet of IPv4 without options
	gueOther  = 0xe0 // of the first byte of a header of GUE: another version than 0, or no data
)

// unwrapUDP is the packet in a packet of UDP, if that is a tunnel: FOU, where it
// follows at once, or GUE of version 0, which has a header of 4 bytes, and as many
// words of options as that says, between the two (struct guehdr in
// include/net/gue.h). What IPVS sends with --tun-type gue is the latter.
func unwrapUDP(h packet.Header) (inner packet.Header, gue, ok bool) {
	const header, gueHeader = 8, 4
	if len(h.Body) < header+gueHeader {
		return inner, false, false
	}
	body := h.Body[header:]
	if body[0] == plainIPv4 {
		inner, ok = packet.Parse(body)
		return inner, false, ok
	}
	length := gueHeader + 4*int(body[0]&^gueOther)
	if body[0]&gueOther != 0 || body[1] != unix.IPPROTO_IPIP || len(body) < length {
		return inner, true, false
	}
	inner, ok = packet.Parse(body[length:])
	return inner, true, ok
}

// forgetTaken leaves out what is for a port that a socket has: that of the kernel
// which unwraps FOU and GUE is one (fou_create in net/ipv4/fou_core.c).
func (w *watcher) forgetTaken() {
	if len(w.wire.InUDP) == 0 {
		return
	}
	taken := map[uint16]bool{}
	for _, file := range []string{"udp", "udp6"} {
		b, err := os.ReadFile(procNet + file)
		if err != nil {
			continue
		}
		for line := range bytes.Lines(b) {
			f := strings.Fields(string(line))
			if len(f) < 2 {
				continue
			}
			if at, ok := parseEnd(f[1]); ok {
				taken[at.Port()] = true
			}
		}
	}
	maps.DeleteFunc(w.wire.InUDP, func(by InUDP, _ int) bool { return taken[by.Port] })
}
