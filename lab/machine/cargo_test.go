package machine

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestCargoHoldsAllThatTheProgramNeeds(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "systest.test"), "the program", 0o755)
	write(t, filepath.Join(dir, "rsagent"), "the agent", 0o755)
	write(t, filepath.Join(dir, "testdata/deep/golden.txt"), "golden", 0o644)
	p := Program{
		Args:  []string{filepath.Join(dir, "systest.test"), "-test.run=it's"},
		Dir:   dir,
		Files: []string{filepath.Join(dir, "rsagent")},
		Env:   []string{"LAB_X=a b"},
	}
	var archive bytes.Buffer
	if err := writeCargo(&archive, p, "lab-MARK"); err != nil {
		t.Fatal(err)
	}
	got := list(t, &archive)
	for name, want := range map[string]string{
		"lab/work/systest.test":             "-rwxr-xr-x the program",
		"lab/bin/rsagent":                   "-rwxr-xr-x the agent",
		"lab/work/testdata/deep/golden.txt": "-rw-r--r-- golden",
		"lab/out/":                          "drwxr-xr-x ",
	} {
		if diff := cmp.Diff(want, got[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if !strings.Contains(got["lab/start"], "exec /lab/run") {
		t.Errorf("lab/start is not the fast one: %s", got["lab/start"])
	}
}

func TestCargoSaysWhatItCannotPack(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "program"), "", 0o755)
	program := filepath.Join(dir, "program")
	tests := []struct {
		name string
		p    Program
		want string
	}{
		{"a program that is not there", Program{Args: []string{dir + "/no"}}, "open " + dir + "/no: no such file or directory"},
		{"a program that is a directory", Program{Args: []string{dir}}, dir + " is not a file"},
		{"a file that is not there", Program{Args: []string{program}, Files: []string{dir + "/no"}}, "open " + dir + "/no: no such file or directory"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := writeCargo(&bytes.Buffer{}, test.p, "m")
			if want := "cannot pack what the machine runs: " + test.want; err == nil || err.Error() != want {
				t.Errorf("error %v, want %q", err, want)
			}
		})
	}
}

// The shell that reads the job sees the arguments and variables as they are here.
func TestJobSurvivesTheShell(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.SampledFrom([]rune("a '\"$`\\\n*~é!;&")))
		arg, value := text.Draw(t, "arg"), text.Draw(t, "value")
		script := job(Program{Args: []string{"p", arg}, Env: []string{"LAB_X=" + value}}, "lab-MARK") +
			`printf '%s|%s|%s' "$1" "$2" "$LAB_X"`
		got, err := exec.Command("/bin/sh", "-c", script).Output()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff("/lab/work/p|"+arg+"|"+value, string(got)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestUnpackResults(t *testing.T) {
	tests := []struct {
		name    string
		entries []tar.Header // files have their own name as content
		want    map[string]string
		err     string
	}{
		{"nothing", nil, nil, "cannot read the machine's results: they do not start with a directory (EOF)"},
		{"an empty directory", []tar.Header{{Name: "./", Typeflag: tar.TypeDir}}, nil, ""},
		{
			"files, one in a directory",
			[]tar.Header{
				{Name: "./", Typeflag: tar.TypeDir},
				{Name: "./a", Typeflag: tar.TypeReg, Mode: 0o400},
				{Name: "./d/", Typeflag: tar.TypeDir},
				{Name: "./d/b", Typeflag: tar.TypeReg, Mode: 0o755},
				{Name: "./link", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
			},
			map[string]string{"a": "-rw------- ./a", "d/b": "-rwxr-xr-x ./d/b"}, "",
		},
		{
			"a name that leads out of the directory",
			[]tar.Header{{Name: "./", Typeflag: tar.TypeDir}, {Name: "../out", Typeflag: tar.TypeReg}},
			nil, "path escapes from parent",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var archive bytes.Buffer
			w := tar.NewWriter(&archive)
			for _, h := range test.entries {
				if h.Typeflag == tar.TypeReg {
					h.Size = int64(len(h.Name))
				}
				if err := w.WriteHeader(&h); err != nil {
					t.Fatal(err)
				}
				if h.Typeflag == tar.TypeReg {
					w.Write([]byte(h.Name))
				}
			}
			w.Flush()
			dir := filepath.Join(t.TempDir(), "out")
			err := unpackResults(&archive, dir)
			if err == nil && test.err != "" || err != nil && (test.err == "" || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("error %v, want %q", err, test.err)
			}
			if diff := cmp.Diff(test.want, tree(t, dir)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func write(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

// list returns mode and content of what is in a tar, by name.
func list(t *testing.T, archive *bytes.Buffer) map[string]string {
	t.Helper()
	got := make(map[string]string)
	r := tar.NewReader(archive)
	for {
		h, err := r.Next()
		if err != nil {
			return got
		}
		var content bytes.Buffer
		if _, err := content.ReadFrom(r); err != nil {
			t.Fatal(err)
		}
		got[h.Name] = h.FileInfo().Mode().String() + " " + content.String()
	}
}

// tree returns mode and content of the files below dir, nil if there are none.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	var got map[string]string
	filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		name, _ := filepath.Rel(dir, path)
		if got == nil {
			got = make(map[string]string)
		}
		got[name] = info.Mode().String() + " " + string(content)
		return nil
	})
	return got
}
