package network

import (
	"cmp"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// prepareDirector loads IPVS and sets what a director needs in tunnelling mode.
// A client that uses a source port again must get a new choice of node although
// the director still has the old connection in FIN_WAIT: in tunnelling mode it
// never sees that end (conn_reuse_mode and expire_quiescent_template in
// Documentation/networking/ipvs-sysctl.rst).
func (h *Host) prepareDirector() error {
	if err := output(exec.Command("modprobe", "-a", "ip_vs", "ip_vs_rr", "ip_vs_wrr")); err != nil {
		return err
	}
	for path, value := range map[string]string{
		"net/ipv4/vs/conn_reuse_mode":           "3",
		"net/ipv4/vs/expire_quiescent_template": "1",
		"net/ipv4/vs/expire_nodest_conn":        "1",
	} {
		if err := h.SetSysctl(path, value); err != nil {
			return fmt.Errorf("cannot prepare %s: %v", h.Name, err)
		}
	}
	return nil
}

// Direct makes the host a director without any checks: it holds the VIP and
// hands the ports on to the nodes in turn.
func (h *Host) Direct(nodes []*Host, ports ...int) error {
	if err := h.prepareDirector(); err != nil {
		return err
	}
	var rules strings.Builder
	for _, port := range ports {
		fmt.Fprintf(&rules, "-A -t %s:%d -s rr\n", VIP, port)
		for _, n := range nodes {
			fmt.Fprintf(&rules, "-a -t %s:%d -r %s:%d -i -w 1\n", VIP, port, n.Addr, port)
		}
	}
	file, err := h.WriteFile("ipvs", rules.String())
	if err != nil {
		return err
	}
	if _, err := h.Run("sh", "-c", "exec ipvsadm -R < "+file); err != nil {
		return err
	}
	return h.IP(fmt.Sprintf("addr add %s/32 dev eth0", VIP))
}

// Keepalived says how keepalived runs on a director.
type Keepalived struct {
	Priority int     // of VRRP: the higher one gets the VIP
	Nodes    []*Host // asked at /ready on port 9380
	Inhibit  bool    // a node that fails gets weight 0; else it is deleted
	// CheckPort is where nodes are asked instead of 9380, and CheckPath what
	// for instead of /ready.
	CheckPort int
	CheckPath string
	// Every is from one check to the next and Again from one that failed to the
	// next, until Fall have failed in a row and it acts; 1 s, 1 s and 2, if 0.
	Every, Again time.Duration
	Fall         int
	// Sync has the director that holds the VIP tell the other of its connections.
	Sync bool
}

const keepalivedHead = `global_defs {
  router_id %[1]s
  script_user root
  enable_script_security
%[4]s}
vrrp_instance VIP {
  interface eth0
  state BACKUP
  virtual_router_id 51
  priority %[2]d
  advert_int 1
  virtual_ipaddress { %[3]s/32 dev eth0 }
}
virtual_server %[3]s 80 {
  delay_loop %[5]g
  lvs_sched rr
  lvs_method TUN
  protocol TCP
`

const keepalivedNode = `  real_server %s 80 {
    weight 1
%s    HTTP_GET {
      url {
        path %s
        status_code 200
      }
      connect_port %d
      connect_timeout 2
      retry %d
      delay_before_retry %g
      warmup 0
    }
  }
`

// Text is the configuration of keepalived on the host.
func (k Keepalived) Text(h *Host) string {
	sync := ""
	if k.Sync {
		sync = "  lvs_sync_daemon eth0 VIP\n"
	}
	every, again := cmp.Or(k.Every, time.Second), cmp.Or(k.Again, time.Second)
	var b strings.Builder
	fmt.Fprintf(&b, keepalivedHead, h.Name, k.Priority, VIP, sync, every.Seconds())
	port, path, inhibit := 9380, "/ready", ""
	if k.CheckPort != 0 {
		port, path = k.CheckPort, k.CheckPath
	}
	if k.Inhibit {
		inhibit = "    inhibit_on_failure\n"
	}
	for _, n := range k.Nodes {
		fmt.Fprintf(&b, keepalivedNode, n.Addr, inhibit, path, port, cmp.Or(k.Fall, 2)-1, again.Seconds())
	}
	b.WriteString("}\n")
	return b.String()
}

// StartKeepalived makes the host a director run by keepalived. It returns
// before keepalived has taken the VIP.
func (h *Host) StartKeepalived(k Keepalived) (*Process, error) {
	if err := h.prepareDirector(); err != nil {
		return nil, err
	}
	file, err := h.WriteFile("keepalived.conf", k.Text(h))
	if err != nil {
		return nil, err
	}
	pid := func(name string) string { return filepath.Join(h.Dir, name+".pid") }
	return h.Start(exec.Command("keepalived", "--dont-fork", "--log-console", "--log-detail",
		"--use-file", file, "--pid", pid("keepalived"), "--vrrp_pid", pid("vrrp"), "--checkers_pid", pid("checkers")))
}

// UntilDirects waits until the host holds the VIP and gives each of the nodes
// a weight above 0.
func (h *Host) UntilDirects(nodes ...*Host) error {
	return h.until("the director to direct", func() error {
		out, err := h.Run("ip", "-4", "-o", "addr", "show", "dev", "eth0")
		if err != nil {
			return err
		}
		if !strings.Contains(out, VIP.String()+"/32") {
			return fmt.Errorf("it does not hold the VIP: %s", out)
		}
		weights, err := h.Weights()
		for _, n := range nodes {
			if err == nil && weights[n.Addr] == 0 {
				err = fmt.Errorf("no weight for %s: %v", n.Name, weights)
			}
		}
		return err
	})
}

// UntilWithout waits until the host, a director, sends nothing new to the node.
func (h *Host) UntilWithout(node *Host) error {
	return h.until("the director to leave out "+node.Name, func() error {
		weights, err := h.Weights()
		if err == nil && weights[node.Addr] != 0 {
			err = fmt.Errorf("its weight is %d", weights[node.Addr])
		}
		return err
	})
}

// Weights are the weights that the host, a director, gives the nodes of port
// 80. A node that it has deleted is not there.
func (h *Host) Weights() (map[netip.Addr]int, error) {
	out, err := h.Run("ipvsadm", "-S", "-n")
	if err != nil {
		return nil, err
	}
	weights := make(map[netip.Addr]int)
	for line := range strings.Lines(out) {
		var service, real string
		var weight int
		// -a -t 10.9.0.100:80 -r 10.9.0.31:80 -i -w 1
		if _, err := fmt.Sscanf(line, "-a -t %s -r %s -i -w %d", &service, &real, &weight); err != nil {
			continue
		}
		if node, err := netip.ParseAddrPort(real); err == nil && service == VIP.String()+":80" {
			weights[node.Addr()] = weight
		}
	}
	return weights, nil
}
