package director

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"rsagent/agent/config"
)

// What a line of each format may be, but for comments and empty lines. A text of
// the configuration that could end a line, or a word, has no place in these.
var grammar = map[string]string{
	"keepalived": `virtual_server ADDRESS PORT \{|real_server ADDRESS PORT \{|HTTP_GET \{|url \{|MISC_CHECK \{|\}` +
		`|(delay_loop|weight|connect_port|connect_timeout|retry|delay_before_retry|misc_timeout) [0-9]+` +
		`|lvs_sched wrr|lvs_method TUN|protocol TCP|inhibit_on_failure|path /ready/NAME(\?fall=[0-9]+)?|status_code 200|misc_dynamic|user root` +
		`|misc_path "PROGRAM probe --real ADDRESS --vip ADDRESS:PORT --ready http://:PORT/ready/NAME(\?fall=[0-9]+)? --weight 100 --timeout [0-9]+s"`,
	"ldirectord": `fork = yes|virtual = ADDRESS:PORT|real = ADDRESS:PORT ipip 100|scheduler = wrr|protocol = tcp|quiescent = (yes|no)` +
		`|(checkinterval|failurecount|checktimeout|negotiatetimeout|checkport) = [0-9]+|checktype = (negotiate|external)|service = http` +
		`|checkcommand = "/etc/ha.d/rsagent-check"|request = "/ready/NAME(\?fall=[0-9]+)?"|receive = "\^ready\$"`,
	"lvs.cf": `(primary|backup) = ADDRESS|(serial_no|backup_active|heartbeat|keepalive|deadtime|active|port|use_regex|timeout|reentry|quiesce_server|weight) = [0-9]+` +
		`|service = lvs|network = tunnel|debug_level = NONE|virtual NAME \{|server ADDRESS \{|\}|address = ADDRESS( eth0:[0-9]+)?` +
		`|vip_nmask = 255.255.255.255|send = "GET /ready/NAME(\?fall=[0-9]+)? HTTP/1.0\\r\\n\\r\\n"|expect = "HTTP/1.0 200"|load_monitor = none|scheduler = wrr|protocol = tcp`,
	"haproxy": `backend NAME|mode (http|tcp)|balance roundrobin|option httpchk GET /(live|ready/NAME)|http-check disable-on-404` +
		`|default-server inter [0-9]s fall [0-9]+ rise 2 weight 100|server ADDRESS ADDRESS:PORT check port PORT( agent-check agent-port PORT agent-inter [0-9]s agent-send "NAME\\n")?`,
	"apache": `SSLProxyEngine on|SSLProxyCheckPeerName off|<Proxy "balancer://NAME">|</Proxy>|ProxySet lbmethod=byrequests` +
		`|BalancerMember "https?://ADDRESS:PORT" ttl=4 hcmethod=GET hcuri=/ready/NAME(\?fall=[0-9]+)? hcinterval=[0-9] hcpasses=2 hcfails=[0-9]+`,
	"ipvsadm": `-A -t ADDRESS:PORT -s wrr|-a -t ADDRESS:PORT -r ADDRESS:PORT -i -w 100`,
	"sysctl":  `net\.ipv4\.vs\.[a-z_]+ = [0-9]`,
}

var words = strings.NewReplacer("ADDRESS", `(?:\[?[0-9a-f.:]+\]?)`, "PORT", "[0-9]{1,5}", "NAME", "[A-Za-z0-9._-]+", "PROGRAM", "/[A-Za-z0-9._/+-]+")

// parses wants every line to be a comment, empty, or of the format's grammar.
func parses(t *testing.T, format string, text []byte) {
	t.Helper()
	line := regexp.MustCompile(`^(?:[ ]*(?:` + words.Replace(grammar[format]) + `)|#[ -~]*|)$`)
	for i, l := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		if !line.MatchString(l) {
			t.Fatalf("line %d of %s is %q:\n%s", i+1, format, l, text)
		}
	}
	if opened, closed := strings.Count(string(text), " {\n"), strings.Count(string(text), "}\n"); format != "ldirectord" && format != "apache" && opened != closed {
		t.Fatalf("%s opens %d braces and closes %d:\n%s", format, opened, closed, text)
	}
}

// all writes every format in every way, and wants each to be refused or to parse.
func all(t *testing.T, c config.Config, reals []netip.Addr, program string) {
	t.Helper()
	for _, f := range Formats() {
		for _, check := range append(f.Checks, "") {
			for _, deletes := range []bool{false, true} {
				text, warnings, err := Write(c, Request{f.Name, reals, check, deletes, program})
				if err == nil {
					parses(t, f.Name, text)
				} else if message := err.Error(); !strings.HasPrefix(message, "cannot write ") || strings.ContainsAny(message, "\r\x00") {
					t.Fatalf("the error is %q", message)
				}
				if len(warnings) > 2 {
					t.Fatalf("warnings: %q", warnings)
				}
			}
		}
	}
}

// Whatever a configuration says, what comes of it has the lines of its format.
func FuzzAConfigurationAddsNoLines(f *testing.F) {
	files, err := filepath.Glob("testdata/*.toml")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := config.Parse("fuzz", []byte(text))
		if err != nil {
			return
		}
		c.Directors = nil // nothing is asked of this machine's routes
		all(t, c, nil, "")
		all(t, c, two, "")
	})
}

// Nor does a value that the configuration would not take.
func FuzzAValueAddsNoLines(f *testing.F) {
	f.Add("web", ":9380", ":9381", "/usr/bin/rsagent", "10.0.0.31", 3, uint16(80))
	f.Add("a b", "[::]:1", "host:2", "/bin/x y", "fe80::1%a\nb", 0, uint16(0))
	f.Add("web\n}", "h\no:9380", ":9381\n", "/bin/x\n", "fd00::1", 1<<40, uint16(1))
	f.Add("web\"", ":93 80", ":93\"81", "/bin/\"", "127.0.0.1", -1, uint16(1))
	f.Fuzz(func(t *testing.T, name, listen, agent, program, real string, fall int, port uint16) {
		for _, mode := range []string{config.ModeIPIP, config.ModeNone} {
			c := config.Config{
				VIPs:   addresses("203.0.113.10"),
				Tunnel: config.Tunnel{Mode: mode},
				Health: config.Health{Listen: listen, AgentListen: agent},
				Drain:  config.Drain{Notice: 30 * time.Second, Fall: min(max(fall, 1), 1000)},
				Pools:  []config.Pool{{Name: name, Address: netip.MustParseAddrPort("203.0.113.10:80")}},
			}
			c.Pools[0].Address = netip.AddrPortFrom(c.VIPs[0], port)
			a, err := netip.ParseAddr(real)
			if err != nil {
				continue
			}
			c.Directors = []netip.Prefix{netip.PrefixFrom(addresses("10.0.0.2")[0], 32)}
			all(t, c, []netip.Addr{a}, program)
		}
	})
}
