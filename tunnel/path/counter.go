package path

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Counters are the kernel's, by the names that nstat(8) has, and "softnet
// dropped", "conntrack drop" and the like for those that it does not have.
// What could not be read is not there.
type Counters map[string]uint64

// Rose returns how much a counter rose until later; 0 if it is not known.
func (c Counters) Rose(name string, later Counters) uint64 {
	a, ok := c[name]
	if b := later[name]; ok && b > a {
		return b - a
	}
	return 0
}

const procNet = "/proc/thread-self/net/" // of this thread's namespace: proc(5)

func readCounters() Counters {
	c := Counters{}
	for _, file := range []string{"snmp", "netstat"} {
		if b, err := os.ReadFile(procNet + file); err == nil {
			c.pairs(b)
		}
	}
	if b, err := os.ReadFile(procNet + "softnet_stat"); err == nil {
		c.softnet(b)
	}
	for prefix, file := range map[string]string{"conntrack ": "stat/nf_conntrack", "route ": "stat/rt_cache", "neighbours ": "stat/arp_cache"} {
		if b, err := os.ReadFile(procNet + file); err == nil {
			c.columns(prefix, b)
		}
	}
	if b, err := os.ReadFile(procNet + "xfrm_stat"); err == nil {
		c.lines(b)
	}
	if b, err := os.ReadFile(procNet + "sockstat"); err == nil {
		c.sockstat(b)
	}
	return c
}

// pairs reads lines of names and lines of values, in turn: /proc/net/snmp.
func (c Counters) pairs(b []byte) {
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		names := strings.Fields(lines.Text())
		if !lines.Scan() {
			return
		}
		values := strings.Fields(lines.Text())
		if len(names) != len(values) || len(names) == 0 || names[0] != values[0] {
			return
		}
		group := strings.TrimSuffix(names[0], ":")
		for i := 1; i < len(names); i++ {
			if v, err := strconv.ParseUint(values[i], 10, 64); err == nil {
				c[group+names[i]] = v
			}
		}
	}
}

// softnet sums up a line of hexadecimal columns for each processor: processed,
// dropped, and how often there was no time left (softnet_seq_show).
func (c Counters) softnet(b []byte) {
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		for i, name := range []string{"softnet processed", "softnet dropped", "softnet squeezed"} {
			if i < len(f) {
				v, _ := strconv.ParseUint(f[i], 16, 64)
				c[name] += v
			}
		}
	}
}

// columns sums up a line for each processor under one of names, hexadecimal but
// for the first, which is the same for all: entries.
func (c Counters) columns(prefix string, b []byte) {
	var names []string
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if names == nil {
			names = f
			continue
		}
		for i := 0; i < len(f) && i < len(names); i++ {
			v, err := strconv.ParseUint(f[i], 16, 64)
			switch {
			case err != nil:
			case names[i] == "entries":
				c[prefix+names[i]] = v
			default:
				c[prefix+names[i]] += v
			}
		}
	}
}

func (c Counters) lines(b []byte) {
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) == 2 {
			if v, err := strconv.ParseUint(f[1], 10, 64); err == nil {
				c[f[0]] = v
			}
		}
	}
}

// sockstat reads lines such as "TCP: inuse 3 mem 1".
func (c Counters) sockstat(b []byte) {
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		for i := 1; i+1 < len(f); i += 2 {
			if v, err := strconv.ParseUint(f[i+1], 10, 64); err == nil {
				c["sockets "+strings.TrimSuffix(f[0], ":")+" "+f[i]] = v
			}
		}
	}
}

// Limit is one that the kernel has reached, or one that is so low that clients
// feel it.
type Limit struct {
	ID     string // such as "conntrack"
	Hard   bool   // new clients are refused now
	Got    string
	Want   string
	Effect string
	Remedy string
}

// setting returns the numbers of a file below /proc/sys; none if it cannot be
// read.
func setting(path string) []uint64 {
	b, err := os.ReadFile("/proc/sys/" + path)
	if err != nil {
		return nil
	}
	var list []uint64
	for _, f := range strings.Fields(string(b)) {
		v, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			return nil
		}
		list = append(list, v)
	}
	return list
}

// limits looks at what the kernel may run out of.
func limits(before, after Counters) []Limit {
	var list []Limit
	at := func(path string, i int) (uint64, bool) {
		v := setting(path)
		if i >= len(v) {
			return 0, false
		}
		return v[i], true
	}
	low := func(id, path string, i int, least uint64, good string, effect string) {
		if v, ok := at(path, i); ok && v < least {
			key := strings.ReplaceAll(path, "/", ".")
			list = append(list, Limit{ID: id, Got: fmt.Sprintf("%s = %d", key, v), Want: fmt.Sprintf("at least %d", least), Effect: effect,
				Remedy: fmt.Sprintf("sysctl -w %s=%s", key, quoted(good))})
		}
	}
	count, ok1 := at("net/netfilter/nf_conntrack_count", 0)
	most, ok2 := at("net/netfilter/nf_conntrack_max", 0)
	if ok1 && ok2 && most > 0 && count >= most {
		list = append(list, Limit{ID: "conntrack", Hard: true, Got: fmt.Sprintf("%d of %d connections tracked", count, most), Want: "room for new ones",
			Effect: "new connections time out", Remedy: fmt.Sprintf("sysctl -w net.netfilter.nf_conntrack_max=%d", max(4*most, 262144))})
	}
	if v, ok := at("net/ipv4/tcp_mem", 2); ok && after["sockets TCP mem"] >= v {
		list = append(list, Limit{ID: "tcp_mem", Hard: true, Got: fmt.Sprintf("%d of %d pages used by TCP", after["sockets TCP mem"], v), Want: "less",
			Effect: "connections stall, and new ones fail", Remedy: fmt.Sprintf("sysctl -w net.ipv4.tcp_mem='%d %d %d'", 2*v, 3*v, 4*v)})
	}
	if v, ok := at("net/ipv4/neigh/default/gc_thresh3", 0); ok && after["neighbours entries"] >= v {
		list = append(list, Limit{ID: "neighbours", Got: fmt.Sprintf("%d of %d neighbours known", after["neighbours entries"], v), Want: "room for new ones",
			Effect: "answers to hosts of this segment are lost, now and then", Remedy: fmt.Sprintf("sysctl -w net.ipv4.neigh.default.gc_thresh3=%d", max(4*v, 4096))})
	}
	if v, ok := at("net/ipv4/ip_default_ttl", 0); ok && v < 16 {
		list = append(list, Limit{ID: "ttl", Hard: true, Got: fmt.Sprintf("net.ipv4.ip_default_ttl = %d", v), Want: "64",
			Effect: "clients that are more hops away get no answer", Remedy: "sysctl -w net.ipv4.ip_default_ttl=64"})
	}
	low("backlog", "net/core/somaxconn", 0, 32, "4096", "connections are refused or delayed as soon as a few come at once")
	low("backlog", "net/ipv4/tcp_max_syn_backlog", 0, 32, "1024", "connections are delayed as soon as a few come at once")
	low("queue", "net/core/netdev_max_backlog", 0, 100, "1000", "packets that come out of the tunnel together are lost")
	low("window", "net/ipv4/tcp_wmem", 2, 32768, "4096 16384 4194304", "downloads are slow")
	low("window", "net/ipv4/tcp_rmem", 2, 32768, "4096 131072 6291456", "uploads are slow")
	if v := setting("net/ipv4/tcp_window_scaling"); len(v) == 1 && v[0] == 0 {
		list = append(list, Limit{ID: "window", Got: "net.ipv4.tcp_window_scaling = 0", Want: "1", Effect: "downloads over long ways are slow",
			Remedy: "sysctl -w net.ipv4.tcp_window_scaling=1"})
	}
	if r := before.Rose("softnet dropped", after); r > 0 {
		list = append(list, Limit{ID: "softnet", Got: fmt.Sprintf("%d packets dropped while this was looked at: the queue of a processor is full", r), Want: "none",
			Effect: "requests stall for a second or more", Remedy: "sysctl -w net.core.netdev_max_backlog=10000"})
	}
	if r := before.Rose("IpReasmFails", after); r > 0 {
		list = append(list, Limit{ID: "fragments", Got: fmt.Sprintf("%d packets could not be put together while this was looked at", r), Want: "none",
			Effect: "uploads stall", Remedy: "nothing on this node can mend this: let the directors send no fragments (pmtu_disc = 1)"})
	}
	return list
}

func quoted(s string) string {
	if strings.Contains(s, " ") {
		return "'" + s + "'"
	}
	return s
}
