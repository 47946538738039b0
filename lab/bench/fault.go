package main

import (
	"fmt"
	"slices"
)

// device is what holds the VIPs: the kernel's own tunl0 in the lab, a stand-in
// of that name elsewhere.
const device = "tunl0"

// fault is one thing that drifts, and how to break and mend it.
type fault struct {
	Name  string // on the command line and in JSON
	Title string // in the table
	open  func(vip string) (drift, error)
}

// faults are what a repair is measured of. The values that mend the settings
// are those that rsagent writes.
func faults() []fault {
	return []fault{
		{"vip", "a deleted VIP", openAddress},
		{"link", "a link set down", openLink},
		{"arp_ignore", "a flipped arp_ignore", openKey("net/ipv4/conf/all/arp_ignore", "0", "1")},
		{"rp_filter", "a flipped rp_filter", openKey("net/ipv4/conf/"+device+"/rp_filter", "1", "2")},
	}
}

func faultCalled(name string) (fault, error) {
	all := faults()
	i := slices.IndexFunc(all, func(f fault) bool { return f.Name == name })
	if i < 0 {
		return fault{}, fmt.Errorf("cannot tell what fault %q is", name)
	}
	return all[i], nil
}

// drift is one object of the kernel that somebody breaks and somebody else
// mends, each in a process of its own. Everything that can be prepared is.
type drift interface {
	// Settle forgets what happened until now.
	Settle() error
	// Break is one system call.
	Break() error
	// Mended waits until what Break did is undone.
	Mended() error
	// Listen makes Broken work; what happens from then on is not missed.
	Listen() error
	// Broken waits until somebody else breaks it.
	Broken() error
	// Mend is one system call.
	Mend() error
}
