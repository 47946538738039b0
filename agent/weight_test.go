package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"rsagent/agent/config"
	"rsagent/agent/control"
	"rsagent/agent/health"
	"rsagent/probe/through"
)

// weightAt is the status of an answer, and the weight in it.
func weightAt(t *testing.T, url string) string {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	return fmt.Sprintf("%d %s", answer.StatusCode, answer.Header.Get(through.WeightHeader))
}

func awaitWeight(t *testing.T, url, want string) {
	t.Helper()
	var got string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if got = weightAt(t, url); got == want {
			return
		}
	}
	t.Fatalf("%s: want %q, got %q", url, want, got)
}

// put has a file say something, all at once.
func put(t *testing.T, path, text string) {
	t.Helper()
	place(t, "/", path+".new", text)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// A file that is missing, or says nothing of use, is no reason to lose a node, nor
// to fill the log.
func TestAWeightThatCannotBeHadLeavesTheLastOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weight")
	put(t, path, "30\n")
	agents, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var log syncBuffer
	address, _ := running(t, fmt.Sprintf("[tunnel]\nmode = \"none\"\n[weight]\nfrom = \"file\"\nfile = %q\n", path), t.TempDir(), &log,
		func(a *Agent) { a.OnAgentChecks(agents) })
	url := "http://" + address
	if got := weightAt(t, url+"/ready"); got != "200 30" {
		t.Errorf("the first answer has %q, want 200 and 30", got)
	}
	if got := askAgent(t, agents.Addr().String()); got != "up ready 30%\n" {
		t.Errorf("agent-check: %q", got)
	}
	failing := func(want bool) {
		t.Helper()
		series := `rsagent_condition{condition="weight",severity="advisory",status="failed"} 1`
		for began := time.Now(); strings.Contains(get(t, url+"/metrics"), series) != want; time.Sleep(5 * time.Millisecond) {
			if time.Since(began) > 5*time.Second {
				t.Fatalf("that it failed is told: %v, want %v", !want, want)
			}
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	failing(true)
	if status := get(t, url+"/status"); !strings.Contains(status, "there is no such file") || !strings.Contains(status, `"weight":30,`) {
		t.Errorf("/status says %s", status)
	}
	for _, text := range []string{"nonsense", "101", ""} {
		put(t, path, text)
		time.Sleep(2 * writeTime)
		if got := weightAt(t, url+"/ready"); got != "200 30" {
			t.Errorf("with %q in the file: %q", text, got)
		}
	}
	put(t, path, "0")
	awaitWeight(t, url+"/ready", "200 0") // of its own choice: it stays ready
	if got := askAgent(t, agents.Addr().String()); got != "up ready 0%\n" {
		t.Errorf("agent-check at weight 0: %q", got)
	}
	failing(false)
	put(t, path, "100")
	awaitWeight(t, url+"/ready", "200 100")
	want := []string{
		`"condition":"weight","status":"ok"`, // when it was first read
		`"condition":"weight","status":"failed"`,
		`"condition":"weight","status":"ok"`,
		`"old":30,"new":0,"message":"weight changed"`,
		`"old":0,"new":100,"message":"weight changed"`,
	}
	got := linesOf(log.String(), "weight")
	for i, line := range want {
		if len(got) != len(want) || !strings.Contains(got[i], line) {
			t.Errorf("line %d of %d about the weight has no %s:\n%s", i, len(got), line, log.String())
		}
	}
}

func linesOf(text, word string) (lines []string) {
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestTheWeightByAProgram(t *testing.T) {
	file := filepath.Join(t.TempDir(), "says")
	put(t, file, "echo 40")
	text := fmt.Sprintf("[tunnel]\nmode = \"none\"\n[weight]\nfrom = \"exec\"\ncommand = [%q]\ninterval = \"1s\"\n", program(t, ". "+file))
	address, _ := running(t, text, t.TempDir(), io.Discard)
	url := "http://" + address
	if got := weightAt(t, url+"/ready"); got != "200 40" {
		t.Errorf("the first answer has %q, want 200 and 40", got)
	}
	put(t, file, "echo no >&2; exit 1")
	for began := time.Now(); !strings.Contains(get(t, url+"/status"), `"got":"exit status 1: no"`); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > 5*time.Second {
			t.Fatal("the failure is not told")
		}
	}
	if got := weightAt(t, url+"/ready"); got != "200 40" {
		t.Errorf("while it fails: %q", got)
	}
	put(t, file, "echo 60")
	awaitWeight(t, url+"/ready", "200 60")
}

// Nothing runs for a weight that is always full, and a reload to it leaves nothing.
func TestAFullWeightCostsNothing(t *testing.T) {
	a, _ := rememberedWeight(t, "[tunnel]\nmode = \"none\"\n", "")
	before := runtime.NumGoroutine()
	a.followWeight(t.Context())
	if a.weighing != nil || runtime.NumGoroutine() != before {
		t.Errorf("%d goroutines, and before %d", runtime.NumGoroutine(), before)
	}
	reload := func(weight string) {
		a.OnHangup(func() (config.Config, zerolog.Logger, error) {
			return declared(t, "[tunnel]\nmode = \"none\"\n[weight]\n"+weight), a.log, nil
		})
		a.reload(t.Context())
	}
	path := filepath.Join(t.TempDir(), "weight")
	put(t, path, "20")
	reload(fmt.Sprintf("from = \"file\"\nfile = %q\n", path))
	for began := time.Now(); a.weights.get() != (Weighed{Percent: 20, Asked: true}); time.Sleep(time.Millisecond) {
		if time.Since(began) > 5*time.Second {
			t.Fatalf("the file is not read: %+v", a.weights.get())
		}
	}
	first := a.weighing
	reload(fmt.Sprintf("from = \"file\"\nfile = %q\nslow_start = \"1m\"\n", path))
	if a.weighing != first {
		t.Error("another slow start begins the source anew")
	}
	// What was known counts on until another source has said something.
	reload("from = \"exec\"\ncommand = [\"/none\"]\n")
	if got := a.weights.get().Percent; got != 20 {
		t.Errorf("with another source it is %d%% at first", got)
	}
	reload("")
	if a.weighing != nil || a.weights.get() != (Weighed{Percent: 100}) {
		t.Errorf("with no source: %+v", a.weights.get())
	}
	for began := time.Now(); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Since(began) > 5*time.Second {
			t.Fatalf("%d goroutines are left, and before there were %d", runtime.NumGoroutine(), before)
		}
	}
}

func TestWhoBecomesReadyStartsSlowly(t *testing.T) {
	directory := t.TempDir()
	pools, web := webAndMail(t)
	quick := strings.ReplaceAll(pools, "\nport", "\nprobe = { type = \"tcp\", interval = \"50ms\", rise = 1, fall = 1 }\nport")
	url, stop := controlled(t, "[weight]\nslow_start = \"1h\"\n"+quick, directory, io.Discard)
	awaitWeight(t, url+"/ready", "200 1")
	awaitWeight(t, url+"/ready/web", "200 1")

	// As if it had been ready for an hour.
	stop()
	file := weightMemoryFile(directory)
	long := time.Now().Add(-2 * time.Hour).Format(time.RFC3339Nano)
	memory := fmt.Sprintf(`{"Written":%q,"Percent":100,"Ready":{"":%q,"web":%q,"mail":%q}}`, time.Now().Format(time.RFC3339Nano), long, long, long)
	if err := os.WriteFile(file, []byte(memory), 0o600); err != nil {
		t.Fatal(err)
	}
	url, stop = controlled(t, "[weight]\nslow_start = \"1h\"\n"+quick, directory, io.Discard)
	for _, path := range []string{"/ready", "/ready/web", "/ready/mail"} { // no look sees it begin
		if got := weightAt(t, url+path); got != "200 100" {
			t.Errorf("after a restart %s has %q", path, got)
		}
	}
	command(t, directory, control.Request{Do: control.Drain, Pools: []string{"mail"}})
	command(t, directory, control.Request{Do: control.Undrain, Pools: []string{"mail"}})
	for path, want := range map[string]string{"/ready": "200 1", "/ready/web": "200 100", "/ready/mail": "200 1"} {
		if got := weightAt(t, url+path); got != want {
			t.Errorf("after a drain of mail %s has %q, want %q", path, got, want)
		}
	}
	address := web.Addr().String()
	web.Close()
	awaitWeight(t, url+"/ready/web", "503 ")
	web, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer web.Close()
	awaitWeight(t, url+"/ready/web", "200 1")

	// A daemon that is killed leaves what it wrote then.
	stop()
	url, _ = controlled(t, "[weight]\nslow_start = \"1s\"\n"+quick, directory, io.Discard)
	awaitWeight(t, url+"/ready/web", "200 100")
}

func TestStatusTellsTheWeight(t *testing.T) {
	directory := t.TempDir()
	controlled(t, "[weight]\nslow_start = \"1h\"\n", directory, io.Discard)
	var got control.State
	for began := time.Now(); got.State != control.Ready; time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > 5*time.Second {
			t.Fatalf("the node does not become ready: %+v", got)
		}
		if err := control.Ask(t.Context(), directory, control.Request{Do: control.Status}, func(r control.Reply) { got = r.State }); err != nil {
			t.Fatal(err)
		}
	}
	if w := got.Weight; w.Percent != 1 || w.Full != 100 || time.Until(w.Until) < 59*time.Minute {
		t.Errorf("got %+v, want 1%% on the way to 100%% within an hour", w)
	}
}

func TestTheWeightIsJudged(t *testing.T) {
	byFile := declared(t, plainNode+"[weight]\nfrom = \"file\"\nfile = \"/run/weight\"\n")
	byLoad := declared(t, plainNode+"[weight]\nfrom = \"load\"\n")
	for _, test := range []struct {
		name   string
		config config.Config
		weight Weighed
		want   string
	}{
		{"a weight", byFile, Weighed{Percent: 30, Asked: true}, ""},
		{"a weight of 0 is a weight", byFile, Weighed{Asked: true}, ""},
		{"not asked yet", byFile, Weighed{Percent: 100}, "unknown weight: not asked yet\n"},
		{"none in the file", byFile, Weighed{Percent: 30, Asked: true, Problem: "it is empty"}, "failed weight: it is empty\n"},
		{"a load that cannot be looked at", byLoad, Weighed{Percent: 30, Asked: true, Problem: "permission denied"}, "unknown weight: permission denied\n"},
		{"no weight is wanted", declared(t, plainNode), Weighed{}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := goodNode()
			n.Weight = test.weight
			if diff := cmp.Diff(test.want, notOK(Conditions(test.config), n)); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
			if ready, why := health.NewReport(n.Time, evaluate(Conditions(test.config), n)).Ready(); !ready && strings.Contains(why, "weight") {
				t.Errorf("the node is not ready: %s", why)
			}
		})
	}
}

func TestCheckAsksForTheWeight(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weight")
	c := declared(t, fmt.Sprintf("[tunnel]\nmode = \"none\"\n[weight]\nfrom = \"file\"\nfile = %q\n", path))
	host, err := OpenHost()
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	look := func() string {
		for _, f := range Check(context.Background(), c, host).Findings {
			if f.ID == weightID {
				return fmt.Sprintf("%s: want %s, got %s, remedy: %s", f.Status, f.Want, f.Got, f.Remedy)
			}
		}
		return "not judged"
	}
	if got, want := look(), "failed: want a whole number from 0 to 100 in "+path+", got there is no such file, remedy: echo 100 > "+path; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	put(t, path, "55")
	if got, want := look(), "ok: want a whole number from 0 to 100 in "+path+", got 55%, remedy: "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNoNewsIsToldOfAWeightThatStays(t *testing.T) {
	w := newWeights()
	gone := errors.New("there is no such file")
	for i, step := range []struct {
		percent int
		err     error
		news    bool
		want    Weighed
	}{
		{0, gone, true, Weighed{100, true, gone.Error()}},
		{0, gone, false, Weighed{100, true, gone.Error()}},
		{0, nil, true, Weighed{0, true, ""}},
		{0, nil, false, Weighed{0, true, ""}},
		{70, gone, true, Weighed{0, true, gone.Error()}},
		{70, nil, true, Weighed{70, true, ""}},
	} {
		if news := w.hear(step.percent, step.err); news != step.news || w.get() != step.want {
			t.Errorf("step %d: %+v, news %v, want %+v, %v", i, w.get(), news, step.want, step.news)
		}
	}
}
