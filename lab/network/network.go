// Package network makes the networks of the lab out of network namespaces: a
// client, two directors and two web nodes on one Ethernet segment, with real
// IPVS, keepalived, nginx and rsagent. It also makes load and watches what goes
// over the wires. It needs root, and a kernel with ipip and ip_vs.
package network

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// VIP is the virtual address of every site. It is in the segment of all hosts:
// the client asks for it by ARP, and whoever answers gets the traffic.
var VIP = netip.MustParseAddr("10.9.0.100")

const prefixBits = 24

// switchName is the namespace that holds the segment: a bridge, with one port
// called after each host.
const switchName = "switch"

// Site is one client, two directors and two web nodes. Each has its stock
// settings and its own address on eth0, and nothing runs on any of them.
type Site struct {
	Client     *Host
	Dir1, Dir2 *Host
	Web1, Web2 *Host

	segment *Host
	dir     string
}

// New makes a site. There can be one at a time on a machine, since the
// namespaces bear the hosts' names: `ip netns exec web1 ip addr` looks at one.
func New() (*Site, error) {
	dir, err := os.MkdirTemp("", "site-*")
	if err != nil {
		return nil, fmt.Errorf("cannot make a site: %v", err)
	}
	s := &Site{dir: dir}
	// Programs on the hosts may run as anybody.
	if err := errors.Join(os.Chmod(dir, 0o755), s.build()); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot make a site: %w", err), s.Close())
	}
	return s, nil
}

func (s *Site) build() error {
	for _, h := range []struct {
		place   **Host
		name    string
		address string
	}{
		{&s.segment, switchName, ""},
		{&s.Client, "client", "10.9.0.10"},
		{&s.Dir1, "dir1", "10.9.0.21"},
		{&s.Dir2, "dir2", "10.9.0.22"},
		{&s.Web1, "web1", "10.9.0.31"},
		{&s.Web2, "web2", "10.9.0.32"},
	} {
		host, err := newHost(h.name, h.address, filepath.Join(s.dir, h.name))
		if err != nil {
			return err
		}
		*h.place = host
	}
	return s.wire()
}

// wire joins the hosts. The bridge neither learns of multicast, which VRRP
// uses, nor waits before it forwards.
func (s *Site) wire() error {
	err := ipBatch(switchName, "link set lo up\nlink add br0 type bridge mcast_snooping 0 forward_delay 0\nlink set br0 up\n")
	if err != nil {
		return err
	}
	return s.join(s.Hosts()...)
}

// join gives hosts their eth0.
func (s *Site) join(hosts ...*Host) error {
	var b strings.Builder
	for _, h := range hosts {
		fmt.Fprintf(&b, "link add %s type veth peer name eth0 address %s netns %s\n", h.Name, h.MAC, h.Name)
		fmt.Fprintf(&b, "link set %s master br0 up\n", h.Name)
	}
	if err := ipBatch(switchName, b.String()); err != nil {
		return err
	}
	for _, h := range hosts {
		lines := fmt.Sprintf("link set lo up\nlink set eth0 up\naddr add %s/%d dev eth0\n", h.Addr, prefixBits)
		if err := ipBatch(h.Name, lines); err != nil {
			return err
		}
	}
	return nil
}

// PowerCycle ends all that runs on a host and gives it stock settings, as a
// machine has them that was off for so long. Its files stay.
func (s *Site) PowerCycle(h *Host, off time.Duration) error {
	if err := errors.Join(ipBatch(switchName, "link del "+h.Name+"\n"), h.close()); err != nil {
		return fmt.Errorf("cannot turn %s off: %w", h.Name, err)
	}
	time.Sleep(off)
	if err := errors.Join(h.makeNamespace(), s.join(h)); err != nil {
		return fmt.Errorf("cannot turn %s on: %w", h.Name, err)
	}
	return nil
}

// Hosts are all machines of the site.
func (s *Site) Hosts() []*Host {
	return []*Host{s.Client, s.Dir1, s.Dir2, s.Web1, s.Web2}
}

// Nodes are the web nodes.
func (s *Site) Nodes() []*Host { return []*Host{s.Web1, s.Web2} }

// Directors are the directors.
func (s *Site) Directors() []*Host { return []*Host{s.Dir1, s.Dir2} }

// Close ends every process on the site and takes it away.
func (s *Site) Close() error {
	var errs []error
	for _, h := range append(s.Hosts(), s.segment) {
		if h != nil {
			errs = append(errs, h.close())
		}
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

// ipBatch runs the lines of an ip(8) batch in a namespace.
func ipBatch(namespace, lines string) error {
	cmd := exec.Command("ip", "-n", namespace, "-batch", "-")
	cmd.Stdin = strings.NewReader(lines)
	return output(cmd)
}

// output runs a command and puts what it said into the error.
func output(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot run %s: %v: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
