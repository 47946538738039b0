package agent

import (
	"fmt"
	"slices"
	"strings"

	"rsagent/probe/selinux"
)

// denied is the last that SELinux has refused of those that are like that; false:
// nothing is known to be. It is said only where something is wrong that it explains.
func (x *Examination) denied(like func(selinux.Denial) bool) (selinux.Denial, bool) {
	for _, d := range slices.Backward(x.Denials) {
		if like(d) {
			return d, true
		}
	}
	return selinux.Denial{}, false
}

// keptFromPort says how SELinux keeps a service from the first of the ports, on
// none of which anybody listens: a web server that may not have one of its ports
// often does not start at all. Cause is empty if nothing is known to.
func keptFromPort(x *Examination, ports ...uint16) (cause, remedy string) {
	var d selinux.Denial
	var denied bool
	for _, port := range ports {
		d, denied = x.denied(func(d selinux.Denial) bool {
			return d.Of("name_bind") && d.Class == "tcp_socket" && d.Port == port
		})
		if denied {
			break
		}
	}
	if !denied {
		return "", ""
	}
	program, domain, port := printable(d.Program), printable(d.Domain), d.Port
	cause = fmt.Sprintf("SELinux keeps %s, in the domain %s, from port %d, which is of the type %s", program, domain, port, printable(d.Type))
	restart := "restart the service"
	if u := unitOf(x.Services, program); u != "" {
		restart = "systemctl restart " + u
	}
	if !webDomain(domain) {
		return cause, fmt.Sprintf("see what it may take: sesearch -A -s %s -p name_bind; then, with such a TYPE: semanage port -m -t TYPE -p tcp %d\n%s", domain, port, restart)
	}
	// A port that has a type of its own already can only be changed.
	return cause, fmt.Sprintf("semanage port -a -t http_port_t -p tcp %d || semanage port -m -t http_port_t -p tcp %d\n%s", port, port, restart)
}

// webDomain tells of the domains of the reference policy that may bind ports of the
// type http_port_t, and in which web servers run.
func webDomain(domain string) bool {
	return slices.Contains([]string{"httpd_t", "nginx_t", "haproxy_t", "varnishd_t", "squid_t"}, domain)
}

// unitOf is the unit of a program that systemd could start here; empty: there is none.
func unitOf(s *Services, program string) string {
	for _, u := range s.Units {
		if strings.HasPrefix(program, u.Name) {
			return u.Name
		}
	}
	return ""
}

// deviceExplained knows besides who could not have the kernel load IPIP: whoever
// asks for a device of a kind has it do so (rtnl_newlink in net/core/rtnetlink.c),
// and so does who asks for one by its name (dev_load in net/core/dev_ioctl.c).
func deviceExplained(device Condition, name string) Condition {
	judge := device.Evaluate
	device.Evaluate = func(n Node) Verdict {
		v := judge(n)
		if v.Remedy == "" || v.Cause != "" || n.Examined == nil {
			return v
		}
		d, denied := n.Examined.denied(func(d selinux.Denial) bool {
			return d.Of("module_request") && slices.Contains([]string{"rtnl-link-ipip", "netdev-" + name}, d.Module)
		})
		if denied {
			v.Cause = fmt.Sprintf("SELinux keeps %s, in the domain %s, from having the kernel load its module", printable(d.Program), printable(d.Domain))
			v.Remedy += "\necho ipip > /etc/modules-load.d/ipip.conf   # so that nobody has to after a boot"
		}
		return v
	}
	return device
}
