package director

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rsagent/agent/config"
	"rsagent/agent/config/legacy"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	two    = addresses("10.0.0.31", "10.0.0.32")
	single = addresses("10.0.0.31")
)

func addresses(texts ...string) []netip.Addr {
	var all []netip.Addr
	for _, t := range texts {
		all = append(all, netip.MustParseAddr(t))
	}
	return all
}

func load(t *testing.T, name string) config.Config {
	t.Helper()
	c, err := config.Load(filepath.Join("testdata", name+".toml"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Each is a file of what somebody would put on a director. The first part of its
// name is that of the node's configuration.
var written = []struct {
	golden string
	ask    Request
}{
	{"site.keepalived", Request{Format: "keepalived", Reals: two}},
	{"site.keepalived-delete", Request{Format: "keepalived", Reals: single, DeleteFailed: true}},
	{"site.keepalived-probe", Request{Format: "keepalived", Reals: two, Check: CheckProbe}},
	{"hurried.keepalived", Request{Format: "keepalived", Reals: single}},
	{"hurried.keepalived-probe-delete", Request{Format: "keepalived", Check: CheckProbe, DeleteFailed: true, Program: "/opt/rsagent/bin/rsagent"}},
	{"site.ldirectord", Request{Format: "ldirectord", Reals: two}},
	{"site.ldirectord-probe", Request{Format: "ldirectord", Reals: two, Check: CheckProbe}},
	{"hurried.ldirectord-delete", Request{Format: "ldirectord", DeleteFailed: true}},
	{"site.lvs.cf", Request{Format: "lvs.cf", Reals: two}},
	{"hurried.lvs.cf", Request{Format: "lvs.cf"}},
	{"site.ipvsadm", Request{Format: "ipvsadm", Reals: two}},
	{"hurried.ipvsadm", Request{Format: "ipvsadm"}},
	{"site.sysctl", Request{Format: "sysctl"}},
	{"proxied.sysctl", Request{Format: "sysctl"}},
	{"proxied.haproxy", Request{Format: "haproxy"}},
	{"proxied.haproxy-agent", Request{Format: "haproxy", Check: CheckAgent, Reals: two}},
	{"proxied404.haproxy", Request{Format: "haproxy", Reals: addresses("10.0.0.31", "fd00::32")}},
	{"proxied.apache", Request{Format: "apache", Reals: two}},
	{"proxied404.apache", Request{Format: "apache"}},
}

func TestWhatIsWrittenForEachDirectorIsAsItWas(t *testing.T) {
	for _, test := range written {
		t.Run(test.golden, func(t *testing.T) {
			name, _, _ := strings.Cut(test.golden, ".")
			text, warnings, err := Write(load(t, name), test.ask)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", test.golden), string(text))
			flat := strings.Join(strings.Fields(strings.ReplaceAll(string(text), "\n#", "\n")), " ")
			for _, w := range warnings {
				if test.ask.Format != "ipvsadm" && !strings.Contains(flat, "WARNING: "+w+".") {
					t.Errorf("the text does not warn: %s", w)
				}
			}
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func TestEveryFormatIsWrittenForTwoNodesAtLeast(t *testing.T) {
	count := map[string]int{}
	for _, test := range written {
		count[test.ask.Format]++
	}
	for _, name := range Names() {
		if count[name] < 2 {
			t.Errorf("%s has %d golden files, want 2", name, count[name])
		}
	}
}

func TestWhatADirectorCannotHaveIsRefusedWithTheReason(t *testing.T) {
	for _, test := range []struct {
		name, node string
		ask        Request
		want       string
	}{
		{"an unknown format", "site", Request{Format: "nginx"}, `cannot write "nginx": the formats are keepalived, ldirectord`},
		{"a proxy for a node with a tunnel", "site", Request{Format: "haproxy", Reals: two}, `tunnel.mode is "ipip"`},
		{"IPVS for a node behind a proxy", "proxied", Request{Format: "keepalived", Reals: two}, `tunnel.mode is "none"`},
		{"a check of another format", "site", Request{Format: "keepalived", Reals: two, Check: CheckAgent}, `it has no check "agent", expected http or probe`},
		{"a check where there are none", "site", Request{Format: "ipvsadm", Reals: two, Check: CheckHTTP}, "it has no checks"},
		{"agent-check without its port", "proxied404", Request{Format: "haproxy", Check: CheckAgent}, "health.agent_listen is empty"},
		{"no deletion by nanny", "site", Request{Format: "lvs.cf", Reals: two, DeleteFailed: true}, "it deletes no node"},
		{"no deletion by a proxy", "proxied", Request{Format: "apache", DeleteFailed: true}, "it deletes no node"},
		{"a VIP for a real server", "site", Request{Format: "ipvsadm", Reals: addresses("203.0.113.10")}, `"203.0.113.10" is no real server: it is a VIP`},
		{"a real server twice", "site", Request{Format: "ipvsadm", Reals: addresses("10.0.0.31", "10.0.0.31")}, "it is given twice"},
		{"an IPv6 real server behind a tunnel", "site", Request{Format: "ipvsadm", Reals: addresses("fd00::1")}, "IPIP carries IPv4"},
		{"a real server with a zone that has a line of its own", "proxied", Request{Format: "haproxy", Reals: addresses("fd00::1%a\nb")}, `"fd00::1" is no real server: expected an address`},
		{"a loopback real server", "proxied", Request{Format: "haproxy", Reals: addresses("127.0.0.1")}, "no director reaches a node there"},
		{"a program with arguments", "site", Request{Format: "keepalived", Reals: two, Program: "/bin/sh -c x"}, `"/bin/sh -c x" is no program`},
		{"a program with a line of its own", "site", Request{Format: "keepalived", Reals: two, Program: "/bin/sh\nx"}, `"/bin/sh\nx" is no program`},
		{"an endpoint at loopback", "loopback", Request{Format: "keepalived", Reals: two}, "where no director can ask"},
		{"a pool at loopback", "local", Request{Format: "haproxy"}, "pool web is at 127.0.0.1:8080, where no proxy reaches it: give --real ADDRESS"},
		{"no pool", "bare", Request{Format: "keepalived", Reals: two}, "it has no [[pool]]"},
		{"no node, and no way to tell which", "bare-pool", Request{Format: "keepalived"}, "its address cannot be told: give --real ADDRESS"},
		{"piranha without directors", "bare-pool", Request{Format: "lvs.cf", Reals: two}, "directors has no single address"},
		{"names that Apache cannot tell apart", "names", Request{Format: "apache"}, "the pools Web and web have the same name"},
		{"a name too long for Apache", "long", Request{Format: "apache"}, "is too long for Apache"},
	} {
		t.Run(test.name, func(t *testing.T) {
			text, _, err := Write(load(t, test.node), test.ask)
			if err == nil {
				t.Fatalf("it is written:\n%s", text)
			}
			if !strings.HasPrefix(err.Error(), "cannot write ") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %q, want %q in it", err, test.want)
			}
		})
	}
}

// A drain waits for drain.fall refusals, for drain.notice at most. A director must
// have acted by then.
func TestADirectorIsNoSlowerThanADrain(t *testing.T) {
	for notice := range 60 {
		for fall := 1; fall <= 10; fall++ {
			d := config.Drain{Notice: time.Duration(notice) * time.Second, Fall: fall}
			p := newPace(d)
			if p.interval < 1 || p.fails < 1 || p.fails > fall {
				t.Fatalf("%+v: %+v", d, p)
			}
			if notice >= 2*(fall+1) && p.interval != slowest || notice >= fall+1 && p.interval*fall > notice {
				t.Errorf("%+v: %+v takes too long", d, p)
			}
		}
	}
}

func TestANodesOwnAddressIsWhereItsEndpointListens(t *testing.T) {
	if a, err := Own(load(t, "hurried")); err != nil || a != single[0] {
		t.Errorf("got %v, %v, want %v", a, err, single[0])
	}
}

// What is written for piranha, this program reads too: the VIPs, the directors and
// the pools come back.
func TestOurOwnLVSComesBackWhenItIsImported(t *testing.T) {
	c := load(t, "site")
	text, _, err := Write(c, Request{Format: "lvs.cf", Reals: two})
	if err != nil {
		t.Fatal(err)
	}
	toml, _, err := legacy.Import([]legacy.Source{{Name: "lvs.cf", Text: text}})
	if err != nil {
		t.Fatal(err)
	}
	back, err := config.Parse("imported", toml)
	if err != nil {
		t.Fatal(err)
	}
	pools := func(c config.Config) (all []string) {
		for _, p := range c.Pools {
			all = append(all, p.Name+" "+p.Address.String())
		}
		return all
	}
	if !slices.Equal(back.VIPs, c.VIPs) || !slices.Equal(back.Directors, c.Directors) || !slices.Equal(pools(back), pools(c)) {
		t.Errorf("got %v %v %v, want %v %v %v", back.VIPs, back.Directors, pools(back), c.VIPs, c.Directors, pools(c))
	}
}
