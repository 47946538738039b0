package legacy

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"rsagent/agent/config"
)

// add gives a fuzz target the published file of its kind, and some of the wild.
func add(f *testing.F, files ...string) {
	for _, file := range files {
		text, err := os.ReadFile("testdata/" + file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
}

// finished wants of a draft that it comes to a file that Parse takes, or to
// problems, and that all it says is of a line that is there.
func finished(t *testing.T, in input) (c config.Config, good bool) {
	t.Helper()
	lines := strings.Count(in.text, "\n") + 1
	text, left, err := in.draft.finish([]Source{{in.name, []byte(in.text)}})
	notes := left
	if problems, ok := err.(Problems); ok {
		notes = problems
	}
	for _, n := range notes {
		if n.File != in.name || n.Line < 1 || n.Line > lines || n.Why == "" || strings.ContainsAny(n.String(), "\n\r\x00") {
			t.Fatalf("the note %+v on %q", n, in.text)
		}
	}
	if err != nil {
		if len(notes) == 0 {
			t.Fatalf("%q is refused for no reason: %v", in.text, err)
		}
		return config.Config{}, false
	}
	if c, err = config.Parse("imported", text); err != nil {
		t.Fatalf("%q comes to what is refused: %v\n%s", in.text, err, text)
	}
	return c, true
}

// Whatever lvs.cf says, no virtual gets lost: it is a pool, or there is a word
// on it.
func FuzzLVS(f *testing.F) {
	add(f, "seed/lvs.cf", "published/lvs.cf", "several-virtuals/lvs.cf", "braces/lvs.cf", "bad-values/lvs.cf")
	f.Fuzz(func(t *testing.T, text string) {
		in := input{"lvs.cf", text, &draft{}}
		file := in.parseLVS()
		in.takeLVS(file)
		c, good := finished(t, in)
		if !good {
			return
		}
		pools := map[string]bool{}
		for _, p := range in.draft.pools {
			pools[p.file+p.text] = true
		}
		for _, b := range file.blocks {
			named := pools[b.file+b.text]
			for _, n := range in.draft.left {
				named = named || n.Line >= b.line && n.Line <= max(b.end, b.line)
			}
			if !named {
				t.Fatalf("nothing is said of %v on line %d of %q", b, b.line, text)
			}
		}
		if len(c.Pools) != len(in.draft.pools) {
			t.Fatalf("%d pools of %d", len(c.Pools), len(in.draft.pools))
		}
	})
}

// No line of sysctl.conf gets lost: it is a setting, or there is a word on it.
func FuzzSysctlConf(f *testing.F) {
	add(f, "seed/webnode-sysctl.conf", "sysctl-in-the-wild/sysctl.conf", "sysctl-alone/sysctl.conf")
	f.Fuzz(func(t *testing.T, text string) {
		in := input{"sysctl.conf", text, &draft{}}
		in.draft.addVIP(netip.MustParseAddr("203.0.113.10"), place{in.name, 1, "the VIP"})
		sets := in.parseSysctl()
		patterns := len(in.draft.left)
		in.takeSysctl(sets)
		c, good := finished(t, in)
		if good && len(c.Sysctl)+len(in.draft.left)-patterns != len(sets) {
			t.Fatalf("%d lines come to %d settings and %d notes: %q", len(sets), len(c.Sysctl), len(in.draft.left)-patterns, text)
		}
	})
}

// Every address of an ifcfg is a VIP, or there is a word on it.
func FuzzIfcfg(f *testing.F) {
	add(f, "seed/ifcfg-tunl0", "published/ifcfg-tunl0", "numbered-addresses/ifcfg-tunl0", "two-addresses-in-one-file/ifcfg-tunl0", "bad-values/ifcfg-tunl0")
	f.Fuzz(func(t *testing.T, text string) {
		in := input{"ifcfg-tunl0", text, &draft{}}
		all := in.parseIfcfg()
		in.takeIfcfg(all)
		c, good := finished(t, in)
		if !good {
			return
		}
		for _, v := range all {
			m := addressVariable.FindStringSubmatch(v.key)
			if m == nil || m[1] != "IPADDR" {
				continue
			}
			named := false
			for _, vip := range c.VIPs {
				named = named || vip.String() == v.value
			}
			for _, n := range in.draft.left {
				named = named || n.Line == v.line
			}
			if !named {
				t.Fatalf("nothing is said of line %d of %q", v.line, text)
			}
		}
	})
}
