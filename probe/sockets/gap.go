package sockets

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// Gaps is how many connections wait for something that was lost.
type Gaps struct {
	Open int // connections whose handshake is done
	// Waiting are those of them for which something has come that the service
	// cannot read, since what belongs before it has not come for some time.
	Waiting int
}

// GapsOf counts the connections to one of the addresses whose gap is at least so
// old. A client sends what was lost again, at once and after 0.2 s to 1 s, then
// twice as late each time (RFC 6298), so that only what is lost again and again
// leaves a gap for seconds.
func GapsOf(addresses []netip.Addr, old time.Duration) (Gaps, error) {
	var gaps Gaps
	wanted := make(map[netip.Addr]bool, len(addresses))
	for _, a := range addresses {
		wanted[a] = true
	}
	const info, memory = 1 << (2 - 1), 1 << (7 - 1) // INET_DIAG_INFO, INET_DIAG_SKMEMINFO
	err := dump(1<<established, 0, info|memory, func(s socket) {
		if !wanted[s.local.Addr()] {
			return
		}
		gaps.Open++
		if s.gap() >= old {
			gaps.Waiting++
		}
	})
	if err != nil {
		return Gaps{}, fmt.Errorf("cannot list the connections of clients: %w", err)
	}
	return gaps, nil
}

// gap is how long nothing that the service could read has come, although the
// socket holds something that came; 0: it holds nothing but what can be read, or
// the kernel does not say. What is out of order is in the memory of the socket and
// not in its queue (tcp_data_queue_ofo, net/ipv4/tcp_input.c).
func (s socket) gap() time.Duration {
	const receivedAt = 52 // tcpi_last_data_recv, in ms
	if len(s.info) < receivedAt+4 || len(s.memory) < 4 {
		return 0
	}
	held := binary.NativeEndian.Uint32(s.memory) // SK_MEMINFO_RMEM_ALLOC
	if held == 0 || s.rqueue > 0 {
		return 0
	}
	return time.Duration(binary.NativeEndian.Uint32(s.info[receivedAt:])) * time.Millisecond
}
