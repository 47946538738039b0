//go:build lab

package packages

import (
	"os/exec"
	"testing"
)

// ofCommits are what lintian says of single subjects of commits, which nobody can
// change, and of an exception for them that is not needed in every version.
const ofCommits = "spelling-error-in-changelog,debian-changelog-line-too-short,unused-override"

func TestLintianHasNothingToSayOfAPackage(t *testing.T) {
	out, err := exec.Command("lintian", "--allow-root", "--display-info", "--pedantic", "--tag-display-limit", "0",
		"--suppress-tags", ofCommits, "--fail-on", "error,warning,info,pedantic", brought(t, deb.older)).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("lintian: %v:\n%s", err, out)
	}
}

func TestRpmlintHasNothingToSayOfAPackage(t *testing.T) {
	c := exec.Command("rpmlint", "--strict", "-c", brought(t, "rpmlint.toml"), brought(t, rpm.older))
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("rpmlint: %v:\n%s", err, out)
	}
}

// What rpm itself puts into a payload is relative: whoever unpacks it by hand
// must not write over the own system.
func TestAnRPMPackageIsWholeAndUnpacksWhereOneIs(t *testing.T) {
	const script = `rpm -K "$1"; dir=$(mktemp -d); cd "$dir"
rpm2cpio "$1" | cpio -id --quiet
test -x usr/bin/rsagent
test -e etc/rsagent/rsagent.toml
test ! -e /usr/bin/rsagent`
	if out, err := exec.Command("sh", "-exc", script, "sh", brought(t, rpm.older)).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
