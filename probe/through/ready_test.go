package through

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWhatANodeSaysOfItself(t *testing.T) {
	for _, test := range []struct {
		name, weight, body string
		status             int
		want               readiness
	}{
		{"ready", "", "ready\n", 200, readiness{state: Good, weight: 100, text: "ready"}},
		{"at half its weight", "50", "ready\n", 200, readiness{state: Good, weight: 50, text: "ready"}},
		{"at no weight", "0", "ready\n", 200, readiness{state: Draining, text: "ready at weight 0"}},
		{"at more than all", "101", "ready\n", 200, readiness{state: Failed, text: "Rsagent-Weight: 101, want 0 to 100"}},
		{"at a weight that is no number", "much", "ready\n", 200, readiness{state: Failed, text: "Rsagent-Weight: much, want 0 to 100"}},
		{"draining", "", "draining\n", 503, readiness{state: Draining, text: "draining"}},
		{"draining for HAProxy too", "", "draining\n", 404, readiness{state: Draining, text: "draining"}},
		{"not ready", "", "not ready: tunnel/up failed\n", 503, readiness{state: Failed, text: "not ready: tunnel/up failed (status 503)"}},
		{"somebody else", "", "<html>\n", 404, readiness{state: Failed, text: "<html> (status 404)"}},
		{"nothing", "", "", 500, readiness{state: Failed, text: "Internal Server Error (status 500)"}},
		{"a page that drains is not draining", "", "draining\n", 200, readiness{state: Good, weight: 100, text: "draining"}},
		{"colours", "", "\x1b[31mred\r\n", 503, readiness{state: Failed, text: "?[31mred (status 503)"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/ready/a" || r.Method != http.MethodGet {
					t.Errorf("asked %s %s", r.Method, r.URL)
				}
				if test.weight != "" {
					w.Header().Set(WeightHeader, test.weight)
				}
				w.WriteHeader(test.status)
				io.WriteString(w, test.body)
			}))
			defer server.Close()
			u, _ := url.Parse(server.URL + "/ready/a")
			if diff := cmp.Diff(&test.want, askReady(t.Context(), u), cmp.AllowUnexported(readiness{})); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestANodeThatSaysNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and is silent
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	ask := func() *readiness {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		return askReady(ctx, &url.URL{Scheme: "http", Host: address, Path: "/ready"})
	}
	if got := ask(); got.state != Failed || !got.deaf || got.text != "no answer: not in time" {
		t.Errorf("got %+v", got)
	}
	l.Close()
	if got := ask(); got.state != Failed || !got.deaf || got.text != "no answer: nothing listens there" {
		t.Errorf("got %+v", got)
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ready" {
			t.Errorf("asked %s", r.URL)
		}
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}))
	defer server.Close()
	u, _ := url.Parse(server.URL + "/ready")
	if got := askReady(t.Context(), u); got.state != Failed || !strings.Contains(got.text, "302") {
		t.Errorf("got %+v", got)
	}
}

func TestAURLWithoutAHostIsAskedOfTheNode(t *testing.T) {
	for text, want := range map[string]string{
		"http://:9380/ready/a":         "http://10.9.0.31:9380/ready/a",
		"http:///ready":                "http://10.9.0.31/ready",
		"http://192.0.2.1:9380/ready":  "http://192.0.2.1:9380/ready",
		"http://node.example:80/ready": "http://node.example:80/ready",
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := at(u, testNode).String(); got != want {
			t.Errorf("%s becomes %s, want %s", text, got, want)
		}
	}
}
