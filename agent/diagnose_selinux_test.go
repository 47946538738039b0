package agent

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rsagent/agent/health"
	"rsagent/probe/selinux"
)

func TestWhatSELinuxRefusedIsTheCauseOfWhatItExplains(t *testing.T) {
	nothing := func(denials ...selinux.Denial) func(*Node) {
		return func(n *Node) {
			n.Examined.Services.Listeners, n.Examined.Services.Units = nil, []Unit{{Name: "nginx", Enabled: true}}
			n.Examined.Denials = denials
			down(n, "connection refused")
		}
	}
	bind := selinux.Denial{At: time.Unix(1, 0), Permissions: []string{"name_bind"}, Class: "tcp_socket",
		Program: "nginx", Domain: "httpd_t", Type: "unreserved_port_t", Port: 80}
	with := func(change func(*selinux.Denial)) selinux.Denial {
		d := bind
		change(&d)
		return d
	}
	const stopped = "failed service/listens/web: nothing listens on port 80 | the service does not run | systemctl start nginx\n"
	for _, test := range []struct {
		name  string
		spoil func(*Node)
		want  string
	}{
		{"a web server may not have its port", nothing(bind),
			"failed service/listens/web: nothing listens on port 80 | SELinux keeps nginx, in the domain httpd_t, from port 80, which is of the type unreserved_port_t | " +
				"semanage port -a -t http_port_t -p tcp 80 || semanage port -m -t http_port_t -p tcp 80\nsystemctl restart nginx\n"},
		{"some other program may not", nothing(with(func(d *selinux.Denial) { d.Program, d.Domain = "my\x1bserver", "my_t" })),
			"failed service/listens/web: nothing listens on port 80 | SELinux keeps my?server, in the domain my_t, from port 80, which is of the type unreserved_port_t | " +
				"see what it may take: sesearch -A -s my_t -p name_bind; then, with such a TYPE: semanage port -m -t TYPE -p tcp 80\nrestart the service\n"},
		{"of two the last counts", nothing(with(func(d *selinux.Denial) { d.Type = "old_port_t" }), bind),
			"failed service/listens/web: nothing listens on port 80 | SELinux keeps nginx, in the domain httpd_t, from port 80, which is of the type unreserved_port_t | " +
				"semanage port -a -t http_port_t -p tcp 80 || semanage port -m -t http_port_t -p tcp 80\nsystemctl restart nginx\n"},
		{"another port was refused", nothing(with(func(d *selinux.Denial) { d.Port = 8443 })), stopped},
		{"a port of UDP was refused", nothing(with(func(d *selinux.Denial) { d.Class = "udp_socket" })), stopped},
		{"a connection to that port was refused", nothing(with(func(d *selinux.Denial) { d.Permissions = []string{"name_connect"} })), stopped},
		{"it was refused once, and serves", func(n *Node) { n.Examined.Denials = []selinux.Denial{bind} }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := goodNode()
			test.spoil(&n)
			if diff := cmp.Diff(test.want, attention(t, Examined(oneVIP(t)), n)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// A web server that may not have one of its ports often does not start at all.
func TestAPortThatIsRefusedExplainsTheOtherPoolsToo(t *testing.T) {
	c := declared(t, `vips = ["203.0.113.10"]
directors = ["10.0.0.1"]
[[pool]]
name = "web"
vip = "203.0.113.10"
port = 80
[[pool]]
name = "tls"
vip = "203.0.113.10"
port = 443
`)
	n := goodNode()
	n.Examined.Services.Listeners = nil
	n.Examined.Denials = []selinux.Denial{{Permissions: []string{"name_bind"}, Class: "tcp_socket", Program: "nginx", Domain: "httpd_t", Type: "x_t", Port: 443}}
	down(&n, "connection refused")
	n.Pools["tls"] = n.Pools["web"]
	const why = "SELinux keeps nginx, in the domain httpd_t, from port 443, which is of the type x_t | " +
		"semanage port -a -t http_port_t -p tcp 443 || semanage port -m -t http_port_t -p tcp 443\nrestart the service\n"
	want := "failed service/listens/web: nothing listens on port 80 | " + why + "failed service/listens/tls: nothing listens on port 443 | " + why
	if diff := cmp.Diff(want, attention(t, Examined(c), n)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestSELinuxMayBeWhyThereIsNoTunnel(t *testing.T) {
	module := selinux.Denial{Permissions: []string{"module_request"}, Class: "system", Program: "rsagent", Domain: "rsagent_t", Type: "kernel_t", Module: "rtnl-link-ipip"}
	other := module
	other.Module = "rtnl-link-gre"
	for name, test := range map[string]struct {
		denial selinux.Denial
		want   string
	}{
		"the kernel was to load ipip":         {module, "SELinux keeps rsagent, in the domain rsagent_t, from having the kernel load its module"},
		"the kernel was to load another kind": {other, ""},
	} {
		t.Run(name, func(t *testing.T) {
			n := goodNode()
			n.Net.Links = n.Net.Links[:2]
			n.Examined.Denials = []selinux.Denial{test.denial}
			for _, f := range evaluate(Examined(oneVIP(t)), n) {
				if f.ID == deviceID && (f.Status != health.Failed || f.Cause != test.want) {
					t.Errorf("got %+v, want %q", f, test.want)
				}
			}
		})
	}
}
