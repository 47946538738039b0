//go:build lab

package systest

import (
	"cmp"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"rsagent/lab/network"
)

// surrounding is a node on which rsagent must not start.
type surrounding struct {
	name   string
	make   func(t *testing.T, node *network.Host) // and takes it back in a Cleanup
	wrap   []string                               // what runs rsagent
	vips   string                                 // other than the site's
	wanted []string                               // words of the message
	status int                                    // that it exits with; 0: 2
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
		{name: "a tunl0 of another kind", make: otherTunl0,
			wanted: []string{"tunl0", "dummy", "ip link set tunl0 name"}},
		{name: "the VIP on another interface", make: ip("addr add 10.9.0.100/32 dev eth0", "addr del 10.9.0.100/32 dev eth0"),
			wanted: []string{"10.9.0.100", "eth0", "ip addr del 10.9.0.100/32 dev eth0"}},
		{name: "the node's own address as VIP", vips: `"10.9.0.31"`, wanted: []string{"10.9.0.31", "eth0"}},
		{name: "the VIP 0.0.0.0", vips: `"0.0.0.0"`, wanted: []string{"0.0.0.0", "vips"}},
		{name: "a multicast VIP", vips: `"224.0.0.18"`, wanted: []string{"224.0.0.18", "multicast"}},
		{name: "a loopback VIP", vips: `"127.0.0.2"`, wanted: []string{"127.0.0.2", "loopback"}},
		{name: "the same VIP twice", vips: `"10.9.0.100", "10.9.0.100"`, wanted: []string{"10.9.0.100", "again"}},
		{name: "no VIP", vips: ``, wanted: []string{"vips"}, status: 78},
		{name: "the port taken", make: takePort, wanted: []string{":9380", "another program has that port"}},
		{name: "a second daemon", make: firstDaemon, wanted: []string{"another rsagent", "process "}},
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
			before, err := site.Web1.State(everySetting...)
			ok(t, err)
			status, said := refused(t, site.Web1, s.wrap, config)
			if want := cmp.Or(s.status, 2); status != want {
				t.Errorf("exit status %d, want %d: %s", status, want, said)
			}
			for _, word := range s.wanted {
				if !strings.Contains(said, word) {
					t.Errorf("the message does not name %q: %s", word, said)
				}
			}
			if s.status == 0 && !strings.HasPrefix(lastWords(said), "cannot ") && !strings.Contains(said, "rsagent.toml:") {
				t.Errorf("the message does not say what cannot be done: %s", said)
			}
			after, err := site.Web1.State(everySetting...)
			ok(t, err)
			if diff := gocmp.Diff(before, after); diff != "" {
				t.Errorf("something was changed (-before +after):\n%s", diff)
			}
			t.Log(lastWords(said))
		})
	}
}

// refused runs the daemon where it should not start.
func refused(t *testing.T, node *network.Host, wrap []string, config string) (status int, said string) {
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

// otherTunl0 makes a tunl0 that is no tunnel, where there may be a real one.
func otherTunl0(t *testing.T, node *network.Host) {
	_, err := node.Run("sh", "-c", "ip link set tunl0 name spare; ip link add tunl0 type dummy")
	ok(t, err)
	t.Cleanup(func() {
		_, err := node.Run("sh", "-c", "ip link del tunl0; ip link set spare name tunl0; true")
		ok(t, err)
	})
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
