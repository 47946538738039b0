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
