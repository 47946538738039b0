package main

import (
	_ "embed"
	"fmt"
	"strings"
)

// policy is one of SELinux in which everything may do everything, but for what
// stands there. The machine must boot with SELinux: lab exec --kernel security=selinux.
//
//go:embed policy.conf
var policy string

// enforce puts the policy in force, by which port 443 is of a type. It ends with the
// row: relax.
func enforce(portType string) string {
	return fmt.Sprintf(`
		[ -e /sys/fs/selinux/load ] || { echo 'the machine has no SELinux: boot it with --kernel security=selinux' >&2; exit 1; }
		cat > /run/policy.conf <<'END'
%s
END
		checkpolicy -U allow -o /run/policy /run/policy.conf >/dev/null
		cat /run/policy > /sys/fs/selinux/load
		echo 1 > /sys/fs/selinux/enforce
`, strings.ReplaceAll(policy, "PORT_TYPE", portType))
}

const relax = "echo 0 > /sys/fs/selinux/enforce; "

// in runs a command in a domain.
func in(domain, command string) string {
	return "sh -c 'printf u:r:" + domain + " > /proc/self/attr/exec; exec " + command + "'"
}

// confined has systemd start nginx in a domain of its own.
var confined = `printf '[Service]\nExecStart=\nExecStart=/bin/%s\n' "` + in("httpd_t", "/usr/sbin/nginx -c /etc/nginx/nginx.conf") + `" > /etc/systemd/system/nginx.service.d/zz-confined.conf
	systemctl daemon-reload
`

func selinuxRows() []row {
	const unconfined = "rm /etc/systemd/system/nginx.service.d/zz-confined.conf; systemctl daemon-reload; "
	return []row{
		{name: "SELinux keeps the web server from its port", inject: enforce("closed_port_t") + confined + "systemctl restart nginx; sleep 1",
			clean: relax + unconfined + startNginx,
			sees:  refused, id: "service/listens/http-pool", says: "SELinux keeps nginx, in the domain httpd_t, from port 443, which is of the type closed_port_t",
			words: "semanage port -a -t http_port_t -p tcp 443", undo: enforce("http_port_t") + startNginx},
		{name: "SELinux keeps IPIP from being loaded", inject: enforce("http_port_t") + "modprobe -r ipip; " + in("agent_t", "ip link add tunl0 type ipip") + " || true",
			clean: relax + "rm /etc/modules-load.d/ipip.conf",
			sees:  some, id: "tunnel/device", says: "SELinux keeps ip, in the domain agent_t, from having the kernel load its module"},
	}
}
