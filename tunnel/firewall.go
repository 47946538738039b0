package tunnel

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// Firewall is what rsagent wants of the packet filter, IPv4 only: a guard on
// the tunnel and a limit to the MSS that clients are told. It lives in one
// table of nf_tables, "ip rsagent", and touches no other. If neither is wanted,
// the table is not wanted.
type Firewall struct {
	// Guard drops, before routing and before conntrack:
	//
	//   - IPIP (protocol 4, whoever it is for) whose outer source is no
	//     director. While there are no Directors this rule is left out: to drop
	//     everything would cut the node off for want of a setting.
	//   - What comes out of Device and is not for a VIP. While there are no
	//     VIPs that is all.
	//
	// It cannot tell a director from a host that forges a director's address:
	// the network has to keep such packets out.
	Guard     bool
	Directors []netip.Prefix // may overlap; bits beyond the length do not count
	VIPs      []netip.Addr
	Device    string // the tunnel device; the guard needs it

	// MSS is the most that a SYN-ACK from a VIP may announce, in bytes; 0 is no
	// limit. One that announces less stays as it is, and one that announces
	// nothing still does.
	MSS int
}

// FirewallState is what there is of rsagent's table, in a form that does not
// depend on the order in which the kernel lists it.
type FirewallState struct {
	// What was dropped by either rule of the guard, and the SYN-ACKs whose MSS
	// was lowered; since the table, or at least the counter, was last made from
	// nothing.
	NotDirector, NotVIP, Clamped Counter

	there bool
	table table
}

// There tells whether the table of rsagent is there, whatever is in it.
func (s FirewallState) There() bool { return s.there }

// Counter is how many packets a rule has met.
type Counter struct {
	Packets, Bytes uint64 // whole IP packets
}

// ErrNoNFTables tells that the kernel has no nf_tables, or lacks a part of it,
// and did not load it.
var ErrNoNFTables = errors.New("the kernel has no nf_tables, or lacks a part of it (module missing, or may not be loaded)")

// wanted tells whether there is to be a table.
func (f Firewall) wanted() bool { return f.Guard || f.MSS != 0 }

// check says what cannot be put into the table.
func (f Firewall) check() error {
	for _, d := range f.Directors {
		if !d.IsValid() || !d.Addr().Is4() {
			return fmt.Errorf("the director %s is not an IPv4 address or prefix", d)
		}
	}
	for _, v := range f.VIPs {
		if !v.Is4() {
			return fmt.Errorf("the VIP %s is not an IPv4 address", v)
		}
	}
	if f.Guard && (f.Device == "" || len(f.Device) >= unix.IFNAMSIZ) {
		return fmt.Errorf("the guard needs the name of the tunnel device, not %q", f.Device)
	}
	if f.MSS < 0 || f.MSS > 0xffff {
		return fmt.Errorf("an MSS of %d bytes cannot be announced", f.MSS)
	}
	return nil
}

// State is what ObserveFirewall returns while f is in place and no packet has
// been counted. The error names what in f is impossible.
func (f Firewall) State() (FirewallState, error) {
	if err := f.check(); err != nil || !f.wanted() {
		return FirewallState{}, err
	}
	return FirewallState{there: true, table: f.table()}, nil
}

// Holds tells whether what there is is exactly what is wanted: the same chains,
// rules, sets and counters, and nothing else. Otherwise it says in words what
// is different.
func (s FirewallState) Holds(want Firewall) (bool, string) {
	wanted, err := want.State()
	if err != nil {
		return false, err.Error()
	}
	return s.Is(wanted)
}

// Is is Holds for what is the State of a Firewall, which takes long to make.
func (s FirewallState) Is(wanted FirewallState) (bool, string) {
	switch {
	case !wanted.there && !s.there:
		return true, ""
	case !wanted.there:
		return false, "the table is there"
	case !s.there:
		return false, "the table is not there"
	}
	differences := s.table.differences(wanted.table)
	return len(differences) == 0, strings.Join(differences, "; ")
}

// ObserveFirewall looks at rsagent's table. That there is none is no error. It
// needs CAP_NET_ADMIN, as the kernel tells nobody else. A look during which
// somebody changes the packet filter, whichever table, is taken again a few
// times; then ObserveFirewall fails. If the kernel has no nf_tables,
// errors.Is(err, ErrNoNFTables).
func (h *Handle) ObserveFirewall() (FirewallState, error) {
	if err := h.reachFirewall(); err != nil {
		return FirewallState{}, err
	}
	state, err := h.firewall.observe()
	return state, cannot(err, "look at the packet filter")
}

// ApplyFirewall makes rsagent's table what is wanted, or takes it away if
// neither guard nor clamp is. The kernel makes the whole change at once, so no
// packet meets no rules or a part of them, and counters go on. Only where
// somebody put a chain elsewhere, or something else into the table that does not
// come out of it, is the table deleted and made anew: a packet that is on its
// way right then may get through, and what is counted meanwhile is lost.
//
// Each call makes the kernel tell those who watch it, also if nothing has
// changed, so look first. If the kernel has no nf_tables, or lacks a part of
// it, errors.Is(err, ErrNoNFTables).
func (h *Handle) ApplyFirewall(want Firewall) error {
	if err := want.check(); err != nil {
		return cannot(err, "set the packet filter")
	}
	if !want.wanted() {
		return h.RemoveFirewall()
	}
	if err := h.reachFirewall(); err != nil {
		return err
	}
	return cannot(h.firewall.replace(want), "set the packet filter")
}

// RemoveFirewall takes rsagent's table away. If there is none, or the kernel
// cannot have any, that is success.
func (h *Handle) RemoveFirewall() error {
	err := h.reachFirewall()
	if errors.Is(err, ErrNoNFTables) {
		return nil
	}
	if err != nil {
		return err
	}
	err = h.firewall.remove()
	if errors.Is(err, ErrNoNFTables) {
		return nil
	}
	return cannot(err, "remove the table from the packet filter")
}

// reachFirewall opens the socket to the packet filter if Open could not: its
// module may have come since.
func (h *Handle) reachFirewall() error {
	if h.firewallErr == nil {
		return nil
	}
	h.firewall, h.firewallErr = openNFTables()
	if h.firewallErr != nil {
		return h.firewallErr
	}
	if err := sameNamespace(h.firewall.conn, h.diag.fd); err != nil {
		h.firewall.close()
		h.firewall, h.firewallErr = nil, err
	}
	return h.firewallErr
}
