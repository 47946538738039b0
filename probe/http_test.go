package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestHTTPStatus(t *testing.T) {
	noLeaks(t)
	tests := map[string]struct {
		status int
		good   []StatusRange
		want   string
	}{
		"200 by default":            {200, nil, ""},
		"302 by default":            {302, nil, ""},
		"404 by default":            {404, nil, "status 404, want 200-399"},
		"502 by default":            {502, nil, "status 502, want 200-399"},
		"a single status":           {401, []StatusRange{{401, 401}}, ""},
		"not the single status":     {200, []StatusRange{{401, 401}}, "status 200, want 401"},
		"in the second range":       {503, []StatusRange{{200, 299}, {503, 503}}, ""},
		"in none of several ranges": {301, []StatusRange{{200, 299}, {503, 503}}, "status 301, want 200-299, 503"},
		"the end of a range":        {299, []StatusRange{{200, 299}}, ""},
		"no content":                {204, nil, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(test.status)
			}))
			defer server.Close()
			tryWant(t, Target{Kind: HTTP, Addr: addrOf(t, server), Status: test.good}, test.want)
			if asked.Load() != 1 {
				t.Errorf("asked %d times: a redirect was followed or the request repeated", asked.Load())
			}
		})
	}
}

func TestHTTPRequest(t *testing.T) {
	type request struct{ Line, Host, UserAgent, Connection string }
	tests := map[string]struct {
		target Target
		want   request
	}{
		"as it comes":              {Target{}, request{"GET / HTTP/1.1", "ADDR", "rsagent", "close"}},
		"a path with a query":      {Target{Path: "/ready?full=1"}, request{"GET /ready?full=1 HTTP/1.1", "ADDR", "rsagent", "close"}},
		"a host":                   {Target{Host: "www.example.org"}, request{"GET / HTTP/1.1", "www.example.org", "rsagent", "close"}},
		"a host with a port":       {Target{Host: "www.example.org:8080"}, request{"GET / HTTP/1.1", "www.example.org:8080", "rsagent", "close"}},
		"a server name is no host": {Target{ServerName: "a.example"}, request{"GET / HTTP/1.1", "ADDR", "rsagent", "close"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := make(chan request, 1)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got <- request{r.Method + " " + r.RequestURI + " " + r.Proto, r.Host, r.UserAgent(), r.Header.Get("Connection")}
			}))
			defer server.Close()
			test.target.Kind, test.target.Addr = HTTP, addrOf(t, server)
			test.want.Host = strings.Replace(test.want.Host, "ADDR", test.target.Addr.String(), 1)
			tryWant(t, test.target, "")
			if diff := cmp.Diff(test.want, <-got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestHostHeader(t *testing.T) {
	tests := map[string]struct {
		target Target
		want   string
	}{
		"http on its own port":               {Target{Kind: HTTP, Addr: netip.MustParseAddrPort("192.0.2.1:80")}, "192.0.2.1"},
		"http on another port":               {Target{Kind: HTTP, Addr: netip.MustParseAddrPort("192.0.2.1:443")}, "192.0.2.1:443"},
		"https on its own port":              {Target{Kind: HTTPS, Addr: netip.MustParseAddrPort("192.0.2.1:443")}, "192.0.2.1"},
		"https on another port":              {Target{Kind: HTTPS, Addr: netip.MustParseAddrPort("192.0.2.1:80")}, "192.0.2.1:80"},
		"IPv6 on its own port":               {Target{Kind: HTTP, Addr: netip.MustParseAddrPort("[2001:db8::1]:80")}, "[2001:db8::1]"},
		"IPv6 on another port":               {Target{Kind: HTTP, Addr: netip.MustParseAddrPort("[2001:db8::1]:81")}, "[2001:db8::1]:81"},
		"https with the certificate's name":  {Target{Kind: HTTPS, ServerName: "a.example", Addr: netip.MustParseAddrPort("192.0.2.1:443")}, "a.example"},
		"https with a host beside that name": {Target{Kind: HTTPS, ServerName: "a.example", Host: "b.example"}, "b.example"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := test.target.host(); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestHTTPRefusesWhatWouldBreakTheRequest(t *testing.T) {
	addr := serve(t, answer("HTTP/1.1 200 OK\r\n\r\n"))
	tryWant(t, Target{Kind: HTTP, Addr: addr, Path: "/a b"}, `cannot probe: "/a b" cannot be asked for`)
	tryWant(t, Target{Kind: HTTP, Addr: addr, Path: "a"}, `cannot probe: "a" cannot be asked for`)
	tryWant(t, Target{Kind: HTTP, Addr: addr, Path: "/\r\nX: y"}, `cannot probe: "/\r\nX: y" cannot be asked for`)
	tryWant(t, Target{Kind: HTTP, Addr: addr, Host: "a\r\nX: y"}, `cannot probe: "a\r\nX: y" cannot be a Host header`)
	tryWant(t, Target{Kind: "icmp", Addr: addr}, `cannot probe: "icmp" is not a kind of probe`)
}

func TestHTTPOddServers(t *testing.T) {
	noLeaks(t)
	tests := map[string]struct {
		talk func(net.Conn)
		want string
	}{
		"HTTP/1.0":                        {answer("HTTP/1.0 200 OK\r\n\r\nhello"), ""},
		"lines that end in LF":            {answer("HTTP/1.1 200 OK\nServer: old\n\n"), ""},
		"no reason":                       {answer("HTTP/1.1 200\r\n\r\n"), ""},
		"interim answers first":           {answer("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"), ""},
		"interim answers only":            {answer(strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 20)), "the answer is not good HTTP: too many interim answers"},
		"switching protocols":             {answer("HTTP/1.1 101 Switching Protocols\r\n\r\n"), "status 101, want 200-399"},
		"keeps the connection":            {func(c net.Conn) { answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")(c); hold(c) }, ""},
		"promises more than it sends":     {answer("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nok"), ""},
		"holds back the body":             {func(c net.Conn) { answer("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nok")(c); hold(c) }, ""},
		"sends without end":               {endless, ""},
		"accepts and closes":              {func(net.Conn) {}, "connection closed before the answer was complete"},
		"reads and closes":                {answer(""), "connection closed before the answer was complete"},
		"closes within the header":        {answer("HTTP/1.1 200 OK\r\nServer: x\r\n"), "connection closed before the answer was complete"},
		"resets":                          {reset, "connection closed before the answer was complete"},
		"not HTTP":                        {answer("SSH-2.0-OpenSSH_9.6\r\n"), `the answer is not good HTTP: malformed HTTP response "SSH-2.0-OpenSSH_9.6"`},
		"a status that is no number":      {answer("HTTP/1.1 abc OK\r\n\r\n"), `the answer is not good HTTP: malformed HTTP status code "abc"`},
		"a header that is no header":      {answer("HTTP/1.1 200 OK\r\nnonsense\r\n\r\n"), `the answer is not good HTTP: malformed MIME header: missing colon: "nonsense"`},
		"one line of garbage without end": {garbage, "the answer is not good HTTP: longer than 64 KiB before its body"},
		"a long line of garbage":          {answer(strings.Repeat("x", 1000) + "\n"), `the answer is not good HTTP: malformed HTTP response "` + strings.Repeat("x", 175) + "..."},
		"a header without end":            {headers, "the answer is not good HTTP: longer than 64 KiB before its body"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			tryWant(t, Target{Kind: HTTP, Addr: serve(t, test.talk)}, test.want)
			if took := time.Since(start); took > within/2 {
				t.Errorf("took %v", took)
			}
		})
	}
}

func endless(conn net.Conn) {
	answer("HTTP/1.1 200 OK\r\n\r\n")(conn)
	for chunk := bytes.Repeat([]byte("x"), 1<<16); ; {
		if _, err := conn.Write(chunk); err != nil {
			return
		}
	}
}

func garbage(conn net.Conn) {
	for chunk := bytes.Repeat([]byte("\x00\xff"), 1<<15); ; {
		if _, err := conn.Write(chunk); err != nil {
			return
		}
	}
}

func headers(conn net.Conn) {
	conn.Write([]byte("HTTP/1.1 200 OK\r\n"))
	for i := 0; ; i++ {
		if _, err := fmt.Fprintf(conn, "X-%d: y\r\n", i); err != nil {
			return
		}
	}
}

func reset(conn net.Conn) {
	conn.Read(make([]byte, 1<<10))
	conn.(*net.TCPConn).SetLinger(0)
}

func TestTimeoutBoundsTheWholeAttempt(t *testing.T) {
	noLeaks(t)
	drip := func(conn net.Conn) {
		for _, err := conn.Write([]byte("H")); err == nil; _, err = conn.Write([]byte("TTP/1.1 200 OK\r\nX: ")[:1]) {
			time.Sleep(10 * time.Millisecond)
		}
	}
	dripHeader := func(conn net.Conn) {
		conn.Write([]byte("HTTP/1.1 200 OK\r\nX: "))
		drip(conn)
	}
	tests := map[string]Target{
		"http, silent":               {Kind: HTTP, Addr: serve(t, hold)},
		"http, drips":                {Kind: HTTP, Addr: serve(t, drip)},
		"http, drips its header":     {Kind: HTTP, Addr: serve(t, dripHeader)},
		"https, silent":              {Kind: HTTPS, Addr: serve(t, hold)},
		"tcp, full backlog":          {Kind: TCP, Addr: fullBacklog(t)},
		"http, full backlog":         {Kind: HTTP, Addr: fullBacklog(t)},
		"a command that never ends":  {Kind: Exec, Command: []string{"/bin/sh", "-c", "while :; do :; done"}},
		"a command that only waits":  {Kind: Exec, Command: []string{"/bin/sleep", "60"}},
		"a command that holds on":    {Kind: Exec, Command: []string{"/bin/sh", "-c", "trap '' TERM INT HUP; sleep 60"}},
		"a command with descendants": {Kind: Exec, Command: []string{"/bin/sh", "-c", "sleep 60 & sleep 60 | sleep 60"}},
	}
	for name, target := range tests {
		t.Run(name, func(t *testing.T) {
			target.Timeout = 200 * time.Millisecond
			start := time.Now()
			tryWant(t, target, "no answer within 200ms")
			if took := time.Since(start); took < 190*time.Millisecond || took > time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestTryEndsWithItsContext(t *testing.T) {
	noLeaks(t)
	gone := errors.New("the agent stops")
	tests := map[string]Target{
		"http":  {Kind: HTTP, Addr: serve(t, hold)},
		"https": {Kind: HTTPS, Addr: serve(t, hold)},
		"tcp":   {Kind: TCP, Addr: fullBacklog(t)},
		"exec":  {Kind: Exec, Command: []string{"/bin/sleep", "60"}},
	}
	for name, target := range tests {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(context.Background())
			timer := time.AfterFunc(50*time.Millisecond, func() { cancel(gone) })
			defer timer.Stop()
			target.Timeout = time.Minute
			start := time.Now()
			if err := target.Try(ctx); !errors.Is(err, gone) {
				t.Errorf("got %v", err)
			}
			if took := time.Since(start); took > time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func BenchmarkHTTP(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	target := Target{Kind: HTTP, Addr: server.Listener.Addr().(*net.TCPAddr).AddrPort()}
	for b.Loop() {
		if err := target.Try(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
}
