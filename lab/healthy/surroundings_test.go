//go:build lab

package healthy

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"rsagent/lab/network"
)

// surroundings are unusual in what rsagent may see and do there.
func surroundings() []healthy {
	const only = "-all,+net_admin"
	return []healthy{
		{name: "a name server that does not answer", wrap: mounts(`
			mount -t tmpfs etc /mnt; cp -a /etc/. /mnt/; echo "nameserver 10.9.0.99" > /mnt/resolv.conf
			mount --bind /mnt /etc`),
			rules: "table inet dns {\nchain out {\ntype filter hook output priority 0; policy accept;\nudp dport 53 counter comment \"asked\"\n}\n}",
			after: func(t *testing.T, site *network.Site) {
				counted, err := site.Web1.Run("nft", "list", "table", "inet", "dns")
				ok(t, err)
				if !strings.Contains(counted, "counter packets 0 ") {
					t.Errorf("it asked the name server, and waited for it: %s", counted)
				}
			}},
		{name: "a read-only /etc", wrap: mounts("mount --bind /etc /etc; mount -o remount,ro,bind /etc")},
		{name: "no list of connections in /proc", prepare: on("modprobe nf_conntrack"), wrap: mounts(`
			mount --bind /dev/null /proc/$$/net/nf_conntrack || true
			for file in /proc/$$/net/nf_conntrack /proc/$$/net/stat/nf_conntrack; do
				[ ! -e $file ] || mount --bind /dev/null $file; done`)},
		{name: "no /sys", wrap: mounts("umount -l /sys")},
		{name: "processes of others hidden", wrap: mounts("mount -t proc -o hidepid=2 proc /proc")},
		{name: "in a container, root with CAP_NET_ADMIN only", lacks: "CAP_NET_RAW",
			wrap: []string{"setpriv", "--inh-caps=" + only, "--bounding-set=" + only}},
		{name: "in a container, an ordinary user with CAP_NET_ADMIN only", lacks: "CAP_NET_RAW", prepare: on("mkdir -p $RUNTIME_DIRECTORY; chown 1234:1234 $RUNTIME_DIRECTORY"),
			wrap: []string{"setpriv", "--reuid=1234", "--regid=1234", "--clear-groups",
				"--inh-caps=" + only, "--ambient-caps=" + only, "--bounding-set=" + only}},
		{name: "in a container whose /proc/sys is read-only", byHand: "it can write no setting",
			config: with("[tunnel]\nguard = false\nclamp_mss = \"off\"\n"),
			truly:  hygiene,
			wrap:   mounts("mount --bind /proc/sys /proc/sys; mount -o remount,ro,bind /proc/sys")},
		{name: "set up by hand, and not checked with rsagent before", byHand: "this is what a node is before rsagent comes",
			config: with("[tunnel]\nguard = false\nclamp_mss = \"off\"\n"),
			truly:  hygiene},
		{name: "set up by hand, and clients that upload", byHand: "this is what a node is before rsagent comes",
			config: with("[tunnel]\nguard = false\nclamp_mss = \"off\"\n"),
			truly:  hygiene,
			serve: func(t *testing.T, site *network.Site) {
				nginx(t, site)
				// What is too large comes after the director has said so.
				p, err := site.Client.Start(exec.Command("sh", "-c", "while :; do head -c 200000 /dev/zero | curl -s -m 5 -o /dev/null --data-binary @- http://10.9.0.100/; sleep 0.1; done"))
				ok(t, err)
				t.Cleanup(func() { ok(t, p.Kill()) })
			}},
		{name: "set up by hand, with an old file that nothing reads at boot beside the one that is read", byHand: "it has rsagent's check only",
			config: with("[tunnel]\nguard = false\nclamp_mss = \"off\"\n"),
			truly:  hygiene,
			wrap: mounts(bootFiles + `
				printf 'net.ipv4.conf.all.arp_ignore = 1\nnet.ipv4.conf.all.arp_announce = 2\n' > /etc/sysctl.conf
				cp /etc/sysctl.conf /etc/sysctl.d/60-lvs.conf`)},
		{name: "set up by hand, by a script of the network, with a copy of a file that was once read", byHand: "it has rsagent's check only",
			config: with("[tunnel]\nguard = false\nclamp_mss = \"off\"\n"),
			truly:  hygiene,
			wrap: mounts(bootFiles + `
				printf 'net.ipv4.conf.all.arp_ignore = 1\nnet.ipv4.conf.all.arp_announce = 2\n' > /etc/sysctl.d/60-lvs.conf.bak`)},
		{name: "a director that tunnels by GUE, and a port that takes it", prepare: func(t *testing.T, site *network.Site) {
			run(t, site.Web1, "modprobe fou; ip fou add port 5555 gue")
			run(t, site.Dir1, "ipvsadm -e -t 10.9.0.100:80 -r 10.9.0.31:80 -i -w 1 --tun-type gue --tun-port 5555")
		}},
		{name: "another node in another network namespace of the machine", prepare: func(t *testing.T, site *network.Site) {
			ok(t, setUpByHand(site.Web2))
			l, err := site.Web2.Listen("0.0.0.0:80")
			ok(t, err)
			t.Cleanup(func() { l.Close() })
		}},
		{name: "SELinux has refused the web server its port once", wrap: mounts(`
			mount -t tmpfs fs /sys/fs; mkdir /sys/fs/selinux; echo 1 > /sys/fs/selinux/enforce
			mkdir -p /var/log/audit; mount -t tmpfs audit /var/log/audit
			echo "type=AVC msg=audit($(date +%s).412:1187): avc:  denied  { name_bind } for  pid=2244 comm=\"nginx\" src=80 scontext=system_u:system_r:httpd_t:s0 tcontext=system_u:object_r:unreserved_port_t:s0 tclass=tcp_socket permissive=0" > /var/log/audit/audit.log`)},
	}
}

// bootFiles makes a machine that systemd has booted, by files of its own.
const bootFiles = `
	mount -t tmpfs etc /mnt; cp -a /etc/. /mnt/; mount --bind /mnt /etc
	mkdir -p /run/systemd; mount -t tmpfs systemd /run/systemd; mkdir /run/systemd/system
	rm -f /etc/sysctl.d/99-sysctl.conf /etc/sysctl.conf`

// hygiene is true of every node that was set up by hand: the kernel's defaults
// take and send redirects.
var hygiene = map[string]string{
	"sysctl/accept_redirects/all":        "the kernel's default takes them",
	"sysctl/accept_redirects/interfaces": "the kernel's default takes them",
	"sysctl/send_redirects/all":          "the kernel's default sends them",
	"sysctl/send_redirects/interfaces":   "the kernel's default sends them",
}

// mounts runs a command with other mounts than the machine's.
func mounts(script string) []string {
	return []string{"unshare", "--mount", "sh", "-ec", script + "\nexec \"$@\"", "sh"}
}

// An ordinary user must be told what was not looked at, and that this is why
// nothing can be told for sure.
func TestCheckByAnOrdinaryUserSaysWhatItCouldNotLookAt(t *testing.T) {
	site := newSite(t)
	ok(t, site.Dir1.Direct([]*network.Host{site.Web1}, 80))
	nginx(t, site)
	agent, err := site.Web1.StartAgent(site.AgentConfig(network.HTTPPool))
	ok(t, err)
	ok(t, site.Web1.UntilReady())
	nobody := []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"}
	for _, daemon := range []string{"running", "dead"} {
		r := check(t, site.Web1, nobody, "--config", site.Web1.Dir+"/rsagent.toml")
		if r.exit != 2 {
			t.Errorf("with the daemon %s: exit status %d, want 2", daemon, r.exit)
		}
		unknown := 0
		for _, f := range r.findings {
			switch f.Status {
			case "failed":
				t.Errorf("with the daemon %s: wrongly said of a node that serves: %+v", daemon, f)
			case "unknown":
				unknown++
				if !tellsOfPermission(f) {
					t.Errorf("with the daemon %s: it does not say what an ordinary user lacks: %+v", daemon, f)
				}
			}
		}
		if unknown == 0 {
			t.Errorf("with the daemon %s: nothing is unknown to an ordinary user", daemon)
		}
		t.Logf("with the daemon %s: %d unknown after %v", daemon, unknown, r.took.Round(time.Millisecond))
		if r := check(t, site.Web1, nobody); r.exit == 1 {
			t.Errorf("without a configuration: exit status 1: %s", r.said)
		}
		if daemon == "running" {
			ok(t, agent.Kill())
		}
	}
}

func tellsOfPermission(f finding) bool {
	text := strings.ToLower(f.Got + " " + f.Cause + " " + f.Remedy)
	for _, word := range []string{"permi", "root", "cap_net", "privileg"} {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// hostRun runs a script on the machine itself.
func hostRun(script string) (string, error) {
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	return string(out), err
}
