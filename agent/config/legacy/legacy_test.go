package legacy

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rsagent/agent/config"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Each folder below testdata is a set of old files. Beside it stands what they
// come to: a configuration, or why there is none.
func TestOldFilesComeToAConfigurationOrAreRefused(t *testing.T) {
	entries, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, entry := range entries {
		if !entry.IsDir() || entry.Name() == "fuzz" {
			continue
		}
		tried++
		t.Run(entry.Name(), func(t *testing.T) {
			folder := filepath.Join("testdata", entry.Name())
			text, left, err := Import(sources(t, folder))
			if err != nil {
				golden(t, folder+".txt", err.Error()+"\n")
				none(t, folder+".toml")
				return
			}
			golden(t, folder+".toml", string(text))
			none(t, folder+".txt")
			if _, err := config.Parse("imported", text); err != nil {
				t.Errorf("what was written is refused: %v", err)
			}
			for _, n := range left {
				if !strings.Contains(string(text), "\n# "+n.String()+"\n") {
					t.Errorf("no comment says %s", n)
				}
			}
		})
	}
	if tried < 10 {
		t.Errorf("found %d sets of files, want at least 10", tried)
	}
}

func sources(t *testing.T, folder string) []Source {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", folder, err)
	}
	var all []Source
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, Source{filepath.Base(file), text})
	}
	return all
}

// none wants no file that tells of the other outcome.
func none(t *testing.T, file string) {
	t.Helper()
	if _, err := os.Stat(file); err == nil {
		t.Errorf("%s is there, and nothing comes to that", file)
	}
}

// golden compares what people read with the file that holds it.
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

// What the seed's own lines must be told apart by, whatever the words.
func TestTheSeedsLinesThatDoNotCarryOverAreNamed(t *testing.T) {
	_, left, err := Import(sources(t, "testdata/seed"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		file, word string
		line       int
	}{
		{"lvs.cf", "eth0:1", 26},
		{"lvs.cf", "director", 29}, // persistent
		{"lvs.cf", "eth0:1", 54},
		{"webnode-sysctl.conf", "last one counts", 2},
		{"webnode-sysctl.conf", "4.12", 18},
		{"webnode-sysctl.conf", "65535", 20},
	} {
		found := false
		for _, n := range left {
			found = found || n.File == want.file && n.Line == want.line && strings.Contains(n.Why, want.word)
		}
		if !found {
			t.Errorf("nothing on %s:%d has %q", want.file, want.line, want.word)
		}
	}
}

func TestTheOrderOfFilesDecidesWhatCounts(t *testing.T) {
	vip := Source{"ifcfg-tunl0", []byte("IPADDR=203.0.113.10\n")}
	a := Source{"a.conf", []byte("vm.swappiness = 1\n")}
	b := Source{"b.conf", []byte("vm/swappiness = 2\n")}
	for _, test := range []struct {
		files []Source
		want  string
	}{
		{[]Source{vip, a, b}, `"vm/swappiness" = "2"`},
		{[]Source{b, a, vip}, `"vm.swappiness" = "1"`},
	} {
		text, left, err := Import(test.files)
		if err != nil || !strings.Contains(string(text), test.want) || len(left) != 1 {
			t.Errorf("got %s, %v, %v, want %s and a note", text, left, err, test.want)
		}
	}
}

func TestNothingIsNoConfiguration(t *testing.T) {
	if text, _, err := Import(nil); err == nil {
		t.Errorf("no file comes to %s", text)
	}
}
