package through

import (
	"bytes"
	"net/netip"
	"os"
	"strings"
)

// asking is the flag of an entry without a hardware address, proc_net(5).
const asking = "0x0"

// neighbours are the flags of all that ARP was asked for, /proc/net/arp. What
// cannot be read is not there.
func neighbours() map[netip.Addr]string {
	b, err := os.ReadFile("/proc/thread-self/net/arp")
	if err != nil {
		return nil
	}
	return parseNeighbours(b)
}

func parseNeighbours(b []byte) map[netip.Addr]string {
	flags := map[netip.Addr]string{}
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line)) // address, kind of hardware, flags
		if len(f) < 3 {
			continue
		}
		if a, err := netip.ParseAddr(f[0]); err == nil {
			flags[a] = f[2]
		}
	}
	return flags
}
