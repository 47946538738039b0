package health

import (
	"net/http"
	"testing"
	"time"

	"rsagent/agent/answer"
)

// Whatever a director, or a stranger, asks for: the answer is never a redirect,
// which some take for healthy, and good only where that was asked for what is.
func FuzzEndpoint(f *testing.F) {
	for _, path := range []string{"/", "/ready", "/status", "/ready/http-pool", "/ready/down", "/ready/../live", "/live", "/metrics", "*", ""} {
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST", ""} {
			f.Add(method, path)
		}
	}
	standing := NewStanding(NewReport(time.Now(), []Finding{
		{ID: "tunnel/up", Severity: Required, Status: OK},
		{ID: PoolID("http-pool"), Severity: Required, Status: OK},
		{ID: PoolID("down"), Severity: Required, Status: Failed},
	}))
	e := Endpoint{
		Latest: func() *Standing { return standing }, StaleAfter: 24 * time.Hour, DrainStatus: 404,
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("metrics")) }),
	}
	good := map[string]bool{"/ready/http-pool": true, "/live": true, "/status": true, "/metrics": true}
	f.Fuzz(func(t *testing.T, method, path string) {
		a := answer.Answer{Status: http.StatusOK}
		e.Answer(&answer.Request{Method: []byte(method), Path: []byte(path)}, &a)
		switch {
		case a.Status == 200 && !good[path], a.Status >= 300 && a.Status < 400, len(a.Body) == 0:
			t.Fatalf("%s %q is answered %d %s", method, path, a.Status, a.Body)
		case a.Status != 200 && good[path] && method == http.MethodGet:
			t.Fatalf("%q is answered %d %s", path, a.Status, a.Body)
		}
	})
}
