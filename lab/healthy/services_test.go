//go:build lab

package healthy

import (
	"fmt"
	"os/exec"
	"testing"
	"time"

	"rsagent/lab/network"
)

// services are nodes whose service is reached in an unusual way, or has much to
// do.
func services() []healthy {
	var asking *network.Process // by UDP
	return []healthy{
		{name: "the service listens on the VIP only", prepare: on("echo 1 > /proc/sys/net/ipv4/ip_nonlocal_bind"),
			serve: haproxy("10.9.0.100:80")},
		{name: "a proxy on the VIP before a web server on the node's address",
			prepare: on("echo 1 > /proc/sys/net/ipv4/ip_nonlocal_bind"),
			serve:   haproxy("10.9.0.100:80", "10.9.0.31:80", "127.0.0.1:8080")},
		{name: "the service listens for both families at once", serve: haproxy(":::80 v4v6")},
		{name: "the service is on another port, by a redirect", serve: haproxy("*:8080"),
			rules: `table ip nat {
				chain prerouting { type nat hook prerouting priority dstnat; ip daddr 10.9.0.100 tcp dport 80 redirect to :8080; }
				chain output { type nat hook output priority -100; ip daddr 10.9.0.100 tcp dport 80 redirect to :8080; }; }`},
		{name: "the service is a container", prepare: container, serve: contained},
		{name: "services by UDP that answer from the VIP", late: func(t *testing.T, site *network.Site) {
			run(t, site.Dir1, `for port in 53 443; do ipvsadm -A -u 10.9.0.100:$port -s rr; ipvsadm -a -u 10.9.0.100:$port -r 10.9.0.31 -i; done`)
			for _, p := range []struct {
				host   *network.Host
				script string
			}{{site.Web1, onVIP}, {site.Web1, onAny}, {site.Client, asksByUDP}} {
				running, err := p.host.Start(exec.Command("python3", "-c", p.script))
				ok(t, err)
				t.Cleanup(func() { ok(t, running.Kill()) })
				asking = running
			}
			time.Sleep(time.Second)
		}, after: func(t *testing.T, _ *network.Site) {
			select {
			case <-asking.Done():
				t.Errorf("the node does not answer by UDP: %s", asking.Log())
			default:
			}
		}},
		{name: "300 more listeners", prepare: func(t *testing.T, site *network.Site) {
			for i := range 300 {
				l, err := site.Web1.Listen(fmt.Sprintf("127.0.0.%d:%d", 1+i%7, 12000+i))
				ok(t, err)
				t.Cleanup(func() { l.Close() })
			}
		}},
		{name: "100 connections under way, and new ones all the while", prepare: func(*testing.T, *network.Site) {},
			late: func(t *testing.T, site *network.Site) {
				ok(t, site.Web1.UntilReady())
				hold(t, site, 100)
			}},
		{name: "a pool with TLS, and one that a program asks", config: func(site *network.Site) string { return site.AgentConfig(asked) }},
		{name: "a daemon that is there before the network", prepare: on("ip link set eth0 down; ip addr flush dev eth0"),
			// nginx takes no request yet, so it is not waited for.
			serve: haproxy("*:80"),
			late: func(t *testing.T, site *network.Site) {
				time.Sleep(2 * time.Second)
				run(t, site.Web1, `ip addr add 10.9.0.31/24 dev eth0; ip link set eth0 up
					ip route add default via 10.9.0.10`)
			}},
	}
}

// Services by UDP: one is bound to the VIP, the other to every address, and answers
// from the one that was asked, as servers of QUIC do (IP_PKTINFO, ip(7)). The node
// asks others meanwhile. The client ends if answers do not come.
const (
	onVIP = `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("10.9.0.100", 53))
while True:
    s.sendto(*s.recvfrom(2000))
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"who?", ("10.9.0.10", 53))`
	onAny = `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, 8, 1)
s.bind(("0.0.0.0", 443))
while True:
    data, info, _, client = s.recvmsg(2000, 100)
    asked = info[0][2][8:12]
    s.sendmsg([data], [(socket.IPPROTO_IP, 8, bytes(4) + asked + bytes(4))], 0, client)`
	asksByUDP = `
import socket, time
time.sleep(0.5)
lost = 0
while lost < 20:
    for port in 53, 443:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(1)
        s.connect(("10.9.0.100", port))
        try:
            s.send(b"who?"); s.recv(2000)
        except OSError:
            lost += 1
    time.sleep(0.01)
raise SystemExit("no answers")`
)

// asked are pools of other kinds.
const asked = `
[[pool]]
name  = "tls"
vip   = "10.9.0.100"
port  = 443
probe = { type = "https", server_name = "www.example.org" }

[[pool]]
name  = "program"
vip   = "10.9.0.100"
port  = 80
probe = { type = "exec", command = ["/bin/true"] }
`

// contained serves from the container on the node.
func contained(t *testing.T, site *network.Site) {
	t.Helper()
	run(t, site.Web1, `
		i=iptables-nft
		$i -t nat -A PREROUTING -p tcp --dport 80 -m addrtype --dst-type LOCAL -j DNAT --to-destination 172.17.0.2:8000
		$i -t nat -A OUTPUT -p tcp --dport 80 -m addrtype --dst-type LOCAL -j DNAT --to-destination 172.17.0.2:8000
		$i -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE`)
	file, err := site.Web1.WriteFile("inside.cfg", "defaults\n  mode http\n  timeout client 5s\nfrontend web\n"+
		"  bind *:8000\n  http-request return status 200 content-type text/plain string web1\n")
	ok(t, err)
	_, err = site.Web1.Start(exec.Command("ip", "netns", "exec", "container", "haproxy", "-db", "-f", file))
	ok(t, err)
}

// hold opens so many connections of clients that stay as they are until the end.
func hold(t *testing.T, site *network.Site, count int) {
	t.Helper()
	for range count {
		conn, err := site.Client.Dial(network.VIP.String()+":80", 0, 3*time.Second)
		ok(t, err)
		t.Cleanup(func() { conn.Close() })
	}
}
