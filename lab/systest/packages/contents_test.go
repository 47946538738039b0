//go:build lab

package packages

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// contents are what a package is for, by where the deb has it and where the rpm
// does, if that is another place.
var contents = []struct {
	deb, rpm string
	mode     fs.FileMode
}{
	{deb: "usr/bin/rsagent", mode: 0o755},
	{deb: "usr/lib/systemd/system/rsagent.service", mode: 0o644},
	{deb: "usr/lib/modules-load.d/rsagent.conf", mode: 0o644},
	{deb: "usr/lib/sysctl.d/60-rsagent.conf", mode: 0o644},
	{deb: "usr/share/man/man8/rsagent.8.gz", mode: 0o644},
	{deb: "usr/share/man/man5/rsagent.toml.5.gz", mode: 0o644},
	{deb: "usr/share/bash-completion/completions/rsagent", mode: 0o644},
	{deb: "usr/share/zsh/vendor-completions/_rsagent", rpm: "usr/share/zsh/site-functions/_rsagent", mode: 0o644},
	{deb: "usr/share/fish/vendor_completions.d/rsagent.fish", mode: 0o644},
	{deb: "usr/share/doc/rsagent/README.md", mode: 0o644},
	{deb: "usr/share/doc/rsagent/rsagent.toml", mode: 0o644},
	{deb: "usr/share/doc/rsagent/alerts.yml", mode: 0o644},
	{deb: "usr/share/doc/rsagent/dashboard.json", mode: 0o644},
}

func TestBothKindsOfPackagesHoldTheSameFiles(t *testing.T) {
	ofDeb, ofRPM := unpack(t, deb), unpack(t, rpm)
	for _, file := range contents {
		if file.rpm == "" {
			file.rpm = file.deb
		}
		one, another := unpacked(t, filepath.Join(ofDeb, file.deb), file.mode), unpacked(t, filepath.Join(ofRPM, file.rpm), file.mode)
		if !bytes.Equal(one, another) {
			t.Errorf("%s is not the same in both", file.deb)
		}
	}
}

// unpack puts what is in a package into a directory.
func unpack(t *testing.T, m manager) (dir string) {
	t.Helper()
	const script = `cd "$2"
case $1 in
*.deb) dpkg-deb -x "$1" . ;;
*) rpm2cpio "$1" | cpio -id --quiet ;;
esac`
	dir = t.TempDir()
	if out, err := exec.Command("sh", "-ec", script, "sh", brought(t, m.older), dir).CombinedOutput(); err != nil {
		t.Fatalf("cannot unpack %s: %v: %s", m.older, err, out)
	}
	return dir
}

// unpacked is what is in a file of a package, which there has to be.
func unpacked(t *testing.T, file string, mode fs.FileMode) []byte {
	t.Helper()
	info, err := os.Lstat(file)
	ok(t, err)
	text, err := os.ReadFile(file)
	ok(t, err)
	if info.Mode() != mode || len(text) == 0 {
		t.Errorf("%s has %d bytes, mode %v; want some, and %v", file, len(text), info.Mode(), mode)
	}
	return text
}
