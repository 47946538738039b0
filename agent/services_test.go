package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/probe"
	"rsagent/probe/sockets"
)

// goodServices is one nginx, that listens everywhere.
func goodServices() *Services {
	return &Services{
		Listeners:  []sockets.Listener{{Addr: netip.MustParseAddrPort("0.0.0.0:80"), Limit: 511, Inode: 1}},
		Owners:     map[uint32][]sockets.Process{1: {{PID: 7, Name: "nginx", State: 'S', Files: 9, FileLimit: 1024}}},
		Own:        map[string]error{"web": nil},
		OwnAddress: netip.MustParseAddr("10.0.0.5"),
	}
}

func TestCheckNamesWhatIsWrongWithAService(t *testing.T) {
	listening := func(addr string, spoil func(*sockets.Listener)) func(*Node) {
		return func(n *Node) {
			l := &n.Examined.Services.Listeners[0]
			l.Addr = netip.MustParseAddrPort(addr)
			if spoil != nil {
				spoil(l)
			}
			down(n, "connection refused")
		}
	}
	owner := func(spoil func(*sockets.Process)) func(*Node) {
		return func(n *Node) {
			spoil(&n.Examined.Services.Owners[1][0])
			down(n, "no answer within 1s")
		}
	}
	nothing := func(units ...Unit) func(*Node) {
		return func(n *Node) {
			n.Examined.Services.Listeners, n.Examined.Services.Units = nil, units
			down(n, "connection refused")
		}
	}
	half := func(n *Node, clients int, resent uint8) {
		for i := range clients {
			n.Examined.Services.Hung = append(n.Examined.Services.Hung, sockets.Hanging{
				Local: netip.MustParseAddrPort("203.0.113.10:80"), Remote: netip.MustParseAddrPort(fmt.Sprintf("192.0.2.%d:4000", i)),
				HalfOpen: true, Resent: resent,
			})
		}
		n.Examined.Services.Open = map[netip.AddrPort][]netip.AddrPort{netip.MustParseAddrPort("203.0.113.10:80"): nil}
	}
	for _, test := range []struct {
		name  string
		spoil func(*Node)
		want  string // id: got | cause | remedy
	}{
		{"all is well", func(*Node) {}, ""},
		{"a socket for both families", listeningUp("[::]:80", nil), ""},
		{"the VIP alone", listeningUp("203.0.113.10:80", nil), ""},
		{"bound to the tunnel device", listeningUp("0.0.0.0:80", func(l *sockets.Listener) { l.Link = 3 }), ""},
		{"a container serves it", func(n *Node) { n.Examined.Services.Listeners = nil }, ""},
		{"the kernel does not list sockets, and the pool is well",
			func(n *Node) { n.Examined.Services.ListenersErr = errors.New("no tcp_diag") }, ""},
		{"the kernel does not list sockets, and the pool is not well", func(n *Node) {
			n.Examined.Services.ListenersErr = errors.New("no tcp_diag")
			down(n, "connection refused")
		}, `unknown service/listens/web: no tcp_diag
failed pool/web: connection refused | by the node's own address, 10.0.0.5, the same service passes: only the VIP fails | look at the service: its log, and: ss -ltnp
`},
		{"nothing listens, and the VIP is missing", func(n *Node) {
			delete(n.Net.Addresses, netip.MustParseAddr("203.0.113.10"))
			nothing()(n)
		},
			"failed service/listens/web: nothing listens on port 80 | the service does not run, or listens nowhere | start the service of this pool; then: rsagent check\n"},
		{"the VIP is missing, and with it the socket", func(n *Node) {
			delete(n.Net.Addresses, netip.MustParseAddr("203.0.113.10"))
			listening("10.0.0.5:80", nil)(n)
		}, ""},
		{"nothing listens, and nothing is known", nothing(),
			"failed service/listens/web: nothing listens on port 80 | the service does not run, or listens nowhere | start the service of this pool; then: rsagent check\n"},
		{"nothing listens, and nginx is installed", nothing(Unit{Name: "nginx"}),
			"failed service/listens/web: nothing listens on port 80 | the service does not run | systemctl start nginx\n"},
		{"nothing listens, and nginx is masked", nothing(Unit{Name: "nginx", Masked: true}),
			"failed service/listens/web: nothing listens on port 80 | nginx is masked, so that systemd does not start it | systemctl unmask nginx && systemctl start nginx\n"},
		{"two are installed, and one starts at boot", nothing(Unit{Name: "haproxy", Enabled: true}, Unit{Name: "nginx"}),
			"failed service/listens/web: nothing listens on port 80 | the service does not run | systemctl start haproxy\n"},
		{"two are installed alike", nothing(Unit{Name: "nginx"}, Unit{Name: "haproxy"}),
			"failed service/listens/web: nothing listens on port 80 | the service does not run | systemctl start nginx   # or whichever serves this pool, of: nginx, haproxy\n"},
		{"on another port", listening("0.0.0.0:8080", nil),
			"failed service/listens/web: nothing listens on port 80; nginx (process 7) listens on *:8080 | nginx runs, and listens on other ports only | let nginx listen on port 80 too, in its own configuration, and restart it\n"},
		{"on the node's own address", listening("10.0.0.5:80", nil),
			"failed service/listens/web: only nginx (process 7) on 10.0.0.5:80 | the service listens on another address only: a director's check of that passes, and the VIP 203.0.113.10 is refused | in the configuration of nginx, which must then be restarted:\nlisten 80;   # where it says: listen 10.0.0.5:80\nlook for it: grep -rn 'listen.*80' /etc/nginx/\n"},
		{"on loopback", listening("127.0.0.1:80", nil),
			"failed service/listens/web: only nginx (process 7) on 127.0.0.1:80 | the service listens for this node itself only | in the configuration of nginx, which must then be restarted:\nlisten 80;   # where it says: listen 127.0.0.1:80\nlook for it: grep -rn 'listen.*80' /etc/nginx/\n"},
		{"IPv6 only", listening("[::]:80", func(l *sockets.Listener) { l.Only6 = true }),
			"failed service/listens/web: only nginx (process 7) on [::]:80 (IPv6 only) | the socket takes IPv6 only (IPV6_V6ONLY) | in the configuration of nginx, which must then be restarted:\nlisten 80;   # where it says: listen [::]:80\nlook for it: grep -rn 'listen.*80' /etc/nginx/\n"},
		{"bound to lo, where the probe passes", listeningUp("0.0.0.0:80", func(l *sockets.Listener) { l.Link = 1 }),
			"failed service/listens/web: only nginx (process 7) on *:80 | the socket is bound to lo (SO_BINDTODEVICE), and what is for 203.0.113.10 comes in by tunl0 | in the configuration of nginx, which must then be restarted:\nlisten 80;   # where it says: listen 0.0.0.0:80\nlook for it: grep -rn 'listen.*80' /etc/nginx/\n"},
		{"stopped", owner(func(p *sockets.Process) { p.State = 'T' }),
			"failed service/accepts/web: nginx (process 7) is stopped | somebody stopped it by a signal (SIGSTOP), or a debugger holds it | kill -CONT 7\n"},
		{"out of file descriptors", owner(func(p *sockets.Process) { p.Files = 1024 }),
			"failed service/accepts/web: nginx (process 7) has 1024 files open and may have no more than 1024 | without a free file descriptor it cannot accept a connection | prlimit --pid 7 --nofile=65536   # now; for good: LimitNOFILE= of its unit\n"},
		{"stuck in the kernel", owner(func(p *sockets.Process) { p.State = 'D' }),
			"failed service/accepts/web: nginx (process 7) waits for the kernel (state D) | a disk or a network file system does not answer | look what for: cat /proc/7/stack; dmesg | tail\n"},
		{"it does not accept", func(n *Node) {
			n.Examined.Services.Listeners[0].Queue = 512
			down(n, "no answer within 1s")
		}, "failed service/accepts/web: 512 connections wait to be accepted, and the queue holds 511 | the service runs and does not accept, or too slowly | restart the service: systemctl restart $(ps -o unit= -p 7)\n"},
		{"it accepts slowly", func(n *Node) { n.Examined.Services.Listeners[0].Queue = 512 },
			"failed service/queue/web: 512 wait, the queue of *:80 holds 511 | the service accepts more slowly than clients come, or its backlog is small | raise the backlog of the service, and its limit: sysctl -w net.core.somaxconn=4096\n"},
		{"whose processes cannot be seen", func(n *Node) {
			n.Examined.Services.Owners, n.Examined.Services.OwnersErr = nil, errors.New("needs root")
			down(n, "connection closed before the answer was complete")
		}, `unknown service/accepts/web: needs root
failed pool/web: connection closed before the answer was complete | by the node's own address, 10.0.0.5, the same service passes: only the VIP fails | look at the service: its log, and: ss -ltnp
`},
		{"only the VIP fails", func(n *Node) { down(n, "connection closed before the answer was complete") },
			"failed pool/web: connection closed before the answer was complete | by the node's own address, 10.0.0.5, the same service passes: only the VIP fails | look at the service: its log, and: ss -ltnp\n"},
		{"clients do not answer", func(n *Node) { half(n, 3, 2) },
			"failed service/answered/web: none of 3 clients answered theirs, sent two times again or more | a router on the way drops what comes from the VIP (uRPF, anti-spoofing), or the SYNs are a flood from addresses that are forged | nothing on this node can mend this: have the network let packets from 203.0.113.10 out of this node's port\n"},
		{"two clients do not answer", func(n *Node) { half(n, 2, 5) }, ""},
		{"many clients have yet to answer", func(n *Node) { half(n, 200, 1) }, ""},
		{"some clients answer", func(n *Node) {
			half(n, 200, 5)
			n.Examined.Services.Open[netip.MustParseAddrPort("203.0.113.10:80")] = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.200:4000")}
		}, ""},
		{"it does not close", func(n *Node) {
			h := sockets.Hanging{Local: netip.MustParseAddrPort("203.0.113.10:80"), Remote: netip.MustParseAddrPort("192.0.2.1:4000")}
			for range manyUnclosed {
				n.Examined.Services.Hung = append(n.Examined.Services.Hung, h)
			}
		}, "failed service/closes/web: 256 | their clients have ended them, and the service does not: it is stuck, or forgets them | restart the service: systemctl restart $(ps -o unit= -p 7)\n"},
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

func listeningUp(addr string, spoil func(*sockets.Listener)) func(*Node) {
	return func(n *Node) {
		l := &n.Examined.Services.Listeners[0]
		l.Addr = netip.MustParseAddrPort(addr)
		if spoil != nil {
			spoil(l)
		}
	}
}

func down(n *Node, detail string) {
	n.Pools["web"] = probe.Result{State: probe.Down, Detail: detail}
}

// attention renders what of the services and pools failed or is unknown.
func attention(t *testing.T, conditions []Condition, n Node) string {
	t.Helper()
	var b strings.Builder
	for _, f := range evaluate(conditions, n) {
		if !strings.HasPrefix(f.ID, "service/") && !health.IsPool(f.ID) {
			continue
		}
		switch f.Status {
		case health.Failed:
			fmt.Fprintf(&b, "failed %s: %s | %s | %s\n", f.ID, f.Got, f.Cause, f.Remedy)
		case health.Unknown:
			fmt.Fprintf(&b, "unknown %s: %s\n", f.ID, f.Got)
		}
	}
	return b.String()
}

func TestTheRemedyOfAPoolFollowsFromWhatItsProbeSaid(t *testing.T) {
	c := declared(t, `vips = ["203.0.113.10"]
directors = ["10.0.0.1"]
[[pool]]
name = "web"
vip = "203.0.113.10"
port = 443
probe = { type = "https", path = "/up", server_name = "www.example.org" }
`)
	show := "openssl s_client -connect 203.0.113.10:443 -servername www.example.org </dev/null | openssl x509 -noout -subject -dates -ext subjectAltName"
	for got, want := range map[string]string{
		"certificate expired 2026-01-01":              "renew the certificate and reload the service; see what it shows: " + show,
		"certificate is for a.b, not www.example.org": "install the certificate for www.example.org, or correct server_name of the pool; see what it shows: " + show,
		"the answer is not TLS":                       "turn TLS on for port 443 in the configuration of the service (nginx: listen 443 ssl), or use a pool of type http",
		"status 404, want 200-399":                    "let the service answer /up with another status, or correct path, host or status of the pool; see: curl -sk -o /dev/null -w '%{http_code}\\n' --max-time 3 -H 'Host: www.example.org' 'https://203.0.113.10:443/up'",
		"no answer within 1s":                         "the service takes the connection and is too slow or stuck; see its log, and: ss -tnp 'sport = :443'",
	} {
		if diff := cmp.Diff(want, remedyFor(c.Pools[0], got)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", got, diff)
		}
	}
}

func TestWebServersAreThoseThatSystemdKnows(t *testing.T) {
	root := t.TempDir()
	write := func(file string) {
		t.Helper()
		path := filepath.Join(root, file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	write("usr/lib/systemd/system/nginx.service")
	write("lib/systemd/system/haproxy.service")
	write("etc/systemd/system/multi-user.target.wants/haproxy.service")
	if got := webServers(root); got != nil {
		t.Errorf("without systemd: got %+v", got)
	}
	if err := os.MkdirAll(filepath.Join(root, "run/systemd/system"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/null", filepath.Join(root, "etc/systemd/system/apache2.service")); err != nil {
		t.Fatal(err)
	}
	want := []Unit{{Name: "apache2", Masked: true}, {Name: "haproxy", Enabled: true}, {Name: "nginx"}}
	if diff := cmp.Diff(want, webServers(root)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestAPoolWhoseProbeIsACommandIsConnectedTo(t *testing.T) {
	c := config.Config{Tunnel: config.Tunnel{Mode: config.ModeNone}, Pools: []config.Pool{{
		Name: "db", Address: netip.MustParseAddrPort("127.0.0.1:1"),
		Probe: config.Probe{Type: config.ProbeExec, Command: []string{"/bin/true"}, Timeout: time.Second},
	}}}
	_, connect := tryOtherwise(context.Background(), c, netip.Addr{})
	if err, tried := connect["db"]; !tried || err == nil {
		t.Errorf("got %v, tried %v, want a refusal", err, tried)
	}
}
