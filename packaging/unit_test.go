package packaging

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

const unit = "rsagent.service"

// mostExposed is ten times the figure of systemd-analyze that the unit may have.
const mostExposed = "24"

func TestTheUnitIsHardenedAndSaysWhatItLeavesOff(t *testing.T) {
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("systemd-analyze", "security", "--offline=yes", "--threshold="+mostExposed, unit).CombinedOutput()
	if err != nil {
		t.Fatalf("more exposed than %s tenths: %v: %s", mostExposed, err, out)
	}
	out, err = exec.Command("systemd-analyze", "security", "--offline=yes", "--json=short", unit).Output()
	if err != nil {
		t.Fatal(err)
	}
	var settings []struct {
		Name     string // such as RestrictAddressFamilies=~AF_(INET|INET6)
		Exposure string // empty for what is set, or does not matter
	}
	if err := json.Unmarshal(out, &settings); err != nil || len(settings) < 50 {
		t.Fatalf("systemd-analyze says %s: %v", out, err)
	}
	_, leftOff, _ := strings.Cut(string(text), "# Left off, and why:\n")
	for _, s := range settings {
		if s.Exposure == "" {
			continue
		}
		for _, word := range regexp.MustCompile(`[A-Z][A-Za-z0-9_]{3,}`).FindAllString(s.Name, -1) {
			if !strings.Contains(leftOff, word) {
				t.Errorf("no comment says why %s is left off: it lacks %s", s.Name, word)
			}
		}
	}
}
