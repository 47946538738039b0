//go:build lab

package systest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"rsagent/lab/network"
)

// serviceFault is something that is wrong with a web server, and what check
// says of it first.
type serviceFault struct {
	name    string
	inject  string // a script; $RIP is the node's own address
	id, got string
	pasted  bool   // the remedy is a command, which is run as it is printed
	mend    string // else what its words say is done by this script
}

const restartNginx = `
stop() { kill $(cat $NGINX/nginx.pid); while [ -e $NGINX/nginx.pid ]; do sleep 0.1; done; }
start() { setsid nginx -p $NGINX -c $NGINX/nginx.conf >/dev/null 2>&1 & while ! [ -s $NGINX/nginx.pid ]; do sleep 0.1; done; sleep 0.5; }
`

func listenAt(line string) string {
	return fmt.Sprintf(`cp $NGINX/nginx.conf $NGINX/good.conf; sed -i "s/listen 80 default_server/listen %s/" $NGINX/nginx.conf; stop; start`, line)
}

const listenAnywhere = `cp $NGINX/good.conf $NGINX/nginx.conf; stop; start`

// python serves on a socket that is made as the lines say.
func python(lines string) string {
	return `stop; cat > $NGINX/serve.py <<'END'
import http.server, socket, time
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
` + lines + `
END
setsid python3 $NGINX/serve.py >/dev/null 2>&1 & echo $! > $NGINX/python.pid; until ss -ltnH | grep -q ":80 "; do sleep 0.2; done; sleep 0.5`
}

const noPython = `kill -9 $(cat $NGINX/python.pid); start`

func serviceFaults() []serviceFault {
	return []serviceFault{
		{name: "nginx is stopped by a signal", inject: `kill -STOP $(cat $NGINX/nginx.pid) $(ps -o pid= --ppid $(cat $NGINX/nginx.pid))`,
			id: "service/accepts/http-pool", got: "stopped", pasted: true},
		{name: "nginx may open no more files",
			inject: `for p in $(ps -o pid= --ppid $(cat $NGINX/nginx.pid)); do i=0; while [ -e /proc/$p/fd/$i ]; do i=$((i+1)); done; prlimit --pid $p --nofile=$i; done`,
			id:     "service/accepts/http-pool", got: "may have no more than", pasted: true},
		{name: "nginx does not run", inject: "stop", id: "service/listens/http-pool", got: "nothing listens on port 80", mend: "start"},
		{name: "nginx listens on the node's own address", inject: listenAt("$RIP:80"), id: "service/listens/http-pool", got: "only nginx", mend: listenAnywhere},
		{name: "nginx listens on loopback", inject: listenAt("127.0.0.1:80"), id: "service/listens/http-pool", got: "on 127.0.0.1:80", mend: listenAnywhere},
		{name: "nginx listens on IPv6 only", inject: listenAt("[::]:80 ipv6only=on"), id: "service/listens/http-pool", got: "IPv6 only", mend: listenAnywhere},
		{name: "nginx listens on another port", inject: listenAt("8080"), id: "service/listens/http-pool", got: "*:8080", mend: listenAnywhere},
		{name: "nginx answers 404", inject: `cp $NGINX/nginx.conf $NGINX/good.conf; sed -i "s/return 200/return 404/" $NGINX/nginx.conf; stop; start`,
			id: "pool/http-pool", got: "status 404", mend: listenAnywhere},
		{name: "a service is bound to eth0", inject: python(`s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
s.bind(("", 80)); s.listen(5); time.sleep(600)`), id: "service/listens/http-pool", got: "on *:80", mend: noPython},
		{name: "a service is bound to lo, where its probe passes", inject: python(`s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
s.bind(("", 80)); s.listen(5)
while True:
  c = s.accept()[0]; c.recv(999); c.sendall(b"HTTP/1.0 200 OK\r\n\r\n"); c.close()`), id: "service/listens/http-pool", got: "on *:80", mend: noPython},
		{name: "a service does not accept", inject: python(`s.bind(("", 80)); s.listen(1)
held = [socket.create_connection(("127.0.0.1", 80)) for i in range(2)]
time.sleep(600)`), id: "service/accepts/http-pool", got: "wait to be accepted", mend: noPython},
	}
}

// Each fault is named first, what check says of it is done, and the client is
// served again.
func TestCheckNamesWhatIsWrongWithTheWebServer(t *testing.T) {
	site := newSite(t)
	node := site.Web1
	_, err := node.StartNginx()
	ok(t, err)
	config := site.AgentConfig(network.HTTPPool)
	startAgent(t, node, config)
	ok(t, site.Dir1.Direct([]*network.Host{node}, 80))
	served := func() bool {
		status, _, err := site.Client.Get("http://" + network.VIP.String())
		return err == nil && status == 200
	}
	run := func(script string) {
		t.Helper()
		env := fmt.Sprintf("NGINX=%s/nginx RIP=%s\n", node.Dir, node.Addr)
		if out, err := node.Run("sh", "-c", env+restartNginx+script); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	for _, f := range serviceFaults() {
		if !soon(served) {
			t.Fatalf("before %q the client is not served", f.name)
		}
		run(f.inject)
		if served() {
			t.Errorf("%s: the client is served all the same", f.name)
		}
		began := time.Now()
		status, findings := check(t, node)
		took := time.Since(began)
		found := findings[f.id]
		t.Logf("%s (exit %d, %v)\n  %s: %s\n  cause: %s\n  remedy: %s", f.name, status, took.Round(time.Millisecond), f.id, found.Got, found.Cause, found.Remedy)
		if status != 1 || found.Status != "failed" || !strings.Contains(found.Got, f.got) {
			t.Errorf("%s: got status %d, %+v", f.name, status, found)
		}
		for id, other := range findings {
			if id != f.id && other.Severity == "required" && other.Status == "failed" {
				t.Errorf("%s: %s failed too: %s", f.name, id, other.Got)
			}
		}
		if f.pasted {
			run(found.Remedy)
		} else {
			run(f.mend)
		}
		if !soon(served) {
			t.Errorf("%s: the client is not served after the remedy", f.name)
		}
		if status, findings := check(t, node); status != 0 {
			t.Errorf("%s: after the remedy: status %d, %+v", f.name, status, findings)
		}
	}
}

func soon(is func() bool) bool {
	for range 50 {
		if is() {
			return true
		}
		time.Sleep(200 * time.Millisecond)
	}
	return false
}

// The answers of a node are dropped on their way: all is well on the node, and
// nothing on it helps.
func TestCheckSeesThatNoClientAnswers(t *testing.T) {
	site := newSite(t)
	node := site.Web1
	_, err := node.StartNginx()
	ok(t, err)
	startAgent(t, node, site.AgentConfig(network.HTTPPool))
	ok(t, site.Dir1.Direct([]*network.Host{node}, 80))
	script := "nft add table ip t\nnft add chain ip t c '{ type filter hook prerouting priority -400; }'\n" +
		"nft add rule ip t c ip saddr " + network.VIP.String() + " drop\n" +
		"dev=$(ip -o route get " + network.VIP.String() + " | sed 's/.* dev \\([^ ]*\\).*/\\1/')\n"
	own := site.Client.Addr.As4()
	for i := range 4 {
		addr := fmt.Sprintf("%d.%d.%d.%d", own[0], own[1], own[2], 231+i)
		script += fmt.Sprintf("ip addr add %s/24 dev $dev\n(curl -s --max-time 20 --interface %s http://%s/ >/dev/null 2>&1 &)\n", addr, addr, network.VIP)
	}
	if out, err := site.Client.Run("sh", "-c", script); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var found finding
	if !soon(func() bool {
		_, findings := check(t, node)
		found = findings["service/answered/http-pool"]
		return found.Status == "failed"
	}) {
		t.Errorf("got %+v", found)
	}
	t.Logf("%s\n  cause: %s\n  remedy: %s", found.Got, found.Cause, found.Remedy)
	out, err := site.Client.Run("nft", "flush", "ruleset")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}
