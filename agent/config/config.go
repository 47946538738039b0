// Package config turns the text of /etc/rsagent/rsagent.toml into a typed
// configuration in which every default is filled in, or into the list of
// everything that is wrong with it. It looks at the text alone: whether the
// kernel takes a value, or an address belongs to this node, is judged by those
// who can see the node.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"time"

	"rsagent/sysctl"
)

// File is where rsagent looks for its configuration when it is not told.
const File = "/etc/rsagent/rsagent.toml"

// maxSize is the largest file that Load takes, in bytes.
const maxSize = 1 << 20

// The modes of a node, as in tunnel.mode.
const (
	// ModeIPIP is a real server of LVS-TUN: VIPs on an IPIP device.
	ModeIPIP = "ipip"
	// ModeNone is a node behind a proxy: no VIP, no tunnel, and pools that
	// name an address.
	ModeNone = "none"
)

// DefaultDevice is tunnel.device unless the file has another: the name under
// which the ipip module makes its own device (net/ipv4/ipip.c).
const DefaultDevice = "tunl0"

// What becomes of the VIPs at a final stop, as in tunnel.on_stop.
const (
	// OnStopKeep leaves them where they are.
	OnStopKeep = "keep"
	// OnStopRemove takes them off the device.
	OnStopRemove = "remove"
)

// The bounds of tunnel.clamp_mss in bytes: what a host assumes when no maximum
// segment size is announced (RFC 9293, 3.7.1), and the largest that fits an
// IPv4 packet.
const (
	MinMSS = 536
	MaxMSS = 65495
)

// Config is one whole configuration. What Parse, Load and FromFlags return
// has every default filled in. Empty lists are nil.
type Config struct {
	// VIPs are the virtual addresses in the order of the file: IPv4, no two
	// the same, none with ModeNone and at least one otherwise.
	VIPs []netip.Addr
	// Directors are those who may send encapsulated packets, in the order of
	// the file: IPv4, host bits zero, a single address is a /32. No two are
	// the same, but one may contain another. It may be empty.
	Directors []netip.Prefix
	Tunnel    Tunnel
	// Sysctl holds what to set beyond LVS-TUN's own needs, in the order of
	// the file. No two entries name the same key.
	Sysctl []Sysctl
	Health Health
	Drain  Drain
	Weight Weight
	Repair Repair
	Log    Log
	// Pools are the services of this node in the order of the file.
	Pools []Pool
}

// Tunnel is the [tunnel] table: the device that holds the VIPs.
type Tunnel struct {
	Mode   string // ModeIPIP or ModeNone
	Device string // a name that the kernel takes for an interface
	OnStop string // OnStopKeep or OnStopRemove: what becomes of the VIPs at a final stop
	// Guard drops encapsulated packets from anyone but the directors, and
	// anything unwrapped that is not for a VIP.
	Guard    bool
	ClampMSS MSSClamp
}

// MSSClamp says what becomes of the maximum segment size that replies from a
// VIP announce. The zero value leaves it alone.
type MSSClamp struct {
	Auto  bool // work it out from the path; Bytes is 0 then
	Bytes int  // announce at most this many bytes, MinMSS to MaxMSS; 0 is off
}

// Sysctl is one entry of the [sysctl] table.
type Sysctl struct {
	// Key is the name as the file has it: net.ipv4.tcp_fin_timeout, or with
	// slashes where an interface name has dots, as sysctl(8) takes both. A key
	// written without quotes (TOML then reads its dots as nested tables) is put
	// together again, with slashes if one of its parts has a dot.
	Key   string
	Path  sysctl.Key // the setting that Key names; no two entries have the same
	Value string     // one line of text; an integer of the file in decimal
}

// Health is the [health] table: who is told what.
type Health struct {
	Listen      string         // host:port or :port of the HTTP endpoint
	AgentListen string         // the same for HAProxy's agent-check; empty is off
	DrainStatus int            // HTTP status while draining, 400 to 599
	Allow       []netip.Prefix // who may ask, IPv4 or IPv6; empty is anyone
}

// Drain is the [drain] table: how patient a drain is.
type Drain struct {
	Notice  time.Duration // at most this long for the directors to notice; 0 is not at all
	Timeout time.Duration // at most this long for connections to end; 0 is not at all
	Fall    int           // refusals that a director must have seen, at least 1
	Idle    time.Duration // a connection that was answered and silent for this long is not waited for; 0: it is
	File    string        // while there is such a file the node drains; an absolute path, empty for none
}

// The bounds of repair.sweep, and of repair.flaps from above.
const (
	MinSweep = time.Second
	MaxSweep = time.Minute
	MaxFlaps = 1000
)

// FlapWindow is the time within which repair.flaps counts.
const FlapWindow = 5 * time.Minute

// Repair is the [repair] table: how the node is kept right.
type Repair struct {
	// Sweep is how often the whole node is looked at when nothing happens,
	// MinSweep to MaxSweep. Word of a change is not waited for that long.
	Sweep time.Duration
	// Flaps is how many repairs of the same thing within FlapWindow are still
	// made; one more stops that repair. At most MaxFlaps; 0 never stops one.
	Flaps int
}

// Log is the [log] table.
type Log struct {
	Level  string // "trace", "debug", "info", "warn" or "error"
	Format string // "auto", "console" or "json"
}

// Pool is one [[pool]]: a service of this node, and how to tell that it works.
type Pool struct {
	Name    string         // letters, digits, ".", "_" and "-"; no two the same
	Address netip.AddrPort // one of the VIPs (with ModeNone: any address) and the port; no two the same
	Probe   Probe
}

// The types of a probe, as in pool.probe.type.
const (
	ProbeTCP   = "tcp"   // a connection can be opened
	ProbeHTTP  = "http"  // GET is answered with a wanted status
	ProbeHTTPS = "https" // the same over TLS
	ProbeExec  = "exec"  // a program ends with status 0
)

// How much of a certificate an https probe checks, as in pool.probe.verify.
const (
	// VerifyName wants a certificate that is in date and for the server name,
	// whoever signed it.
	VerifyName = "name"
	// VerifyChain wants in addition that a CA of the system, or of the CA
	// file, signed it.
	VerifyChain = "chain"
	// VerifyOff takes any certificate.
	VerifyOff = "off"
)

// Probe says how a pool is checked. Fields that its type does not use are
// empty.
type Probe struct {
	Type string // ProbeTCP, ProbeHTTP, ProbeHTTPS or ProbeExec
	// Path, Host and Status belong to http and https. Host is the Host header
	// and may be empty; Status has at least one range.
	Path, Host string
	Status     []StatusRange
	// ServerName, Verify and CAFile belong to https. ServerName is empty only
	// with VerifyOff. CAFile is an absolute path and comes only with
	// VerifyChain; if it is empty, the CAs of the system count.
	ServerName, Verify, CAFile string
	// Command belongs to exec: a program by its absolute path, and its
	// arguments.
	Command []string
	// Interval is the time from one start to the next, Timeout the time that
	// one probe may take. Both are above zero.
	Interval, Timeout time.Duration
	// Rise is how many successes in a row make a pool good, Fall how many
	// failures in a row make it bad. Both are at least 1.
	Rise, Fall int
}

// StatusRange is a range of HTTP status codes, both ends included.
type StatusRange struct{ From, To int }

// Load reads and parses one file. The error is of type Problems if the file
// could be read. If there is no such file, errors.Is(err, fs.ErrNotExist)
// holds.
func Load(file string) (Config, error) {
	data, err := Read(file)
	if err != nil {
		return Config{}, fmt.Errorf("cannot read configuration %s: %w", file, err)
	}
	return Parse(file, data)
}

// Read returns the content of a file of at most 1 MiB. Its errors do not name the
// file.
func Read(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, withoutPath(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, withoutPath(err)
	}
	if info.IsDir() {
		return nil, errors.New("it is a directory, expected a file")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, withoutPath(err)
	}
	if len(data) > maxSize {
		return nil, fmt.Errorf("it is larger than %d MiB", maxSize>>20)
	}
	return data, nil
}

// withoutPath takes "open FILE:" off an error, since the caller names the file.
func withoutPath(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
