package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"rsagent/agent/config"
	"rsagent/agent/ledger"
	"rsagent/sysctl"
	"rsagent/tunnel"
)

// undoing is what gives back what the ledger has. What somebody changed since
// is theirs now, and stays.
type undoing struct {
	host Host
	net  tunnel.Node
}

// undone is what came of undoing one entry.
type undone struct {
	entry ledger.Entry
	what  string
	left  string // why it was left as it is; empty: it was given back
	err   error
}

// undo gives back what the entries say, in an order in which no VIP is ever on
// a node that speaks ARP for it: addresses and the device first, then the
// packet filter, and settings last. While a VIP is left on the node, as one that
// was there before rsagent came, what protects it stays in force.
func undo(host Host, entries []ledger.Entry, vips []netip.Addr) []undone {
	order := []string{kindAddress, kindLink, kindTable, kindSysctl}
	var all []undone
	for _, kind := range order {
		net, err := host.Net.Observe()
		u := undoing{host, net}
		exposed := slices.ContainsFunc(vips, func(v netip.Addr) bool { return len(net.Addresses[v]) > 0 })
		for _, e := range slices.Backward(entries) {
			if e.Kind != kind {
				continue
			}
			one := undone{entry: e, what: entryName(e), err: err}
			switch {
			case err != nil:
			case exposed && protects(e):
				one.left = "a VIP is on this node still, and without it the node would speak ARP for it"
			default:
				one.left, one.err = u.one(e)
			}
			all = append(all, one)
		}
	}
	return all
}

func (u undoing) one(e ledger.Entry) (left string, err error) {
	switch e.Kind {
	case kindAddress:
		return "", u.address(e)
	case kindLink:
		return "", u.link(e)
	case kindTable:
		return "", u.host.Net.RemoveFirewall()
	}
	return u.sysctl(e)
}

func (u undoing) address(e ledger.Entry) error {
	p, link, ok := addressOf(e)
	if !ok {
		return fmt.Errorf("cannot tell which address %q is", e.Name)
	}
	l := u.named(link)
	if l == nil {
		return nil // without its link there is nothing to give back
	}
	a := []tunnel.Address{{LinkIndex: l.Index, Link: link, Prefix: p, HostScope: e.Before == scopeHost}}
	if e.Before == "" {
		return u.host.Net.RemoveAddresses(a)[0]
	}
	return u.host.Net.AddAddresses(a)[0]
}

func (u undoing) link(e ledger.Entry) error {
	l := u.named(e.Name)
	if l == nil || e.Before == linkUp {
		return nil
	}
	return u.host.Net.SetDown(*l)
}

func (u undoing) named(link string) *tunnel.Link {
	return Node{Net: u.net}.link(link)
}

func (u undoing) sysctl(e ledger.Entry) (left string, err error) {
	key := sysctl.Key(e.Name)
	now, err := u.host.Sysctl.Read(key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil // it went with its interface
	case err != nil:
		return "", err
	case sysctl.Equal(now, e.Before):
		return "", nil
	case !sysctl.Equal(now, e.After):
		return fmt.Sprintf("somebody set it to %s since", now), nil
	}
	return "", u.host.Sysctl.Write(key, e.Before)
}

// protects tells whether an entry is what keeps a VIP out of ARP.
func protects(e ledger.Entry) bool {
	return e.Kind == kindSysctl && (strings.HasSuffix(e.Name, "/arp_ignore") || strings.HasSuffix(e.Name, "/arp_announce"))
}

func entryName(e ledger.Entry) string {
	switch e.Kind {
	case kindAddress:
		if p, link, ok := addressOf(e); ok {
			return addressName(p, link)
		}
	case kindLink:
		return deviceName(e.Name)
	case kindSysctl:
		return sysctl.Key(e.Name).String()
	}
	return e.Name
}

// addressOf reads what addressEntry wrote.
func addressOf(e ledger.Entry) (p netip.Prefix, link string, ok bool) {
	prefix, link, _ := strings.Cut(e.Name, " ")
	p, err := netip.ParsePrefix(prefix)
	return p, link, e.Kind == kindAddress && err == nil
}

// wantedBy returns what tells whether a configuration is what the change in an
// entry was made for. What it is not, an earlier one was.
func wantedBy(c config.Config) func(ledger.Entry) bool {
	tunnelled := c.Tunnel.Mode == config.ModeIPIP
	own, vips := configuredIn(c), interestOf(c).VIPs
	return func(e ledger.Entry) bool {
		switch e.Kind {
		case kindAddress:
			p, link, ok := addressOf(e)
			return tunnelled && ok && link == c.Tunnel.Device && vips[p.Addr()]
		case kindLink:
			return tunnelled && e.Name == c.Tunnel.Device
		case kindTable:
			return tunnelled
		case kindSysctl:
			return own.has(sysctl.Key(e.Name)) || tunnelled && needed(e.Name, c.Tunnel.Device)
		}
		return true // of a later version: not ours to judge
	}
}

// needed tells whether a setting is one that LVS-TUN needs.
func needed(key, device string) bool {
	switch name := key[strings.LastIndexByte(key, '/')+1:]; name {
	case "arp_ignore", "arp_announce", "accept_redirects", "send_redirects":
		return true
	case "rp_filter":
		return key == string(sysctl.ConfKey(device, name))
	}
	return key == string(recycleKey) || key == string(synackKey)
}
