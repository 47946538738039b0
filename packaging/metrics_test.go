package packaging

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// query is a question that the dashboard asks Prometheus.
type query struct{ panel, text string }

// queries are all that the dashboard asks.
func queries(t *testing.T) []query {
	t.Helper()
	text, err := os.ReadFile("dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	var all []query
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			all = append(all, query{p.Title, target.Expr})
		}
	}
	return all
}

// golden are the metrics as /metrics has them, with their labels.
func golden(t *testing.T) (names map[string]bool, series string) {
	t.Helper()
	text, err := os.ReadFile("../agent/health/testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	names = make(map[string]bool)
	for _, found := range regexp.MustCompile(`(?m)^rsagent_\w+`).FindAll(text, -1) {
		names[string(found)] = true
	}
	return names, string(text)
}

var metric = regexp.MustCompile(`rsagent_\w+`)

func TestTheDashboardAndTheAlertsHaveOnlyMetricsThatThereAre(t *testing.T) {
	names, series := golden(t)
	alerts, err := os.ReadFile("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	board, err := os.ReadFile("dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string][]byte{"dashboard.json": board, "alerts.yml": alerts} {
		found := metric.FindAllString(string(text), -1)
		if len(found) == 0 {
			t.Errorf("%s has no metric", file)
		}
		for _, name := range found {
			if !names[name] {
				t.Errorf("%s has %s, and /metrics does not", file, name)
			}
		}
	}
	for _, q := range queries(t) {
		for _, by := range regexp.MustCompile(`by \(([^)]*)\)`).FindAllStringSubmatch(q.text, -1) {
			name := metric.FindString(q.text)
			for _, label := range strings.Split(by[1], ", ") {
				has := regexp.MustCompile(`(?m)^` + name + `\{(.*,)?` + label + `="`).MatchString(series)
				if label != "instance" && !has { // Prometheus' own
					t.Errorf("panel %q sums by %s, which %s does not have", q.panel, label, name)
				}
			}
		}
	}
}

func TestTheDashboardShowsEveryMetric(t *testing.T) {
	names, _ := golden(t)
	shown := make(map[string]bool)
	for _, q := range queries(t) {
		for _, name := range metric.FindAllString(q.text, -1) {
			shown[name] = true
		}
	}
	var missing []string
	for name := range names {
		if !shown[name] && !strings.HasSuffix(name, "_count") && !strings.HasSuffix(name, "_sum") {
			missing = append(missing, name)
		}
	}
	if diff := cmp.Diff([]string(nil), missing); diff != "" {
		t.Errorf("no panel shows (-want +got):\n%s", diff)
	}
}

func TestPrometheusUnderstandsWhatTheDashboardAsks(t *testing.T) {
	// Grafana puts something in place of these.
	variables := strings.NewReplacer("$__rate_interval", "1m", "$instance", ".*")
	var rules bytes.Buffer
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	for i, q := range queries(t) {
		fmt.Fprintf(&rules, "  - {record: \"panel_%d\", expr: %q}\n", i, variables.Replace(q.text))
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, rules.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(promtool(), "check", "rules", "--lint=none", file).CombinedOutput(); err != nil {
		t.Errorf("promtool check rules: %v: %s", err, out)
	}
}
