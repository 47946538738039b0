package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"rsagent/sysctl"
	"rsagent/tunnel"
)

// Step is one change of the node, as it is logged.
type Step struct {
	What string // what is changed, as an admin would name it
	Old  string
	New  string

	do   func(Host) error
	undo func(Host) error
}

func setSysctl(n Node, key sysctl.Key, value string) Step {
	old := n.Sysctl[key].Text
	return Step{
		What: key.String(), Old: old, New: value,
		do:   func(h Host) error { return refusedBy(key, h.Sysctl.Write(key, value)) },
		undo: func(h Host) error { return h.Sysctl.Write(key, old) },
	}
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

// createDevice has no undo: the fallback device that the kernel makes with
// its module cannot be deleted, and without a VIP it does nothing.
func createDevice(device string) Step {
	return Step{
		What: "device " + device, Old: "absent", New: "ipip, any to any",
		do:   func(h Host) error { return h.Net.CreateDevice(device) },
		undo: func(Host) error { return nil },
	}
}

func addVIP(device string, vip netip.Addr) Step {
	return Step{
		What: fmt.Sprintf("address %s/32 on %s", vip, device), Old: "absent", New: "present",
		do: func(h Host) error { return h.Net.AddVIP(device, vip) },
		undo: func(h Host) error {
			return h.Net.RemoveAddress(device, netip.PrefixFrom(vip, vip.BitLen()))
		},
	}
}

func setUp(device string) Step {
	return Step{
		What: "device " + device, Old: "down", New: "up",
		do:   func(h Host) error { return h.Net.SetUp(device) },
		undo: func(h Host) error { return h.Net.SetDown(device) },
	}
}

// applyFirewall replaces rsagent's own table, whatever was in it: its undo
// takes the table away.
func applyFirewall(f tunnel.Firewall, difference string) Step {
	return Step{
		What: "table ip rsagent", Old: difference, New: inWordsOf(f),
		do:   func(h Host) error { return h.Net.ApplyFirewall(f) },
		undo: func(h Host) error { return h.Net.RemoveFirewall() },
	}
}
