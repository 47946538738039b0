package health

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// scrape returns what Prometheus gets.
func scrape(tb testing.TB, m *Metrics) string {
	tb.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		tb.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// own are the lines that tell of rsagent, not of the Go runtime or the process.
func own(exposition string) string {
	var b strings.Builder
	for line := range strings.Lines(exposition) {
		if strings.HasPrefix(strings.TrimLeft(line, "# HELPTY"), "rsagent_") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func owned(f Finding) Finding {
	f.Owned = true
	return f
}

func standing(findings []Finding) *Standing { return NewStanding(NewReport(at, findings)) }

// busy is a node of which every metric has something to tell.
func busy() *Metrics {
	m := NewMetrics("v1.2", func() *Standing {
		return standing([]Finding{
			owned(required("sysctl/arp_ignore/all", OK)),
			owned(required("tunnel/device", OK)),
			owned(required("tunnel/vip/203.0.113.10", Failed)), owned(required("tunnel/vip/203.0.113.11", OK)),
			owned(required("tunnel/up", Unknown)), advisory("tunnel/foreign", Failed),
			required("pool/http", OK), required("pool/ssl", Failed), required("pool/mail", Skipped), required("pool/new", Unknown),
			required(DrainID, Failed),
		})
	})
	m.Repaired("tunnel/vip/203.0.113.10")
	m.Repaired("tunnel/vip/203.0.113.11")
	m.Repaired("sysctl/arp_ignore/all")
	m.Round(FromStart, 60*time.Millisecond)
	m.Round(FromLinks, 700*time.Microsecond)
	m.Round(FromSweep, 20*time.Second)
	m.Mended(FromLinks, 100*time.Microsecond)
	m.Mended(FromSettings, 5*time.Millisecond)
	m.Mended(FromPacketFilter, 5001*time.Microsecond)
	m.Lost(FromLinks)
	m.DrainConnections(7)
	m.Counted(Firewall{NotDirector: 3, NotVIP: 4, Clamped: 5, ClampMSS: 1440, Guarding: true})
	m.Stopped([]string{"tunnel/vip/203.0.113.10", "sysctl/arp_ignore/all", "tunnel/vip/203.0.113.10"})
	return m
}

func empty() *Metrics { return NewMetrics("v1.2", func() *Standing { return NewStanding(Report{}) }) }

func TestTheExposition(t *testing.T) {
	for _, test := range []struct {
		name    string
		golden  string
		metrics *Metrics
	}{
		{"before the first look every metric that is bound to come is there", "metrics-empty.txt", empty()},
		{"a node with something of everything", "metrics.txt", busy()},
	} {
		t.Run(test.name, func(t *testing.T) {
			checkGolden(t, test.golden, own(scrape(t, test.metrics)))
		})
	}
}

func TestTheRuntimeAndTheProcessAreTold(t *testing.T) {
	text := scrape(t, empty())
	for _, want := range []string{"\ngo_goroutines ", "\nprocess_resident_memory_bytes ", "\nprocess_open_fds "} {
		if !strings.Contains(text, want) {
			t.Errorf("/metrics lacks %q in:\n%s", want, text)
		}
	}
}

func TestTheLinterFindsNothing(t *testing.T) {
	for name, m := range map[string]*Metrics{"empty": empty(), "busy": busy()} {
		t.Run(name, func(t *testing.T) {
			problems, err := promlint.New(strings.NewReader(scrape(t, m))).Lint()
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range problems {
				t.Errorf("%s: %s", p.Metric, p.Text)
			}
		})
	}
}

// promtool runs Prometheus' own tool and returns what it says.
func promtool(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		cache, cacheErr := os.UserCacheDir()
		if cacheErr != nil {
			t.Fatal(cacheErr)
		}
		path = filepath.Join(cache, "rsagent-lab", "promtool")
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("there is no promtool: %v; lab/need test gets it", err)
		}
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestPromtoolFindsNothing(t *testing.T) {
	for name, m := range map[string]*Metrics{"empty": empty(), "busy": busy()} {
		t.Run(name, func(t *testing.T) {
			out, err := promtool(t, scrape(t, m), "check", "metrics")
			if err != nil || out != "" {
				t.Errorf("promtool check metrics: %v\n%s", err, out)
			}
		})
	}
}

// readme returns the README's section on metrics.
func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## Metrics\n")
	if !found {
		t.Fatal("the README has no section Metrics")
	}
	return section
}

func TestTheReadmeNamesEveryMetricWithItsLabels(t *testing.T) {
	series := regexp.MustCompile(`(?m)^(rsagent_\w+?)(?:_bucket|_sum|_count)?(?:\{(.*)\})? [^ ]+$`)
	label := regexp.MustCompile(`(\w+)="[^"]*"`)
	var want []string
	for _, s := range series.FindAllStringSubmatch(own(scrape(t, busy())), -1) {
		name, labels := s[1], []string(nil)
		for _, l := range label.FindAllStringSubmatch(s[2], -1) {
			if l[1] != "le" {
				labels = append(labels, l[1])
			}
		}
		if len(labels) > 0 {
			name += "{" + strings.Join(labels, ",") + "}"
		}
		want = append(want, name)
	}
	var got []string
	for _, s := range regexp.MustCompile("(?m)^\\| `(rsagent_[^`]*)` \\|").FindAllStringSubmatch(readme(t), -1) {
		got = append(got, s[1])
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(slices.Compact(want), got); diff != "" {
		t.Errorf("metrics in the README (-there +named):\n%s", diff)
	}
}

func TestTheAlertsOfTheReadmeFireWhenTheyShould(t *testing.T) {
	_, rules, _ := strings.Cut(readme(t), "```yaml\n")
	rules, _, found := strings.Cut(rules, "```")
	if !found {
		t.Fatal("the README has no alerts")
	}
	dir := t.TempDir()
	cases, err := os.ReadFile("testdata/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"rules.yml": []byte(rules), "cases.yml": cases} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"check", "rules", filepath.Join(dir, "rules.yml")},
		{"test", "rules", filepath.Join(dir, "cases.yml")},
	} {
		if out, err := promtool(t, "", args...); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// crowded is a node with 10,000 VIPs, all of them set up by the daemon. The
// status is that of one condition for each VIP.
func crowded(s Status) *Metrics {
	var findings []Finding
	for i := range 10_000 {
		vip := fmt.Sprintf("10.1.%d.%d", i/256, i%256)
		findings = append(findings, required("arp/vip/"+vip, OK), owned(required("tunnel/vip/"+vip, s)))
	}
	m := NewMetrics("v1.2", func() *Standing { return standing(findings) })
	for _, f := range findings {
		if f.Owned {
			m.Repaired(f.ID)
		}
	}
	return m
}

func TestSeriesDoNotGrowWithTheVIPs(t *testing.T) {
	one := NewMetrics("v1.2", func() *Standing { return standing([]Finding{owned(required("tunnel/vip/203.0.113.10", OK))}) })
	want := strings.Count(own(scrape(t, one)), "\n")
	for _, s := range []Status{OK, Skipped} {
		if got := strings.Count(own(scrape(t, crowded(s))), "\n"); got != want {
			t.Errorf("10,000 VIPs that are %s make %d lines, want the %d of one", s, got, want)
		}
	}
}

func TestEachOfManyThatFailedIsNamed(t *testing.T) {
	text := scrape(t, crowded(Failed))
	if n := strings.Count(text, "\nrsagent_condition{"); n != 10_000 {
		t.Errorf("got %d series, want one for each of 10000 conditions that failed", n)
	}
	if want := "\n" + `rsagent_findings{severity="required",status="failed"} 10000` + "\n"; !strings.Contains(text, want) {
		t.Errorf("/metrics lacks %q", want)
	}
}

func TestARepairHeldBackIsToldUntilItEnds(t *testing.T) {
	const series = `rsagent_repairs_stopped{condition="tunnel/up"} 1`
	m := empty()
	ids := []string{"tunnel/up"}
	for _, step := range []struct {
		stopped []string
		want    bool
	}{{nil, false}, {ids, true}, {ids, true}, {nil, false}} {
		m.Stopped(step.stopped)
		if got := strings.Contains(scrape(t, m), series); got != step.want {
			t.Errorf("after %v: the series is there: %t, want %t", step.stopped, got, step.want)
		}
	}
	m.Stopped(ids)
	ids[0] = "another"
	if !strings.Contains(scrape(t, m), series) {
		t.Error("what the caller does with its list later shows in the metrics")
	}
}

func TestOnlyAnAddressIsLeftOutOfAnID(t *testing.T) {
	for id, want := range map[string]string{
		"tunnel/vip/203.0.113.10": "tunnel/vip",
		"tunnel/vip/2001:db8::1":  "tunnel/vip",
		"tunnel/vip":              "tunnel/vip",
		"drain":                   "drain",
		"sysctl/set/net/ipv4/conf/eth0.100/rp_filter": "sysctl/set/net/ipv4/conf/eth0.100/rp_filter",
		"sysctl/rp_filter/tunl0":                      "sysctl/rp_filter/tunl0",
	} {
		if got := kind(id); got != want {
			t.Errorf("%s is %s, want %s", id, got, want)
		}
	}
}

// calls are those that the loop makes for each event or round.
func calls(m *Metrics) map[string]func() {
	f := Firewall{NotDirector: 3, ClampMSS: 1440, Guarding: true}
	stopped := []string{"tunnel/up", "tunnel/vip/203.0.113.10"}
	return map[string]func(){
		"Round":            func() { m.Round(FromLinks, time.Millisecond) },
		"Mended":           func() { m.Mended(FromLinks, time.Millisecond) },
		"Counted":          func() { m.Counted(f) },
		"Repaired":         func() { m.Repaired("tunnel/vip/203.0.113.10") },
		"Lost":             func() { m.Lost(FromLinks) },
		"Stopped":          func() { m.Stopped(stopped) },
		"DrainConnections": func() { m.DrainConnections(7) },
	}
}

func TestNothingThatTheLoopCallsAllocates(t *testing.T) {
	for name, call := range calls(busy()) {
		if n := testing.AllocsPerRun(100, call); n != 0 {
			t.Errorf("%s allocates %v times a call", name, n)
		}
	}
}

func TestAScrapeMayComeAtAnyMoment(t *testing.T) {
	m := busy()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 200 {
			for _, call := range calls(m) {
				call()
			}
			m.Stopped(nil)
		}
	}()
	for range 20 {
		scrape(t, m)
	}
	<-done
}

func BenchmarkCalls(b *testing.B) {
	for name, call := range calls(busy()) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				call()
			}
		})
	}
}

func BenchmarkScrape(b *testing.B) {
	for name, m := range map[string]*Metrics{"1 VIP": busy(), "10000 VIPs": crowded(OK), "10000 VIPs failed": crowded(Failed)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var size int
			for b.Loop() {
				size = len(scrape(b, m))
			}
			b.ReportMetric(float64(size), "bytes/scrape")
			b.ReportMetric(float64(bytes.Count([]byte(scrape(b, m)), []byte("\n"))), "lines/scrape")
		})
	}
}
