//go:build lab

package directors

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"rsagent/lab/network"
)

// wrong is what no format has.
const wrong = "\nnonsense { of = ours\n"

func TestEachDirectorsProgramTakesWhatIsWrittenForIt(t *testing.T) {
	site := newSite(t)
	loadIPVS(t, site)
	for _, test := range []struct {
		name    string
		args    []string
		node    func(*network.Site, *network.Host) string
		program program
	}{
		{"keepalived", []string{"keepalived"}, tunnelled, keepalived},
		{"keepalived that deletes", []string{"keepalived", "--delete-failed"}, tunnelled, keepalived},
		{"keepalived through the tunnel", []string{"keepalived", "--check", "probe"}, tunnelled, keepalived},
		{"HAProxy", []string{"haproxy"}, plain, haproxy},
		{"HAProxy by agent-check", []string{"haproxy", "--check", "agent"}, plain, haproxy},
		{"HAProxy with a soft stop, also to IPv6", []string{"haproxy"}, odd, haproxy},
		{"Apache", []string{"apache"}, plain, apache},
		{"Apache with a long name, also to IPv6", []string{"apache"}, odd, apache},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := written(t, site, test.node(site, site.Web1), test.args...)
			if status, said := ends(t, site.Dir1, test.program.check(t, site.Dir1, text)); status != 0 {
				t.Errorf("it is refused with status %d: %s\n%s", status, said, text)
			}
			if status, said := ends(t, site.Dir1, test.program.check(t, site.Dir1, text+wrong)); status == 0 {
				t.Errorf("it takes anything: %s", said)
			}
		})
	}
}

// odd has what is unusual in a configuration.
func odd(_ *network.Site, _ *network.Host) string {
	name := "a.pool_with-a.name_of-forty-eight-characters.ABC"
	return fmt.Sprintf("[tunnel]\nmode = \"none\"\n[health]\ndrain_status = 404\n"+
		"[[pool]]\nname = \"http-pool\"\naddress = \"fd00::31\"\nport = 80\nprobe = { type = \"http\" }\n"+
		"[[pool]]\nname = %q\naddress = \"fd00::31\"\nport = 443\nprobe = { type = \"https\", server_name = \"a.example\" }\n", name)
}

func ends(t *testing.T, h *network.Host, cmd *exec.Cmd) (status int, said string) {
	t.Helper()
	p, err := h.Start(cmd)
	ok(t, err)
	status, err = p.Wait(patience)
	ok(t, err)
	return status, p.Log()
}

// The rules come back from the kernel as they were written. Without --real they are
// for the node that writes them.
func TestIPVSTakesTheRulesAndTheSettings(t *testing.T) {
	site := newSite(t)
	loadIPVS(t, site)
	load := func(text string) string {
		return run(t, site.Dir1, "ipvsadm -C; ipvsadm -R < "+file(t, site.Dir1, "rules", text)+"; ipvsadm -S -n")
	}
	text := written(t, site, tunnelled(site, site.Web1), append([]string{"ipvsadm"}, both(site)...)...)
	if got, want := rules(load(text)), rules(text); !slices.Equal(got, want) || len(got) != 3 {
		t.Errorf("got %q, want %q", got, want)
	}
	alone := written(t, site, tunnelled(site, site.Web1), "ipvsadm")
	if got := load(alone); strings.Count(got, "-r ") != 1 || !strings.Contains(got, "-r "+site.Web1.Addr.String()+":80 -i -w 100") {
		t.Errorf("got %s, want web1 alone", got)
	}

	settings := written(t, site, tunnelled(site, site.Web1), "sysctl")
	run(t, site.Dir1, "sysctl -p "+file(t, site.Dir1, "sysctl.conf", settings))
	for _, m := range regexp.MustCompile(`(?m)^(net\.\S+) = (\d+)$`).FindAllStringSubmatch(settings, -1) {
		if got, err := site.Dir1.Sysctl(strings.ReplaceAll(m[1], ".", "/")); err != nil || got != m[2] {
			t.Errorf("%s is %q, %v, want %s", m[1], got, err, m[2])
		}
	}
}

// rules are the lines that are no comments.
func rules(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			all = append(all, strings.TrimSuffix(line, " --tun-type ipip")) // which is the default
		}
	}
	slices.Sort(all)
	return all
}

var lvsSetting = regexp.MustCompile(`(?m)^ *(send|expect|port) = (.*)$`)

// nanny is not packaged. What it does with the file is done here: it connects to the
// server's own port, sends, reads once as many bytes as it expects, and compares
// (nanny.c); and has ipvsadm put the server in by that port, and change its weight.
func TestPiranhasBytesTellAReadyNodeFromADrainedOne(t *testing.T) {
	site := newSite(t)
	loadIPVS(t, site)
	config := tunnelled(site, site.Web1)
	set := map[string]string{}
	for _, m := range lvsSetting.FindAllStringSubmatch(written(t, site, config, "lvs.cf"), -1) {
		set[m[1]] = m[2] // the last port is the server's
	}
	startNginx(t, site.Web1)
	startAgent(t, site.Web1, config)
	nanny := func() error {
		conn, err := site.Dir1.Dial(site.Web1.Addr.String()+":"+set["port"], 0, time.Second)
		if err != nil {
			return err
		}
		defer conn.Close()
		send, err := strconv.Unquote(set["send"])
		ok(t, err)
		expect, err := strconv.Unquote(set["expect"])
		ok(t, err)
		ok(t, conn.SetDeadline(time.Now().Add(time.Second)))
		_, err = io.WriteString(conn, send)
		ok(t, err)
		got := make([]byte, len(expect))
		if n, err := conn.Read(got); err != nil || string(got[:n]) != expect {
			rest, _ := bufio.NewReader(conn).ReadString('\n')
			return fmt.Errorf("read %q, %v, then %q", got[:n], err, rest)
		}
		return nil
	}
	ok(t, nanny())
	run(t, site.Web1, "rsagent drain")
	if err := nanny(); err == nil || !strings.Contains(err.Error(), "HTTP/1.0 503") {
		t.Errorf("a drained node is good: %v", err)
	}
	run(t, site.Web1, "rsagent undrain")
	ok(t, nanny())

	service, server := network.VIP.String()+":80", site.Web1.Addr.String()+":"+set["port"]
	for _, step := range []struct{ command, want string }{
		{"-A -t " + service + " -s wrr", ""},
		{"-a -t " + service + " -r " + server + " -i -w 100", ":80 -i -w 100"},
		{"-e -t " + service + " -r " + server + " -i -w 0", ":80 -i -w 0"},
		{"-d -t " + service + " -r " + server + " && exit 1 || true", ":80 -i -w 0"}, // which is why it must not
		{"-d -t " + service + " -r " + site.Web1.Addr.String() + ":80", ""},
	} {
		run(t, site.Dir1, "ipvsadm "+step.command)
		got := run(t, site.Dir1, "ipvsadm -S -n | grep -e -r || true")
		if step.want == "" && got != "" || !strings.Contains(got, step.want) {
			t.Errorf("after ipvsadm %s there is %q, want %q", step.command, got, step.want)
		}
	}
}
