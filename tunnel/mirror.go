package tunnel

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Mirror knows the links, addresses and local routes of a namespace at every
// moment: it lists them once, and from then on takes in what the kernel says of
// changes. A look at it costs one system call.
//
// The lists of a kernel are of no use while thousands of things change, since
// each is interrupted. Word of changes is whole, or the kernel says that some
// was lost; then everything is listed anew.
type Mirror struct {
	ask      *requests // used with events.mu held
	events   listener
	told     func(Change)
	interest Interest
	state    state
	lost     bool // word was lost since the last list
	node     Node // what Look returned last
	serials  serials
}

// serials count changes, as Node has them.
type serials struct{ all, links, settings, routes uint64 }

// Interest is what matters of the addresses of a node. Those of others come and
// go without a word.
type Interest struct {
	Device string              // every address on this link
	VIPs   map[netip.Addr]bool // and these, wherever they are
}

// Change is word of one thing that was changed.
type Change struct {
	// Address is the address that came or went, or whose local route went.
	Address netip.Addr
	// Link is what was changed itself, or has the address.
	Link string
	// Setting says that the change is one of the settings of the link of which
	// netlink tells (inet_netconf_notify_devconf, net/ipv4/devinet.c).
	Setting bool
	// Routing says that a route or a rule changed, or an address that does not
	// matter: the way of packets may be another. There may be thousands of these.
	Routing bool
	// Author is the process that did it, as far as the kernel tells, and Program
	// its name. The port of a netlink socket is the number of its process, if
	// that has one such socket only: Author may name no process, and 0 is none.
	Author  int
	Program string
	// Lost says that word of changes was lost.
	Lost bool
}

// Follow returns a Mirror of the network namespace that the caller's thread is
// in, which must be that of the Handle. Whenever something changes that
// matters, and it was not by this Handle, told is called. It must return at
// once and not call the Mirror.
func (h *Handle) Follow(i Interest, told func(Change)) (*Mirror, error) {
	m := &Mirror{ask: h.ask, told: told, interest: i, state: newState(), lost: true}
	m.events = listener{subscribe: subscribe, take: m.take, lost: m.lose}
	if err := m.events.open(); err != nil {
		return nil, err
	}
	return m, nil
}

// Run takes in changes and tells of them until ctx ends.
func (m *Mirror) Run(ctx context.Context) { m.events.run(ctx) }

// Close ends the use of the Mirror. Run must have returned.
func (m *Mirror) Close() { m.events.close() }

// SetInterest makes other addresses the ones that matter.
func (m *Mirror) SetInterest(i Interest) {
	m.events.mu.Lock()
	defer m.events.mu.Unlock()
	m.interest = i
	m.serials.all++
}

// Look returns the node as it is. Of the addresses it has those that matter.
// What it returns is not to be changed; it is the same one while nothing
// happens. The goroutine must be the one that uses the Handle.
func (m *Mirror) Look() (Node, error) {
	m.events.mu.Lock()
	defer m.events.mu.Unlock()
	if err := m.events.drain(); err != nil {
		m.lost = true
	}
	if m.lost {
		if err := m.list(looks); err != nil {
			return Node{}, fmt.Errorf("cannot list links and addresses: %w", err)
		}
	}
	if m.node.Serial != m.serials.all {
		m.node = m.state.node(m.interest.matters)
	}
	m.node.Serial, m.node.LinkSerial = m.serials.all, m.serials.links
	m.node.SettingSerial, m.node.RouteSerial = m.serials.settings, m.serials.routes
	return m.node, nil
}

// Relist lists everything anew, so that what the kernel has not told of is
// seen, too. While others change thousands of things, it cannot: then the
// Mirror goes on as it is.
func (m *Mirror) Relist() error {
	m.events.mu.Lock()
	defer m.events.mu.Unlock()
	// Once only: nothing is lost if it fails, and nobody can look meanwhile.
	if err := m.list(1); err != nil {
		return fmt.Errorf("cannot list links and addresses: %w", err)
	}
	return nil
}

// list replaces the state. What happens while it is taken is in the queue, and
// is taken in after it: whatever is said twice comes out the same.
func (m *Mirror) list(tries int) error {
	s, err := listWhole(m.ask, tries)
	if err != nil {
		return err
	}
	m.state, m.lost = s, false
	m.serials = serials{m.serials.all + 1, m.serials.links + 1, m.serials.settings + 1, m.serials.routes + 1}
	return m.events.drain()
}

// looks is how often a list is taken again when the node changes under its
// eyes. The waits between add up to about half a second.
const looks = 10

func listWhole(ask *requests, tries int) (state, error) {
	var err error
	for look := range tries {
		if look > 0 {
			time.Sleep(time.Duration(look*look) * 2 * time.Millisecond)
		}
		s := newState()
		if err = s.list(ask); err == nil {
			return s, nil
		}
		if !again(err) {
			break
		}
	}
	return state{}, err
}

func (m *Mirror) lose() {
	m.lost = true
	m.told(Change{Lost: true})
}

func (m *Mirror) take(message message) {
	if message.kind == unix.RTM_NEWNETCONF {
		m.serials.settings++
		m.told(Change{Setting: true})
		return
	}
	t, err := m.state.apply(message)
	if err != nil {
		m.lose()
		return
	}
	switch {
	case t.links:
		m.serials.links++
	case t.addr.IsValid() && m.interest.matters(t.name, t.addr):
	default:
		if isRouting(message.kind) {
			m.serials.routes++
			m.told(Change{Routing: true})
		}
		return
	}
	m.serials.all++
	// A local route comes with its address, and the kernel does not say by whom.
	if message.port != m.ask.port && (t.gone || !t.route) {
		m.told(Change{Address: t.addr, Link: t.name, Author: int(message.port)})
	}
}

func isRouting(kind uint16) bool {
	switch kind {
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE, unix.RTM_NEWRULE, unix.RTM_DELRULE:
		return true
	}
	return false
}

func (i Interest) matters(link string, addr netip.Addr) bool {
	return link != "" && link == i.Device || i.VIPs[addr]
}

// subscribe returns a netlink socket, not blocking, to which the kernel sends
// its notes.
func subscribe() (*os.File, error) {
	file, err := subscribeTo(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV4_NETCONF)
	return file, cannot(err, "subscribe to what happens to links, addresses and routes")
}
