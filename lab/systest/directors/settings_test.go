//go:build lab

package directors

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"rsagent/lab/network"
)

// What the README says of the settings of IPVS: which of them a client is sent to
// another node by once its own has weight 0. Without persistence either of two
// does for a port that is used again; with it conn_reuse_mode does nothing
// (is_new_conn_expected in net/netfilter/ipvs/ip_vs_core.c).
func TestWhichSettingsSendClientsAwayFromWeightZero(t *testing.T) {
	site := newSite(t)
	loadIPVS(t, site)
	for _, node := range site.Nodes() {
		_, err := node.StartNginx()
		ok(t, err)
		startAgent(t, node, site.AgentConfig(network.HTTPPool))
	}
	port := uint16(6000)
	for _, test := range []struct {
		name                    string
		reuse, template, nodest int // the settings
		persistent              bool
		samePort, newPort       bool // whether it comes to the other node
	}{
		{"the kernel's own", 1, 0, 0, false, false, true},
		{"the kernel's own, persistent", 1, 0, 0, true, false, false},
		{"conn_reuse_mode alone", 3, 0, 0, false, true, true},
		{"expire_nodest_conn alone", 1, 0, 1, false, true, true},
		{"expire_nodest_conn alone, persistent", 1, 0, 1, true, false, false},
		{"all but expire_nodest_conn, persistent", 3, 1, 0, true, false, true},
		{"all but expire_quiescent_template, persistent", 3, 0, 1, true, false, false},
		{"all", 3, 1, 1, false, true, true},
		{"all, persistent", 3, 1, 1, true, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			keep := ""
			if test.persistent {
				keep = "-p 600"
			}
			run(t, site.Dir1, fmt.Sprintf("cd /proc/sys/net/ipv4/vs && echo %d >conn_reuse_mode && echo %d >expire_quiescent_template && echo %d >expire_nodest_conn", test.reuse, test.template, test.nodest))
			run(t, site.Dir1, fmt.Sprintf("ipvsadm -C; ipvsadm -A -t %s:80 -s wrr %s", network.VIP, keep))
			for _, node := range site.Nodes() {
				run(t, site.Dir1, fmt.Sprintf("ipvsadm -a -t %s:80 -r %s:80 -i -w 100", network.VIP, node.Addr))
			}
			port += 2
			first := askFrom(t, site, port)
			own := site.Web1
			if first == site.Web2.Name {
				own = site.Web2
			}
			run(t, site.Dir1, fmt.Sprintf("ipvsadm -e -t %s:80 -r %s:80 -i -w 0", network.VIP, own.Addr))
			if other := askFrom(t, site, port) != first; other != test.samePort {
				t.Errorf("from the same port it is sent to another node: %t, want %t", other, test.samePort)
			}
			if other := askFrom(t, site, port+1) != first; other != test.newPort {
				t.Errorf("from another port it is sent to another node: %t, want %t", other, test.newPort)
			}
		})
	}
}

// askFrom asks from a port of the client, on a connection that the server closes,
// and returns who answered.
func askFrom(t *testing.T, site *network.Site, port uint16) (node string) {
	t.Helper()
	until(t, "the VIP answers", func() error {
		conn, err := site.Client.Dial(network.VIP.String()+":80", port, 3*time.Second)
		if err != nil {
			return err
		}
		defer conn.Close()
		ok(t, conn.SetDeadline(time.Now().Add(3*time.Second)))
		if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
			return err
		}
		in := bufio.NewReader(conn)
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		node = strings.TrimSpace(string(body))
		if err != nil {
			return err
		}
		// Who closes first keeps the port for a minute.
		_, err = io.Copy(io.Discard, in)
		return err
	})
	time.Sleep(100 * time.Millisecond) // the client's FIN is with the director
	return node
}
