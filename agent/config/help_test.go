package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHelpHasEveryKeyOnce(t *testing.T) {
	want, got := map[string]int{}, map[string]int{}
	for _, table := range tables() {
		for _, key := range table.keys {
			if !isTable(key) {
				want[table.name+" "+key] = 1
			}
		}
	}
	want[`[sysctl] "net.ipv4.tcp_fin_timeout"`] = 1
	for _, table := range Help() {
		name := table.Name
		if name == "[pool.probe]" {
			name = "probe of a [[pool]]"
		}
		for i, key := range table.Keys {
			got[name+" "+key.Name]++
			if key.Text == "" && i == len(table.Keys)-1 {
				t.Errorf("nothing is said of %s %s", name, key.Name)
			}
			if strings.Contains(key.Text, "#") || strings.Contains(key.Text, " = ") {
				t.Errorf("what is said of %s %s has a line of the file in it: %s", name, key.Name, key.Text)
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys (-known +with help):\n%s", diff)
	}
}

// isTable tells a key that has a table of its own.
func isTable(key string) bool {
	for _, table := range Help() {
		if strings.Trim(table.Name, "[]") == key || table.Name == "[pool."+key+"]" {
			return true
		}
	}
	return false
}

// What help calls a default must be what Parse fills in.
func TestHelpTellsTheDefaults(t *testing.T) {
	var b strings.Builder
	for _, table := range Help() {
		fmt.Fprintln(&b, table.Name)
		for _, key := range table.Keys {
			if key.Name == "vips" || key.Name == "name" || key.Name == "vip" || key.Name == "port" || key.Name == "type" || !key.Example {
				fmt.Fprintf(&b, "%s = %s\n", key.Name, key.Value)
			}
		}
	}
	got, err := Parse("defaults.toml", []byte(b.String()))
	if err != nil {
		t.Fatalf("%v in\n%s", err, &b)
	}
	want, err := Parse("rsagent.toml", []byte(`vips = ["203.0.113.10"]
[[pool]]
name = "http-pool"
vip = "203.0.113.10"
port = 80
probe = { type = "http" }
`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, sameConfig); diff != "" {
		t.Errorf("(-defaults +as help has them):\n%s", diff)
	}
}
