package tunnel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

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
	err = h.addIPIP(name)
	for try := 1; errors.Is(err, unix.EOPNOTSUPP) && try < loads && h.obstacle().Cause == ""; try++ {
		time.Sleep(unloading)
		err = h.addIPIP(name)
	}
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

// A module that somebody unloads keeps itself from being loaded until modprobe is
// done with those that it needed, too.
const (
	loads     = 6
	unloading = 200 * time.Millisecond
)

func (h *Handle) addIPIP(name string) error {
	return h.route.LinkAdd(&netlink.Iptun{LinkAttrs: netlink.LinkAttrs{Name: name}})
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

// AddAddresses adds IPv4 addresses to their links, by LinkIndex, and returns an
// error for each that could not be; Link is for the words. One that is there
// already is success.
//
// A VIP should have HostScope. Where a packet leaves by an interface without an
// address of its own, the kernel asks by ARP in the name of some other address
// of the node, whatever arp_announce says, but never of one whose scope is
// narrower than link (arp_solicit in net/ipv4/arp.c, inet_select_addr in
// net/ipv4/devinet.c).
func (h *Handle) AddAddresses(list []Address) []error {
	errs := h.changeAddresses(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, list)
	for i, err := range errs {
		if errors.Is(err, unix.EEXIST) {
			err = nil
		}
		errs[i] = cannot(err, "add %s to %s", list[i].Prefix, list[i].Link)
	}
	return errs
}

// RemoveAddresses takes exactly these addresses off their links; an address
// with another length, or with a peer, is another one. If one or its link is not
// there, that is success. With an address go its secondaries: other addresses of
// the link in the same subnet with the same length, unless promote_secondaries
// is on. A /32 has none.
func (h *Handle) RemoveAddresses(list []Address) []error {
	errs := h.changeAddresses(unix.RTM_DELADDR, 0, list)
	for i, err := range errs {
		if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) {
			err = nil
		}
		errs[i] = cannot(err, "remove %s from %s", list[i].Prefix, list[i].Link)
	}
	return errs
}

func (h *Handle) changeAddresses(kind, flags uint16, list []Address) []error {
	bodies := make([][]byte, len(list))
	for i, a := range list {
		if !a.Prefix.IsValid() || !a.Prefix.Addr().Is4() {
			return slices.Repeat([]error{errors.New("not an IPv4 address")}, len(list))
		}
		bodies[i] = addressMessage(a)
	}
	return h.ask.change(kind, flags, bodies)
}

// addressMessage is a struct ifaddrmsg with its attributes: rtnetlink(7).
func addressMessage(a Address) []byte {
	scope := byte(unix.RT_SCOPE_UNIVERSE)
	if a.HostScope {
		scope = unix.RT_SCOPE_HOST
	}
	addr := a.Prefix.Addr().As4()
	b := append(make([]byte, 0, 24), unix.AF_INET, byte(a.Prefix.Bits()), 0, scope)
	b = binary.NativeEndian.AppendUint32(b, uint32(a.LinkIndex))
	return attribute(attribute(b, unix.IFA_LOCAL, addr[:]), unix.IFA_ADDRESS, addr[:])
}

// AddLocalRoute has the kernel deliver what is for the address to this node, as
// the kernel does by itself when the address is added (fib_add_ifaddr,
// net/ipv4/fib_frontend.c). If it does already, that is success.
func (h *Handle) AddLocalRoute(a Address) error {
	if !a.Prefix.Addr().Is4() {
		return fmt.Errorf("cannot deliver %s to this node: not an IPv4 address", a.Prefix.Addr())
	}
	addr := a.Prefix.Addr().As4()
	b := append(make([]byte, 0, 36), unix.AF_INET, 32, 0, 0,
		unix.RT_TABLE_LOCAL, unix.RTPROT_KERNEL, unix.RT_SCOPE_HOST, unix.RTN_LOCAL, 0, 0, 0, 0)
	b = attribute(b, unix.RTA_DST, addr[:])
	b = attribute(b, unix.RTA_PREFSRC, addr[:])
	b = attribute32(b, unix.RTA_OIF, uint32(a.LinkIndex))
	err := h.ask.change(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, [][]byte{b})[0]
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return cannot(err, "deliver %s to this node", a.Prefix.Addr())
}

// SetUp sets a link up, by its index. One that is up already is success.
func (h *Handle) SetUp(l Link) error {
	return cannot(h.setFlags(l, unix.IFF_UP), "set %s up", l.Name)
}

// SetDown sets a link down, by its index. One that is down already is success.
func (h *Handle) SetDown(l Link) error {
	return cannot(h.setFlags(l, 0), "set %s down", l.Name)
}

func (h *Handle) setFlags(l Link, flags uint32) error {
	b := make([]byte, 4, unix.SizeofIfInfomsg) // struct ifinfomsg: any family and type
	b = binary.NativeEndian.AppendUint32(b, uint32(l.Index))
	b = binary.NativeEndian.AppendUint32(b, flags)
	b = binary.NativeEndian.AppendUint32(b, unix.IFF_UP) // what may change
	return h.ask.change(unix.RTM_NEWLINK, 0, [][]byte{b})[0]
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
