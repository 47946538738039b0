package packaging

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rsagent/agent/config/director"
)

// built is rsagent as this tree has it.
func built(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "rsagent")
	if out, err := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", binary, "../cmd/rsagent").CombinedOutput(); err != nil {
		t.Fatalf("cannot build rsagent: %v: %s", err, out)
	}
	return binary
}

func script(t *testing.T, root, name string, args ...string) {
	t.Helper()
	c := exec.Command("./"+name, args...)
	c.Env = append(os.Environ(), "DESTDIR="+root, "PREFIX=/opt/it", "SOURCE_DATE_EPOCH=1262304000")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}

// files lists what is below a directory, without the directories.
func files(t *testing.T, root string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, strings.TrimPrefix(path, root))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestUninstallRemovesWhatInstallInstalled(t *testing.T) {
	binary, root := built(t), t.TempDir()
	script(t, root, "install", binary)
	want := []string{
		"/etc/rsagent/rsagent.toml",
		"/opt/it/bin/rsagent",
		"/opt/it/lib/modules-load.d/rsagent.conf",
		"/opt/it/lib/sysctl.d/60-rsagent.conf",
		"/opt/it/lib/systemd/system/rsagent.service",
		"/opt/it/share/bash-completion/completions/rsagent",
		"/opt/it/share/doc/rsagent/README.md",
		"/opt/it/share/doc/rsagent/alerts.yml",
		"/opt/it/share/doc/rsagent/dashboard.json",
		"/opt/it/share/doc/rsagent/directors/README",
		"/opt/it/share/doc/rsagent/directors/apache.conf",
		"/opt/it/share/doc/rsagent/directors/haproxy-agent.cfg",
		"/opt/it/share/doc/rsagent/directors/haproxy.cfg",
		"/opt/it/share/doc/rsagent/directors/ipvsadm.rules",
		"/opt/it/share/doc/rsagent/directors/keepalived-probe.conf",
		"/opt/it/share/doc/rsagent/directors/keepalived.conf",
		"/opt/it/share/doc/rsagent/directors/ldirectord-probe.cf",
		"/opt/it/share/doc/rsagent/directors/ldirectord.cf",
		"/opt/it/share/doc/rsagent/directors/lvs.cf",
		"/opt/it/share/doc/rsagent/directors/proxied.toml",
		"/opt/it/share/doc/rsagent/directors/sysctl.conf",
		"/opt/it/share/doc/rsagent/rsagent.toml",
		"/opt/it/share/fish/vendor_completions.d/rsagent.fish",
		"/opt/it/share/man/man5/rsagent.toml.5.gz",
		"/opt/it/share/man/man8/rsagent.8.gz",
		"/opt/it/share/zsh/site-functions/_rsagent",
	}
	if diff := cmp.Diff(want, files(t, root)); diff != "" {
		t.Errorf("installed (-want +got):\n%s", diff)
	}
	installed, err := os.ReadFile(root + "/opt/it/lib/systemd/system/rsagent.service")
	if err != nil || !strings.Contains(string(installed), "\nExecStart=/opt/it/bin/rsagent run\n") {
		t.Errorf("the unit does not start what was installed: %v: %s", err, installed)
	}
	script(t, root, "uninstall")
	if diff := cmp.Diff([]string(nil), files(t, root)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

// readmeCommand is a file of the README, and the command that makes it.
var readmeCommand = regexp.MustCompile(`(?m)^(\S+):\n  rsagent (config director (\S+)(?: --check (\S+))? .*)$`)

// The examples are what their README says, and there is one for each format and for
// each way to ask nodes.
func TestTheExamplesForDirectorsAreWhatTheProgramWrites(t *testing.T) {
	binary, root := built(t), t.TempDir()
	script(t, root, "install", binary)
	dir := root + "/opt/it/share/doc/rsagent/directors"
	readme, err := os.ReadFile(dir + "/README")
	if err != nil {
		t.Fatal(err)
	}
	shown := make(map[string]bool)
	for _, m := range readmeCommand.FindAllStringSubmatch(string(readme), -1) {
		file, command := m[1], m[2]
		shown[m[3]+" "+m[4]] = true
		c := exec.Command(binary, strings.Fields(command)...)
		c.Dir = dir
		want, err := c.Output()
		if err != nil {
			t.Errorf("%s: %v", command, err)
		}
		got, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s (-%s +installed):\n%s", file, command, diff)
		}
	}
	for _, f := range director.Formats() {
		ways := []string{""}
		if len(f.Checks) > 1 {
			ways = append(ways, f.Checks[1:]...)
		}
		for _, way := range ways {
			if !shown[f.Name+" "+way] {
				t.Errorf("no example shows %s %s", f.Name, way)
			}
		}
	}
}

// Somebody may keep a file of their own beside the configuration.
func TestUninstallLeavesWhatIsNotIts(t *testing.T) {
	binary, root := built(t), t.TempDir()
	script(t, root, "install", binary)
	own := root + "/etc/rsagent/drain"
	if err := os.WriteFile(own, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	script(t, root, "uninstall")
	if diff := cmp.Diff([]string{"/etc/rsagent/drain"}, files(t, root)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

func TestAnEditedConfigurationOutlivesBoth(t *testing.T) {
	binary, root := built(t), t.TempDir()
	file := root + "/etc/rsagent/rsagent.toml"
	script(t, root, "install", binary)
	const edited = "vips = [\"203.0.113.10\"]\n"
	if err := os.WriteFile(file, []byte(edited), 0o644); err != nil {
		t.Fatal(err)
	}
	script(t, root, "install", binary)
	script(t, root, "uninstall")
	if got, err := os.ReadFile(file); err != nil || string(got) != edited {
		t.Errorf("got %q, %v, want the file as it was edited", got, err)
	}
}

// As it is shipped, the configuration ends the daemon before it does anything.
func TestTheShippedConfigurationDoesNothing(t *testing.T) {
	c := exec.Command(built(t), "run", "--config", "rsagent.toml")
	c.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+filepath.Join(t.TempDir(), "run"))
	out, err := c.CombinedOutput()
	if c.ProcessState.ExitCode() != 78 || !strings.HasPrefix(string(out), "no VIP is set yet") {
		t.Errorf("got %v: %s, want it to end with 78", err, out)
	}
}

// promtool is Prometheus' tool, on the PATH or where lab/need puts it.
func promtool() string {
	if found, err := exec.LookPath("promtool"); err == nil {
		return found
	}
	cache, _ := os.UserCacheDir()
	return filepath.Join(cache, "rsagent-lab", "promtool")
}

func TestPrometheusTakesTheAlertRules(t *testing.T) {
	if out, err := exec.Command(promtool(), "check", "rules", "alerts.yml").CombinedOutput(); err != nil {
		t.Errorf("promtool check rules: %v: %s", err, out)
	}
}
