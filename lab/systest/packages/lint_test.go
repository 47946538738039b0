//go:build lab

package packages

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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

// What is in a package's documents, and that its own program writes the examples in
// it for directors.
func TestBothPackagesHaveTheDocuments(t *testing.T) {
	const script = `cd "$1/usr/share/doc/rsagent"
find . -type f ! -name 'changelog*' | sort
cd directors
../../../../bin/rsagent config director lvs.cf --real 10.0.0.31,10.0.0.32 --config ../rsagent.toml | cmp - lvs.cf
../../../../bin/rsagent config director haproxy --real 10.0.0.31,10.0.0.32 --config proxied.toml | cmp - haproxy.cfg`
	want := strings.Fields(`./README.md ./alerts.yml ./dashboard.json
./directors/README ./directors/apache.conf ./directors/haproxy-agent.cfg ./directors/haproxy.cfg
./directors/ipvsadm.rules ./directors/keepalived-probe.conf ./directors/keepalived.conf
./directors/ldirectord-probe.cf ./directors/ldirectord.cf ./directors/lvs.cf
./directors/proxied.toml ./directors/sysctl.conf ./rsagent.toml`)
	for _, m := range []manager{deb, rpm} {
		out, err := exec.Command("sh", "-ec", script, "sh", unpack(t, m)).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", m.older, err, out)
			continue
		}
		if diff := cmp.Diff(want, strings.Fields(string(out))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", m.older, diff)
		}
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
