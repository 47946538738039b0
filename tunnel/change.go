package tunnel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// CreateDevice makes the device that unwraps what the directors send: kind
// ipip, any to any. It is down and has no address afterwards if it is new.
//
// The first ipip device of a namespace is the fallback, which the module makes
// by itself under the name tunl0. So a device of that name, any to any, is
// success however it came to be. Otherwise the error says what stands in the
// way. If the kernel has no ipip, errors.Is(err, ErrNoIPIP), and the text has
// the cause as far as MissingIPIP can tell.
func (h *Handle) CreateDevice(name string) error {
	made, err := h.inTheWay(name)
	if made || err != nil {
		return cannot(err, "create %s", name)
	}
	err = h.route.LinkAdd(&netlink.Iptun{LinkAttrs: netlink.LinkAttrs{Name: name}})
	switch {
	case errors.Is(err, unix.EEXIST):
		// Loading the module may just have made the fallback.
		made, err = h.inTheWay(name)
		if err == nil && !made {
			err = errors.New("the name is taken by a device that cannot be seen")
		}
	case errors.Is(err, unix.EOPNOTSUPP):
		err = noIPIP(h.obstacle())
	}
	return cannot(err, "create %s", name)
}

// inTheWay tells whether an ipip device called name, any to any, is there. The
// error says what keeps one from being made.
func (h *Handle) inTheWay(name string) (made bool, err error) {
	node, err := h.Observe()
	if err != nil {
		return false, err
	}
	for _, l := range node.Links {
		switch {
		case l.Name != name:
		case l.Fallback:
			return true, nil
		case l.Kind == "ipip":
			return false, fmt.Errorf("the ipip device of that name does not take IPv4 from any to any (delete it): it is %s", describe(l))
		default:
			return false, fmt.Errorf("there is a device of that name, but of kind %s, not ipip (rename or delete it)", l.Kind)
		}
	}
	for _, l := range node.Links {
		if l.Fallback {
			return false, fmt.Errorf("%s is the ipip device that receives from any to any, and there can be one only (use that name, or rename it)", l.Name)
		}
	}
	return false, nil
}

// obstacle is what keeps the kernel that this handle talks to from having ipip.
func (h *Handle) obstacle() Obstacle {
	o := MissingIPIP("/")
	if o.Certain {
		return o
	}
	// The module does not load where it cannot make its fallback, and modprobe
	// says nothing of it.
	if taken, err := h.find("tunl0"); err == nil {
		return Obstacle{
			Cause:   fmt.Sprintf("a device of kind %s is called tunl0, so the module cannot make its own", linkOf(taken).Kind),
			Remedy:  "rename or delete it",
			Certain: true,
		}
	}
	return o
}

// describe says how an ipip device differs from one that is any to any.
func describe(l Link) string {
	end := func(a netip.Addr) string {
		if !a.IsValid() {
			return "any"
		}
		return a.String()
	}
	if l.External {
		return "external"
	}
	return fmt.Sprintf("remote %s local %s", end(l.Remote), end(l.Local))
}

// AddVIP adds vip to device as a /32. One that is there already is success.
//
// Its scope is host. Where a packet leaves by an interface without an address of
// its own, the kernel asks by ARP in the name of some other address of the node,
// whatever arp_announce says, but never of one whose scope is narrower than link
// (arp_solicit in net/ipv4/arp.c, inet_select_addr in net/ipv4/devinet.c).
func (h *Handle) AddVIP(device string, vip netip.Addr) error {
	p := netip.PrefixFrom(vip, vip.BitLen())
	if !vip.Is4() {
		return fmt.Errorf("cannot add %s to %s: not an IPv4 address", vip, device)
	}
	link, err := h.find(device)
	if err == nil {
		a := address(p)
		a.Scope = unix.RT_SCOPE_HOST
		err = h.route.AddrAdd(link, a)
	}
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return cannot(err, "add %s to %s", p, device)
}

// RemoveAddress takes exactly p from device; an address with another length,
// or with a peer, is another one. If it or the device is not there, that is
// success. With p go its secondaries: other addresses of device in the same
// subnet with the same length, unless promote_secondaries is on. A /32 has
// none.
func (h *Handle) RemoveAddress(device string, p netip.Prefix) error {
	if !p.IsValid() || !p.Addr().Is4() {
		return fmt.Errorf("cannot remove %s from %s: not an IPv4 address", p, device)
	}
	link, err := h.find(device)
	if err == nil {
		err = h.route.AddrDel(link, address(p))
	}
	if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return cannot(err, "remove %s from %s", p, device)
}

// SetUp sets device up. One that is up already is success.
func (h *Handle) SetUp(device string) error {
	link, err := h.find(device)
	if err == nil {
		err = h.route.LinkSetUp(link)
	}
	return cannot(err, "set %s up", device)
}

// SetDown sets device down. One that is down already is success.
func (h *Handle) SetDown(device string) error {
	link, err := h.find(device)
	if err == nil {
		err = h.route.LinkSetDown(link)
	}
	return cannot(err, "set %s down", device)
}

// find looks a link up by its name. The error is ENODEV if there is none.
func (h *Handle) find(name string) (netlink.Link, error) {
	link, err := h.route.LinkByName(name)
	if notFound := (netlink.LinkNotFoundError{}); errors.As(err, &notFound) {
		return nil, unix.ENODEV
	}
	if err != nil {
		return nil, err
	}
	// The kernel also finds a link by its alternative names.
	if actual := link.Attrs().Name; actual != name {
		return nil, fmt.Errorf("that is another name of %s", actual)
	}
	return link, nil
}

func address(p netip.Prefix) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{
		IP:   p.Addr().AsSlice(),
		Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
	}}
}

// cannot says what was tried and why it failed; nil stays nil. What the kernel
// said stays to be found with errors.Is.
func cannot(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	what := fmt.Sprintf(format, args...)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("cannot %s: %w (rsagent needs CAP_NET_ADMIN)", what, err)
	}
	return fmt.Errorf("cannot %s: %w", what, err)
}
