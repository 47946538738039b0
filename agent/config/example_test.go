package config

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheExampleIsAGoodFile(t *testing.T) {
	c, err := Parse("example.toml", Example())
	if err != nil {
		t.Fatal(err)
	}
	if len(c.VIPs) != 1 || len(c.Directors) != 2 || len(c.Sysctl) != 1 || len(c.Pools) != 2 {
		t.Errorf("got %s", c.TOML())
	}
}

func TestWhatTheExampleCommentsOutIsTheDefault(t *testing.T) {
	commented := regexp.MustCompile(`(?m)^#([a-z_]+ = )`)
	text := string(Example())
	if n := len(commented.FindAllString(text, -1)); n < 20 {
		t.Fatalf("found %d defaults, want at least 20", n)
	}
	want, err := Parse("example.toml", Example())
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse("example.toml", []byte(commented.ReplaceAllString(text, "$1")))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, sameConfig); diff != "" {
		t.Errorf("(-as it stands +without the # before keys):\n%s", diff)
	}
}

func TestTheExampleHasEveryKey(t *testing.T) {
	for _, table := range tables() {
		for _, key := range table.keys {
			found := regexp.MustCompile(`(?m)(^\[*|^# ?|[{,] |^#   )` + key + `(\]+$| += |  )`)
			if !found.Match(Example()) {
				t.Errorf("the example lacks %s %s", table.name, key)
			}
		}
	}
}

// A date is a value that no key takes, so each key that is read must complain.
func TestEveryKnownKeyIsRead(t *testing.T) {
	const pool = "vips = [\"203.0.113.10\"]\n[[pool]]\nname = \"a\"\nvip = \"203.0.113.10\"\nport = 80\n"
	for _, table := range tables() {
		for _, key := range table.keys {
			text := table.name + "\n" + key + " = 2026-01-01\n"
			switch {
			case key == "command" && table.name == "[weight]":
				text = strings.Replace(text, "\n", "\nfrom = \"exec\"\n", 1)
			case table.name == "[[pool]]":
				text = strings.Replace(pool, "\n"+key+" = ", "\nignored = ", 1) + key + " = 2026-01-01\n"
				if key == "address" {
					text = "[tunnel]\nmode = \"none\"\n" + text
				}
			case strings.HasPrefix(table.name, "probe"):
				probeType := "tcp"
				if types := usedBy(key); len(types) > 0 {
					probeType = types[len(types)-1]
				}
				text = pool + "[pool.probe]\ntype = \"" + probeType + "\"\n" + key + " = 2026-01-01\n"
				if key == "type" {
					text = pool + "[pool.probe]\ntype = 2026-01-01\n"
				}
			}
			_, err := Parse("rsagent.toml", []byte(text))
			if err == nil || !strings.Contains(err.Error(), key+": found the date or time 2026-01-01") {
				t.Errorf("%s %s is not read; got %v from\n%s", table.name, key, err, text)
			}
		}
	}
}
