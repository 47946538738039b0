package main

// nginx makes a change to nginx' configuration and has it started with it.
func nginx(change string) string {
	return "cp /etc/nginx/nginx.conf /etc/nginx/good.conf; sed -i '" + change + "' /etc/nginx/nginx.conf; " + startNginx
}

// systemd does not wait until this nginx listens.
const (
	startNginx = "systemctl restart nginx; until ss -Hltn | grep -q -e ':80 ' -e ':443 '; do sleep 0.1; done"
	goodNginx  = "mv /etc/nginx/good.conf /etc/nginx/nginx.conf; " + startNginx
)

func serviceRows() []row {
	return []row{
		{name: "the web server is dead", inject: "systemctl stop nginx",
			sees: refused, id: "service/listens/http-pool"},
		{name: "the web server hangs", inject: "systemctl kill -s STOP nginx",
			sees: timeout, id: "service/accepts/http-pool"},
		{name: "the control group of the web server is frozen", inject: "systemctl freeze nginx.service",
			clean: "systemctl thaw nginx.service", sees: timeout, id: "service/accepts/http-pool", says: "frozen"},
		{name: "systemd keeps everybody from the web server", inject: "systemctl set-property --runtime nginx.service IPAddressDeny=any",
			sees: timeout, id: "path/in", says: "eBPF"},
		{name: "it listens on the node's own address only", inject: nginx("s/listen 80 /listen 10.9.0.31:80 /; s/listen 443 /listen 10.9.0.31:443 /"),
			sees: refused, id: "service/listens/http-pool", words: "listen 80;", undo: goodNginx},
		{name: "it listens on localhost only", inject: nginx("s/listen 80 /listen 127.0.0.1:80 /"),
			sees: refused, id: "service/listens/http-pool", words: "listen 80;", undo: goodNginx},
		{name: "it listens for IPv6 only", inject: nginx("s/listen 80 default_server/listen [::]:80 ipv6only=on/"),
			sees: refused, id: "service/listens/http-pool", words: "listen 80;", undo: goodNginx},
		{name: "nobody listens on port 443", inject: nginx("/listen 443/d"),
			sees: refused, id: "service/listens/ssl-pool", words: "443", undo: goodNginx},
		{name: "the path of the probe is not there", inject: nginx("s/return 200/return 404/"),
			sees: missing, id: "pool/http-pool", words: "let the service answer", undo: goodNginx},
		{name: "the web server fails", inject: nginx("s/return 200/return 503/"),
			sees: failing, id: "pool/http-pool", words: "let the service answer", undo: goodNginx},
		{name: "the certificate has expired", inject: nginx("s#ssl_certificate .*cert.pem#ssl_certificate /etc/nginx/expired.pem#; s#ssl_certificate_key .*key.pem#ssl_certificate_key /etc/nginx/expired.pem#"),
			sees: badTLS, id: "pool/ssl-pool", words: "certificate", undo: goodNginx},
		{name: "the certificate is for another name", inject: nginx("s#ssl_certificate .*cert.pem#ssl_certificate /etc/nginx/other.pem#; s#ssl_certificate_key .*key.pem#ssl_certificate_key /etc/nginx/other.pem#"),
			sees: badTLS, id: "pool/ssl-pool", words: "certificate", undo: goodNginx},
		{name: "the process may open no more files", inject: "prlimit --pid $(pgrep -P $(systemctl show -p MainPID --value nginx)) --nofile=3:3",
			sees: some, id: "service/accepts/http-pool", words: "", undo: startNginx},
	}
}

func limitRows() []row {
	return []row{
		{name: "the table of connections is full", inject: "nft 'add table ip track; add chain ip track pre { type filter hook prerouting priority 0; }; add rule ip track pre ct state new counter'; nsenter -t 1 -n sysctl -qw net.netfilter.nf_conntrack_max=1; for i in 1 2 3; do ping -c1 -W1 -q 10.9.0.2$i >/dev/null || true; done",
			words: "sysctl -w net.netfilter.nf_conntrack_max=",
			// The machine's network namespace alone may set it.
			undo: "nsenter -t 1 -n sysctl -qw net.netfilter.nf_conntrack_max=262144", clean: "nft delete table ip track", sees: timeout, id: "limits/conntrack"},
		{name: "the queue of connections to accept is tiny", inject: "sysctl -qw net.core.somaxconn=1; " + startNginx,
			clean: "sysctl -qw net.core.somaxconn=4096; " + startNginx, sees: fine, id: "limits/backlog"},
	}
}
