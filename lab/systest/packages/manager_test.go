//go:build lab

package packages

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"rsagent/lab/network"
)

// manager is what installs packages of one kind.
type manager struct {
	older, newer            string // what it calls the two versions' files
	install, change, remove []string
	purge                   []string // nil where a removal is all there is
	keepsAs                 string   // what becomes of an edited configuration that is removed
	mayLeave                []string // that it keeps of a package between removal and purge
}

// change takes a later version or an earlier one. What is installed beside
// rsagent is Debian's, of which rpm knows nothing.
var deb = manager{
	older:    "rsagent_0.1.0-1_amd64.deb",
	newer:    "rsagent_0.2.0-1_amd64.deb",
	install:  []string{"dpkg", "-i"},
	change:   []string{"dpkg", "-i"},
	remove:   []string{"dpkg", "-r", "rsagent"},
	purge:    []string{"dpkg", "-P", "rsagent"},
	keepsAs:  "/etc/rsagent/rsagent.toml",
	mayLeave: []string{"/etc/rsagent", "/etc/rsagent/rsagent.toml", "/var/lib/dpkg/info/rsagent.list", "/var/lib/dpkg/info/rsagent.postrm"},
}

var rpm = manager{
	older:    "rsagent-0.1.0-1.x86_64.rpm",
	newer:    "rsagent-0.2.0-1.x86_64.rpm",
	install:  []string{"rpm", "-i", "--nodeps"},
	change:   []string{"rpm", "-U", "--nodeps", "--oldpackage"},
	remove:   []string{"rpm", "-e", "rsagent"},
	keepsAs:  "/etc/rsagent/rsagent.toml.rpmsave",
	mayLeave: []string{"/etc/rsagent", "/etc/rsagent/rsagent.toml.rpmsave"},
}

// brought is the path of a file that the lab was given.
func brought(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if file := filepath.Join(dir, name); exists(file) {
			return file
		}
	}
	t.Fatalf("%s is not here: run this by .ci/lab-test", name)
	return ""
}

func exists(file string) bool {
	_, err := os.Lstat(file)
	return err == nil
}

// on runs a program to its end in the network of a host, and otherwise as root
// does on any machine.
func on(h *network.Host, words ...string) (string, error) {
	var said bytes.Buffer
	c := exec.Command(words[0], words[1:]...)
	c.Stdout, c.Stderr = &said, &said
	err := h.Do(c.Start)
	if err == nil {
		err = c.Wait()
	}
	if err != nil {
		err = errors.Join(fmt.Errorf("cannot run %s", strings.Join(words, " ")), err, errors.New(said.String()))
	}
	return said.String(), err
}

// own lists what is on the machine that bears rsagent's name.
func own(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("find", "/etc", "/usr", "/run", "/var", "/root", "-xdev", "-path", "/var/log/journal",
		"-prune", "-o", "(", "-name", "*rsagent*", "-o", "-path", "*/rsagent/*", ")", "-print").Output()
	ok(t, err)
	return strings.Fields(string(out))
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
