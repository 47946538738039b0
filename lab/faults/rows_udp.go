package main

import "strings"

// udpRows are of a service by UDP, which no pool is. Its director sends port 53 on.
func udpRows() []row {
	return []row{
		{name: "a service by UDP is bound to every address, and answers from the node's own",
			inject: "ip netns exec dir1 ipvsadm -A -u 10.9.0.100:53 -s rr; ip netns exec dir1 ipvsadm -a -u 10.9.0.100:53 -r 10.9.0.31 -i\n" +
				serveUDP("0.0.0.0") + askByUDP,
			undo:  "kill $(cat /run/udp-server); " + serveUDP("10.9.0.100"),
			clean: "kill $(cat /run/udp-server) $(cat /run/udp-client); ip netns exec dir1 ipvsadm -D -u 10.9.0.100:53",
			words: "let it listen on 10.9.0.100:53 itself", sees: timeout, with: resolve, id: "path/udp"},
	}
}

// serveUDP answers each packet to port 53 of an address with the same.
func serveUDP(address string) string {
	return `setsid python3 -c '
import os, socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("` + address + `", 53))
open("/run/udp-server", "w").write(str(os.getpid()))
while True:
    s.sendto(*s.recvfrom(2000))' </dev/null >/dev/null 2>&1 &
	until ss -Hlun | grep -q ':53 '; do sleep 0.1; done
	`
}

// askByUDP has a client ask, again and again.
const askByUDP = `ip netns exec client setsid python3 -c '
import os, socket, time
open("/run/udp-client", "w").write(str(os.getpid()))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(("10.9.0.100", 53))
while True:
    s.send(b"who?")
    time.sleep(0.01)' </dev/null >/dev/null 2>&1 &
	until [ -s /run/udp-client ]; do sleep 0.1; done
	`

// resolve is what comes of asking by UDP: of answers from anybody else a client
// never learns.
func resolve(s *site) (string, error) {
	out, err := s.Client.Run("python3", "-c", `
import socket
lost = 0
for i in range(3):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(1)
    s.connect(("10.9.0.100", 53))
    try:
        s.send(b"who?"); s.recv(2000)
    except OSError:
        lost += 1
print(lost)`)
	if err != nil {
		return "", err
	}
	if lost := strings.TrimSpace(out); lost != "0" {
		return lost + " of 3 questions by UDP: timeout", nil
	}
	return browse(s)
}
