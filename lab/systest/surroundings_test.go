package systest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rsagent/lab/network"
)

// surrounding is a node on which rsagent must not start.
type surrounding struct {
	name   string
	make   func(t *testing.T, node *network.Host) // and takes it back in a Cleanup
	wrap   []string                               // what runs rsagent
	vips   string                                 // other than the site's
	wanted []string                               // words of the message
}

func surroundings() []surrounding {
	ip := func(there, back string) func(t *testing.T, node *network.Host) {
		return func(t *testing.T, node *network.Host) {
			ok(t, node.IP(there))
			t.Cleanup(func() { ok(t, node.IP(back)) })
		}
	}
	return []surrounding{
		{name: "without CAP_NET_ADMIN", wrap: []string{"setpriv", "--bounding-set=-net_admin"}, wanted: []string{"CAP_NET_ADMIN"}},
		{name: "not as root", wrap: []string{"setpriv", "--reuid=65534", "--clear-groups"}, wanted: []string{"CAP_NET_ADMIN", "root"}},
		{name: "a tunl0 of another kind", make: ip("link add tunl0 type dummy", "link del tunl0"),
			wanted: []string{"tunl0", "dummy", "ip link set tunl0 name"}},
		{name: "the VIP on another interface", make: ip("addr add 10.9.0.100/32 dev eth0", "addr del 10.9.0.100/32 dev eth0"),
			wanted: []string{"10.9.0.100", "eth0", "ip addr del 10.9.0.100/32 dev eth0"}},
		{name: "the node's own address as VIP", vips: `"10.9.0.31"`, wanted: []string{"10.9.0.31", "eth0"}},
		{name: "the VIP 0.0.0.0", vips: `"0.0.0.0"`, wanted: []string{"0.0.0.0", "vips"}},
		{name: "a multicast VIP", vips: `"224.0.0.18"`, wanted: []string{"224.0.0.18", "multicast"}},
		{name: "a loopback VIP", vips: `"127.0.0.2"`, wanted: []string{"127.0.0.2", "loopback"}},
		{name: "the same VIP twice", vips: `"10.9.0.100", "10.9.0.100"`, wanted: []string{"10.9.0.100", "again"}},
		{name: "no VIP", vips: ``, wanted: []string{"vips"}},
		{name: "the port taken", make: takePort, wanted: []string{":9380", "another program has that port"}},
		{name: "a second daemon", make: firstDaemon, wanted: []string{"another rsagent", "process "}},
		{name: "modprobe forbids ipip", make: forbidModule, wanted: []string{"ipip", "/etc/modprobe.d/lab.conf"}},
		{name: "no modules on disk", make: hideModules, wanted: []string{"ipip", "/lib/modules"}},
	}
}

func TestInBadSurroundingsItSaysWhyAndChangesNothing(t *testing.T) {
	site := newSite(t)
	for _, s := range surroundings() {
		t.Run(s.name, func(t *testing.T) {
			if s.make != nil {
				s.make(t, site.Web1)
			}
			config := site.AgentConfig(network.HTTPPool)
			if s.vips != "" || s.name == "no VIP" {
				config = "vips = [" + s.vips + "]\n"
			}
			before := everything(t, site.Web1)
			status, said := refuse(t, site.Web1, s.wrap, config)
			if status != 2 {
				t.Errorf("exit status %d, want 2: %s", status, said)
			}
			for _, word := range s.wanted {
				if !strings.Contains(said, word) {
					t.Errorf("the message does not name %q: %s", word, said)
				}
			}
			if !strings.HasPrefix(lastWords(said), "cannot ") && !strings.Contains(said, "rsagent.toml:") {
				t.Errorf("the message does not say what cannot be done: %s", said)
			}
			if diff := cmp.Diff(before, everything(t, site.Web1)); diff != "" {
				t.Errorf("something was changed (-before +after):\n%s", diff)
			}
			t.Log(lastWords(said))
		})
	}
}

// refuse runs the daemon where it should not start.
func refuse(t *testing.T, node *network.Host, wrap []string, config string) (status int, said string) {
	t.Helper()
	cmd, err := node.Agent(config, "run")
	ok(t, err)
	args := slices.Concat(wrap, cmd.Args)
	p, err := node.Start(exec.Command(args[0], args[1:]...))
	ok(t, err)
	select {
	case <-p.Done():
	case <-time.After(patience):
		t.Errorf("it started: %s", p.Log())
		ok(t, p.Kill())
	}
	return p.Status(), p.Log()
}

// lastWords is what was said but for lines of the log.
func lastWords(said string) string {
	var b strings.Builder
	for line := range strings.Lines(said) {
		if !strings.HasPrefix(line, "{") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// everything is all that rsagent could have changed on a node.
func everything(t *testing.T, node *network.Host) string {
	t.Helper()
	var b strings.Builder
	for _, args := range []string{"-4 -o addr", "-o link", "-4 route show table all"} {
		out, err := node.Run("ip", strings.Fields(args)...)
		ok(t, err)
		b.WriteString(out)
	}
	ok(t, node.Do(func() error {
		for _, pattern := range everySetting {
			files, err := filepath.Glob("/proc/sys/" + pattern)
			if err != nil {
				return err
			}
			for _, file := range files {
				value, err := os.ReadFile(file)
				if err != nil {
					return err
				}
				fmt.Fprintf(&b, "%s = %s", file, value)
			}
		}
		return nil
	}))
	return b.String()
}

func takePort(t *testing.T, node *network.Host) {
	listener, err := node.Listen(":9380")
	ok(t, err)
	t.Cleanup(func() { listener.Close() })
}

// firstDaemon leaves nothing behind but its settings.
func firstDaemon(t *testing.T, node *network.Host) {
	p, err := node.StartAgent("vips = [\"10.9.0.100\"]\n")
	ok(t, err)
	ok(t, node.UntilReady())
	t.Cleanup(func() {
		ok(t, p.Kill())
		makeBare(t, node)
	})
}

func forbidModule(t *testing.T, _ *network.Host) {
	ownMachine(t)
	const file = "/etc/modprobe.d/lab.conf"
	ok(t, os.WriteFile(file, []byte("install ipip /bin/false\n"), 0o644))
	t.Cleanup(func() { ok(t, os.Remove(file)) })
}

func hideModules(t *testing.T, _ *network.Host) {
	ownMachine(t)
	ok(t, os.Rename("/lib/modules", "/lib/modules.hidden"))
	t.Cleanup(func() { ok(t, os.Rename("/lib/modules.hidden", "/lib/modules")) })
}

// ownMachine is for what would hurt a machine that others use.
func ownMachine(t *testing.T) {
	t.Helper()
	if !network.OwnMachine() {
		t.Fatal("this changes the machine itself and needs the lab's own: set LAB_VM=always")
	}
}
