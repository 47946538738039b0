//go:build lab

package packages

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// early is a configuration that was there before the package, by hand or by what
// manages the machine.
const early = "# laid down first\nvips = [\"203.0.113.10\"]\n"

func TestADebianPackageKeepsAConfigurationThatWasThereFirst(t *testing.T) { keepsEarly(t, deb) }

func TestAnRPMPackageKeepsAConfigurationThatWasThereFirst(t *testing.T) { keepsEarly(t, rpm) }

// keepsEarly: nobody is asked, since nobody answers, and the file stays as it was,
// with its mode.
func keepsEarly(t *testing.T, m manager) {
	before := own(t)
	ok(t, os.MkdirAll(filepath.Dir(config), 0o755))
	ok(t, os.WriteFile(config, []byte(early), 0o600))
	for _, step := range [][]string{
		append(m.install, brought(t, m.older)),
		append(m.change, brought(t, m.newer)),
	} {
		t.Logf("%s:\n%s", strings.Join(step, " "), alone(t, step))
		isEarly(t, config)
	}
	alone(t, m.remove)
	isEarly(t, m.keepsAs)
	if m.purge == nil {
		ok(t, os.RemoveAll(filepath.Dir(config)))
	} else {
		alone(t, m.purge)
	}
	if diff := cmp.Diff(before, own(t)); diff != "" {
		t.Errorf("files at the end (-before +after):\n%s", diff)
	}
}

func isEarly(t *testing.T, file string) {
	t.Helper()
	got, err := os.ReadFile(file)
	ok(t, err)
	info, err := os.Stat(file)
	ok(t, err)
	if string(got) != early || info.Mode() != 0o600 {
		t.Errorf("%s is %q, %v", file, got, info.Mode())
	}
}

// alone runs a program with nobody to ask.
func alone(t *testing.T, words []string) string {
	t.Helper()
	var said bytes.Buffer
	c := exec.Command(words[0], words[1:]...)
	c.Stdout, c.Stderr = &said, &said
	if err := c.Run(); err != nil {
		t.Fatalf("cannot run %s: %v: %s", strings.Join(words, " "), err, &said)
	}
	return said.String()
}

// What is not there is put there at the first installation and never again, and
// nothing is written to where a link leads.
func TestADebianPackagePutsNoConfigurationWhereOneWasTakenAway(t *testing.T) {
	before := own(t)
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	ok(t, os.MkdirAll(filepath.Dir(config), 0o755))
	ok(t, os.Symlink(elsewhere, config))
	alone(t, append(deb.install, brought(t, deb.older)))
	if exists(elsewhere) {
		t.Errorf("the installation writes to where %s leads", config)
	}
	ok(t, os.Remove(config))
	alone(t, append(deb.change, brought(t, deb.newer)))
	if exists(config) {
		t.Errorf("an upgrade brings %s back", config)
	}
	alone(t, deb.purge)
	if diff := cmp.Diff(before, own(t)); diff != "" {
		t.Errorf("files at the end (-before +after):\n%s", diff)
	}
}
