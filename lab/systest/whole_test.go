//go:build lab

package systest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"rsagent/lab/network"
)

// shape is what makes a node one that serves, as the kernel tells it. A field
// that is empty or false has nothing wrong in it.
type shape struct {
	Down        bool     // tunl0 is missing or down
	VIP         string   // where it is, each time
	OpenARP     []string // what makes an interface speak ARP for a VIP
	Strict      bool     // reverse path filtering on tunl0
	Undelivered bool     // the local route to the VIP is gone
	Redirects   []string // interfaces that take or send them
	TCP         string   // settings that lose clients
	Filter      string   // rsagent's table
}

// silent says that nothing here speaks ARP for the VIP.
func (s shape) silent() bool { return len(s.OpenARP) == 0 && !strings.Contains(s.VIP, "eth0") }

// eye looks at a node from within this process: a look costs no program, but
// for the packet filter.
type eye struct {
	node *network.Host
	net  *netlink.Handle
}

func openEye(t *testing.T, node *network.Host) *eye {
	t.Helper()
	e := &eye{node: node}
	ok(t, node.Do(func() (err error) {
		e.net, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	}))
	t.Cleanup(e.net.Close)
	return e
}

// glance is all of a shape but the packet filter. It fails if the node changes
// meanwhile.
func (e *eye) glance() (s shape, err error) {
	err = e.node.Do(func() error {
		links, err := e.net.LinkList()
		if err != nil {
			return err
		}
		return errors.Join(e.tunnel(&s, links), settings(&s, links))
	})
	return s, err
}

func (e *eye) tunnel(s *shape, links []netlink.Link) error {
	names := make(map[int]string)
	s.Down = true
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
		if l.Attrs().Name == "tunl0" && l.Type() == "ipip" {
			s.Down = l.Attrs().Flags&net.FlagUp == 0
		}
	}
	vip := net.IP(network.VIP.AsSlice())
	addresses, err := e.net.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	var at []string
	for _, a := range addresses {
		if a.IP.Equal(vip) {
			at = append(at, fmt.Sprintf("%s on %s", a.IPNet, names[a.LinkIndex]))
		}
	}
	slices.Sort(at)
	s.VIP = strings.Join(at, ", ")
	routes, err := e.net.RouteListFiltered(netlink.FAMILY_V4,
		&netlink.Route{Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_TYPE)
	s.Undelivered = !slices.ContainsFunc(routes, func(r netlink.Route) bool {
		return r.Dst != nil && r.Dst.IP.Equal(vip) && names[r.LinkIndex] == "tunl0"
	})
	return err
}

// settings judges the values that the kernel acts on (include/linux/inetdevice.h).
func settings(s *shape, links []netlink.Link) error {
	var errs []error
	value := func(name, key string) (number int) {
		text, err := os.ReadFile("/proc/sys/net/ipv4/conf/" + name + "/" + key)
		if err == nil {
			_, err = fmt.Sscan(string(text), &number)
		}
		errs = append(errs, err)
		return number
	}
	larger := func(name, key string) int { return max(value("all", key), value(name, key)) }
	names := []string{"default"} // what a new interface begins with
	for _, l := range links {
		if l.Attrs().RawFlags&unix.IFF_NOARP == 0 && l.Attrs().Flags&net.FlagLoopback == 0 {
			names = append(names, l.Attrs().Name)
		}
	}
	for _, name := range names {
		if v := larger(name, "arp_ignore"); !slices.Contains([]int{1, 2, 8}, v) {
			s.OpenARP = append(s.OpenARP, fmt.Sprintf("%s: arp_ignore %d", name, v))
		}
		if v := larger(name, "arp_announce"); v != 2 {
			s.OpenARP = append(s.OpenARP, fmt.Sprintf("%s: arp_announce %d", name, v))
		}
		for _, key := range []string{"accept_redirects", "send_redirects"} {
			if larger(name, key) > 0 { // a node that does not forward
				s.Redirects = append(s.Redirects, name+": "+key)
			}
		}
	}
	if !s.Down {
		s.Strict = larger("tunl0", "rp_filter") == 1
	}
	retries, err := os.ReadFile("/proc/sys/net/ipv4/tcp_synack_retries")
	if string(retries) == "0\n" {
		s.TCP = "no SYN-ACK is sent again"
	}
	return errors.Join(append(errs, err)...)
}

// look is the whole shape, and what there is of other tables of nf_tables.
func (e *eye) look() (s shape, others string, err error) {
	if s, err = e.glance(); err != nil {
		return s, "", err
	}
	rules, err := e.node.Run("nft", "--stateless", "list", "ruleset")
	for table := range strings.SplitSeq("\n"+rules, "\ntable ") {
		if strings.HasPrefix(table, "ip rsagent ") {
			s.Filter = inOrder(table)
		} else {
			others += strings.TrimSpace(table)
		}
	}
	return s, others, err
}

// inOrder puts the parts of a table in an order that does not depend on when
// they were made.
func inOrder(table string) string {
	_, body, _ := strings.Cut(strings.TrimSuffix(strings.TrimSpace(table), "}"), "{")
	parts := strings.Split(strings.TrimSpace(body), "\n\n")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	slices.Sort(parts)
	return strings.Join(parts, "\n")
}

// foreign is what others have set up on the node, as text to compare.
func (e *eye) foreign(others string) (string, error) {
	var b strings.Builder
	fmt.Fprintln(&b, others)
	err := e.node.Do(func() error {
		eth0, err := e.net.LinkByName("eth0")
		if err != nil {
			return err
		}
		addresses, addressErr := e.net.AddrList(eth0, netlink.FAMILY_V4)
		for _, a := range addresses {
			fmt.Fprintf(&b, "%s %s, scope %d\n", a.IPNet, a.Label, a.Scope)
		}
		routes, routeErr := e.net.RouteList(eth0, netlink.FAMILY_V4)
		for _, r := range routes {
			fmt.Fprintln(&b, r)
		}
		settings := []string{"net/ipv4/conf/eth0/log_martians", "net/ipv4/conf/all/log_martians", "net/ipv4/tcp_fin_timeout", "net/ipv4/ip_forward"}
		for _, path := range settings {
			value, err := os.ReadFile("/proc/sys/" + path)
			fmt.Fprintf(&b, "%s = %s", path, value)
			addressErr = errors.Join(addressErr, err)
		}
		return errors.Join(addressErr, routeErr)
	})
	return b.String(), err
}
