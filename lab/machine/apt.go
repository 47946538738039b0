package machine

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// hostAptSources names the files under etc with this host's own package
// sources, when the host is the same Debian as the machine, so that a mirror
// chosen for the host serves the machine too. Empty: mmdebstrap's default.
func hostAptSources(etc string) []string {
	release, err := os.ReadFile(filepath.Join(etc, "os-release"))
	if err != nil || !isSuite(string(release)) {
		return nil
	}
	var found []string
	for _, name := range []string{"apt/sources.list", "apt/sources.list.d/debian.sources"} {
		path := filepath.Join(etc, name)
		content, err := os.ReadFile(path)
		if err == nil && namesSuite(string(content)) {
			found = append(found, path)
		}
	}
	return found
}

// isSuite tells whether an os-release(5) file is that of the machine's suite.
func isSuite(release string) bool {
	debian, codename := false, false
	for line := range strings.Lines(release) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.Trim(value, `"'`)
		debian = debian || key == "ID" && value == "debian"
		codename = codename || key == "VERSION_CODENAME" && value == suite
	}
	return debian && codename
}

// namesSuite tells whether a sources.list(5) file has an entry for the suite.
func namesSuite(sources string) bool {
	for line := range strings.Lines(sources) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "#") && strings.Contains(line, suite) {
			return true
		}
	}
	return false
}

// hostAptSettings are the host's apt settings (apt.conf(5)) on how packages are
// fetched: proxies, time-outs, how old a mirror may be.
func hostAptSettings(ctx context.Context) []byte {
	dump, err := exec.CommandContext(ctx, "apt-config", "dump", "--no-empty", "--format", "%f \"%v\";%n").Output()
	if err != nil {
		return nil // a host without apt has no such settings
	}
	var kept strings.Builder
	for line := range strings.Lines(string(dump)) {
		for _, prefix := range []string{"Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries"} {
			if strings.HasPrefix(line, prefix) {
				kept.WriteString(line)
				break
			}
		}
	}
	return []byte(kept.String())
}
