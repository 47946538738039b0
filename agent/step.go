package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"

	"rsagent/agent/health"
	"rsagent/agent/ledger"
	"rsagent/sysctl"
	"rsagent/tunnel"
)

// Step is one change of the node, as it is logged, and as the ledger keeps it.
type Step struct {
	What string // what is changed, as an admin would name it
	Old  string
	New  string

	entries []ledger.Entry
	source  string // of the word by which a need for the step becomes known

	// slow says that it may take the kernel seconds, as to load a module.
	slow bool

	do func(Host) error
	// add is an address that the step adds. Those of many steps are added at
	// once; then do is nil.
	add *tunnel.Address
}

// Kinds of entries in the ledger.
const (
	kindSysctl  = "sysctl"  // by path; the value before and after
	kindAddress = "address" // by prefix and link; its scope, or nothing if it was absent
	kindLink    = "link"    // by name; linkAbsent, linkDown or linkUp
	kindTable   = "table"   // rsagent's own
)

const (
	scopeHost, scopeOther            = "host", "global"
	linkAbsent, linkDown, linkUp     = "absent", "down", "up"
	tableAbsent, tableThere, wasGone = "", "there", "absent"
)

func setSysctl(n Node, key sysctl.Key, value string) Step {
	old := n.Sysctl[key].Text
	return Step{
		What: key.String(), Old: old, New: value,
		entries: append(spread(n, key, value), ledger.Entry{Kind: kindSysctl, Name: string(key), Before: old, After: value}),
		source:  health.FromSettings,
		do:      func(h Host) error { return refusedBy(key, h.Sysctl.Write(key, value)) },
	}
}

// spread is what a write to conf/default may change besides: the same setting of
// interfaces that were never written. Which those are the kernel does not say,
// and it does not take them along when conf/default is given back, if they have
// had an address since (devinet_copy_dflt_conf in net/ipv4/devinet.c).
func spread(n Node, key sysctl.Key, value string) []ledger.Entry {
	name, general := strings.CutPrefix(string(key), "net/ipv4/conf/default/")
	if !general {
		return nil
	}
	var entries []ledger.Entry
	for _, l := range n.Net.Links {
		own := sysctl.ConfKey(l.Name, name)
		if v, read := n.Sysctl[own]; read && v.Err == nil && v.Text != value {
			entries = append(entries, ledger.Entry{Kind: kindSysctl, Name: string(own), Before: v.Text, After: value})
		}
	}
	return entries
}

// errRefused is the error of a setting that the kernel does not take as it is
// configured: it is no use to write it again and again.
var errRefused = errors.New("the kernel refuses the value")

// refusedBy marks a refusal by the kernel, and says what it would have taken.
func refusedBy(key sysctl.Key, err error) error {
	switch {
	case errors.Is(err, sysctl.ErrStoredOtherwise):
		return fmt.Errorf("%w: %v", errRefused, err)
	case !errors.Is(err, syscall.EINVAL):
		return err
	}
	if valid := sysctl.Range(key); valid != "" {
		return fmt.Errorf("%w: %v; it takes %s", errRefused, err, valid)
	}
	return fmt.Errorf("%w: %v", errRefused, err)
}

// createDevice cannot be undone: the fallback device that the kernel makes with
// its module cannot be deleted. Down and without a VIP it does nothing.
func createDevice(device string) Step {
	return Step{
		What: deviceName(device), Old: linkAbsent, New: "ipip, any to any",
		entries: []ledger.Entry{{Kind: kindLink, Name: device, Before: linkAbsent, After: linkDown}},
		source:  health.FromLinks,
		slow:    true,
		do:      func(h Host) error { return h.Net.CreateDevice(device) },
	}
}

func addVIP(l tunnel.Link, vip netip.Addr) Step {
	a := tunnel.Address{LinkIndex: l.Index, Link: l.Name, Prefix: netip.PrefixFrom(vip, vip.BitLen()), HostScope: true}
	return Step{
		What: addressName(a.Prefix, a.Link), Old: wasGone, New: "present",
		entries: []ledger.Entry{{Kind: kindAddress, Name: addressEntry(a), After: scopeHost}},
		source:  health.FromLinks,
		add:     &a,
	}
}

func removeAddress(a tunnel.Address) Step {
	before := scopeOther
	if a.HostScope {
		before = scopeHost
	}
	return Step{
		What: addressName(a.Prefix, a.Link), Old: "present", New: wasGone,
		entries: []ledger.Entry{{Kind: kindAddress, Name: addressEntry(a), Before: before}},
		source:  health.FromLinks,
		do:      func(h Host) error { return h.Net.RemoveAddresses([]tunnel.Address{a})[0] },
	}
}

func addressEntry(a tunnel.Address) string { return a.Prefix.String() + " " + a.Link }

// deliver needs no entry: the route goes with its address.
func deliver(a tunnel.Address) Step {
	return Step{
		What: "local route of " + a.Prefix.Addr().String(), Old: wasGone, New: "present",
		source: health.FromLinks,
		do:     func(h Host) error { return h.Net.AddLocalRoute(a) },
	}
}

func setUp(l tunnel.Link) Step {
	return Step{
		What: deviceName(l.Name), Old: linkDown, New: linkUp,
		entries: []ledger.Entry{{Kind: kindLink, Name: l.Name, Before: linkDown, After: linkUp}},
		source:  health.FromLinks,
		do:      func(h Host) error { return h.Net.SetUp(l) },
	}
}

// applyFirewall replaces rsagent's own table, whatever was in it.
func applyFirewall(f tunnel.Firewall, difference string) Step {
	return Step{
		What: tableName, Old: difference, New: inWordsOf(f),
		entries: []ledger.Entry{{Kind: kindTable, Name: tableName, Before: tableAbsent, After: tableThere}},
		source:  health.FromPacketFilter,
		do:      func(h Host) error { return h.Net.ApplyFirewall(f) },
	}
}
