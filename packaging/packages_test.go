package packaging

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// output runs a command of the shell in a directory and returns what it wrote.
func output(t *testing.T, dir, command string, env ...string) string {
	t.Helper()
	c := exec.Command("sh", "-ec", command)
	c.Dir = dir
	c.Env = append(os.Environ(), env...)
	var said strings.Builder
	c.Stderr = &said
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s%s", command, err, out, &said)
	}
	return strings.TrimSpace(string(out))
}

// checkout copies this tree to a directory, as somebody with this umask has it.
func checkout(t *testing.T, dir, umask string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var there strings.Builder
	for _, name := range strings.Split(output(t, "..", "git ls-files --cached --others --exclude-standard"), "\n") {
		// go test runs a test again if what it looked at has changed.
		if _, err := os.Stat(filepath.Join("..", name)); err == nil {
			there.WriteString(name + "\n")
		}
	}
	list := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(list, []byte(there.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	output(t, "..", `tar --files-from="$LIST" -c | (umask "$UMASK"; tar -C "$DIR" --no-same-permissions --touch -x)`,
		"LIST="+list, "DIR="+dir, "UMASK="+umask)
}

// packages builds the packages for this machine's kind of processor out of a
// copy of this tree, and returns the digest of each.
func packages(t *testing.T, tree, umask string, env ...string) map[string]string {
	t.Helper()
	checkout(t, tree, umask)
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	output(t, tree, "umask "+umask+"; exec packaging/packages", append([]string{
		"NFPM=" + root + "/bin/nfpm", "RELATIVE=" + root + "/bin/relative",
		"GIT_DIR=" + output(t, "..", "git rev-parse --absolute-git-dir"),
		"ARCHES=amd64", "OUT=out",
	}, env...)...)
	digests := make(map[string]string)
	for _, name := range files(t, filepath.Join(tree, "out")) {
		content, err := os.ReadFile(filepath.Join(tree, "out", name))
		if err != nil {
			t.Fatal(err)
		}
		digests[name] = fmt.Sprintf("%x", sha256.Sum256(content))
	}
	return digests
}

func TestWhereAndByWhomPackagesAreBuiltDoesNotShowInThem(t *testing.T) {
	output(t, "..", "make -s bin/nfpm bin/relative")
	// What Go has at hand already is the same in another home.
	goEnv := strings.Fields(output(t, "..", "go env GOCACHE GOMODCACHE GOENV"))
	one := packages(t, filepath.Join(t.TempDir(), "here"), "022")
	two := packages(t, filepath.Join(t.TempDir(), "in", "another", "place"), "077",
		"HOME="+t.TempDir(), "TZ=Asia/Tokyo", "LC_ALL=C.UTF-8", "GOAMD64=v3", "TMPDIR="+t.TempDir(),
		"GOCACHE="+goEnv[0], "GOMODCACHE="+goEnv[1], "GOENV="+goEnv[2])
	if diff := cmp.Diff(one, two); diff != "" {
		t.Errorf("digests (-here +in another place):\n%s", diff)
	}
	if len(one) != 2 {
		t.Errorf("got %v, want a deb and an rpm", one)
	}
}
