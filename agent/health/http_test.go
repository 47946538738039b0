package health

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// start serves the endpoint on a port of its own until the test ends.
func start(t testing.TB, e Endpoint) string {
	t.Helper()
	if e.StaleAfter == 0 {
		e.StaleAfter = time.Minute
	}
	e.Metrics = NewMetrics("v1", e.Latest).Handler()
	return serving(t, Server(func() *Endpoint { return &e }))
}

// serving has a server answer on a port of its own until the test ends.
func serving(t testing.TB, server interface {
	Serve(net.Listener) error
	Stop()
	Finish(time.Duration)
}) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		listener.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		server.Finish(0)
	})
	return listener.Addr().String()
}

// ask sends the bytes and reads until the server closes, as keepalived does.
func ask(t *testing.T, address, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		t.Fatalf("the server did not close after its answer: %v", err)
	}
	return string(answer)
}

// gist is the status and the body of an answer.
func gist(answer string) string {
	head, body, _ := strings.Cut(answer, "\r\n\r\n")
	status, _, _ := strings.Cut(head, "\r\n")
	_, status, _ = strings.Cut(status, " ")
	return strings.TrimSpace(status + ": " + body)
}

// header is the value of a field of an answer.
func header(answer, name string) string {
	head, _, _ := strings.Cut(answer, "\r\n\r\n")
	for line := range strings.SplitSeq(head, "\r\n") {
		if value, is := strings.CutPrefix(line, name+": "); is {
			return value
		}
	}
	return ""
}

func fresh(findings ...Finding) func() *Standing {
	s := NewStanding(NewReport(time.Now(), findings))
	return func() *Standing { return s }
}

func TestEndpointAnswersWhatDirectorsSend(t *testing.T) {
	address := start(t, Endpoint{Latest: fresh(required("a", OK), required("pool/web", OK), required("pool/bad", Failed))})
	ready := start(t, Endpoint{Latest: fresh(required("a", OK), required("pool/web", OK))})
	for _, test := range []struct {
		name, address, request, want string
	}{
		{"keepalived", ready, "GET /ready HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: 10.0.0.1:9380\r\n\r\n", "200 OK: ready"},
		{"nanny, which can only ask for the root", ready, "GET / HTTP/1.0\r\n\r\n", "200 OK: ready"},
		{"haproxy's OPTIONS without a host", ready, "OPTIONS / HTTP/1.0\r\n\r\n", "200 OK: ready"},
		{"apache's OPTIONS for the whole server", address, "OPTIONS * HTTP/1.0\r\nHost: h:1\r\n\r\n", "503 Service Unavailable: not ready: pool/bad failed"},
		{"apache's doubled slashes", ready, "GET ///ready HTTP/1.0\r\n\r\n", "200 OK: ready"},
		{"a trailing slash", ready, "GET /ready/ HTTP/1.0\r\n\r\n", "200 OK: ready"},
		{"a query", ready, "GET /ready?x=1 HTTP/1.0\r\n\r\n", "200 OK: ready"},
		{"http 1.1", ready, "GET /ready HTTP/1.1\r\nHost: h\r\n\r\n", "200 OK: ready"},
		{"haproxy's GET of 1.1 without a host", ready, "GET /ready HTTP/1.1\r\nConnection: close\r\n\r\n", "200 OK: ready"},
		{"HEAD has no body", ready, "HEAD /ready HTTP/1.0\r\n\r\n", "200 OK:"},
		{"a good pool beside a bad one", address, "GET /ready/web HTTP/1.0\r\n\r\n", "200 OK: ready"},
		{"a good pool with doubled slashes", address, "GET //ready//web HTTP/1.0\r\n\r\n", "200 OK: ready"},
		{"a bad pool", address, "GET /ready/bad HTTP/1.0\r\n\r\n", "503 Service Unavailable: not ready: pool/bad failed"},
		{"a pool that is not there", address, "GET /ready/none HTTP/1.0\r\n\r\n", "503 Service Unavailable: not ready: no such pool"},
		{"a page that is not there", address, "GET /etc/passwd HTTP/1.0\r\n\r\n", "404 Not Found: no such page"},
		{"live while not ready", address, "GET /live HTTP/1.0\r\n\r\n", "200 OK: live"},
		{"POST", address, "POST /ready HTTP/1.0\r\nContent-Length: 0\r\n\r\n", "405 Method Not Allowed: method not allowed"},
		{"garbage", address, "\x16\x03\x01\x02\x00\x01\r\n\r\n", "400 Bad Request: this is not HTTP"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, gist(ask(t, test.address, test.request))); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEndpointTellsEveryStateApart(t *testing.T) {
	stale := func() *Standing {
		return NewStanding(NewReport(time.Now().Add(-time.Hour), []Finding{required("a", OK)}))
	}
	draining := fresh(required("a", OK), required(DrainID, Failed))
	for _, test := range []struct {
		name     string
		endpoint Endpoint
		path     string
		want     string
	}{
		{"draining", Endpoint{Latest: draining, DrainStatus: 503}, "/ready", "503 Service Unavailable: draining"},
		{"draining for haproxy", Endpoint{Latest: draining, DrainStatus: 404}, "/ready", "404 Not Found: draining"},
		{"not ready has its own status", Endpoint{Latest: fresh(required("a", Failed)), DrainStatus: 404}, "/ready", "503 Service Unavailable: not ready: a failed"},
		{"a stale report is not ready", Endpoint{Latest: stale}, "/ready", "503 Service Unavailable: not ready: the last look at this node is too old"},
		{"a stale report is not live", Endpoint{Latest: stale}, "/live", "503 Service Unavailable: not live: the last look at this node is too old"},
		{"nothing known yet", Endpoint{Latest: func() *Standing { return NewStanding(Report{}) }}, "/ready", "503 Service Unavailable: not ready: the last look at this node is too old"},
		{"an asker who may", Endpoint{Latest: fresh(required("a", OK)), Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, "/ready", "200 OK: ready"},
	} {
		t.Run(test.name, func(t *testing.T) {
			address := start(t, test.endpoint)
			got := gist(ask(t, address, fmt.Sprintf("GET %s HTTP/1.0\r\n\r\n", test.path)))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhoMayNotAskIsHungUpOn(t *testing.T) {
	address := start(t, Endpoint{
		Latest: fresh(required("a", OK)),
		Allow:  []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
	})
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("want the end of the connection, got %d bytes and %v", n, err)
	}
}

// nanny compares what its first read gives, and keepalived wants the status
// followed by a space and reads until the end.
func TestAnswerIsOneSegmentAndThenTheEnd(t *testing.T) {
	address := start(t, Endpoint{Latest: fresh(required("a", OK))})
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 4096)
	n, err := c.Read(first)
	if err != nil {
		t.Fatal(err)
	}
	answer := string(first[:n])
	if !strings.HasPrefix(answer, "HTTP/1.0 200 OK\r\n") || !strings.HasSuffix(answer, "\r\n\r\nready\n") {
		t.Errorf("the first segment is not the whole answer: %q", answer)
	}
	if n, err := c.Read(first); n != 0 || err != io.EOF {
		t.Errorf("want the end of the connection, got %d bytes and %v", n, err)
	}
}

func TestMetricsAreServed(t *testing.T) {
	address := start(t, Endpoint{Latest: fresh(required("a", OK))})
	answer := ask(t, address, "GET /metrics HTTP/1.0\r\n\r\n")
	for _, want := range []string{"HTTP/1.0 200 OK\r\n", "\r\nContent-Type: text/plain; version=0.0.4", "\nrsagent_ready 1\n"} {
		if !strings.Contains(answer, want) {
			t.Errorf("the answer lacks %q:\n%s", want, answer)
		}
	}
}
