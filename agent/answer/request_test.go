package answer

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRequestsAreReadAsTheyAreSent(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       string // METHOD path minor, or the error
	}{
		{"keepalived HTTP_GET", "GET /ready HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: 10.0.0.1:9380\r\n\r\n", "GET /ready 0"},
		{"keepalived http_protocol 1.0C", "GET /ready HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nConnection: close\r\nHost: www.example.org\r\n\r\n", "GET /ready 0"},
		{"keepalived http_protocol 1.1", "GET /ready HTTP/1.1\r\nUser-Agent: KeepAliveClient\r\nConnection: close\r\nHost: 10.0.0.1:9380\r\n\r\n", "GET /ready 1"},
		{"ldirectord, by LWP", "GET /ready HTTP/1.1\r\nTE: deflate,gzip;q=0.3\r\nConnection: TE, close\r\nHost: 10.0.0.1:9380\r\nUser-Agent: libwww-perl/6.68\r\n\r\n", "GET /ready 1"},
		{"ldirectord with httpmethod = HEAD", "HEAD /ready HTTP/1.1\r\nTE: deflate,gzip;q=0.3\r\nConnection: TE, close\r\nHost: 10.0.0.1:9380\r\nUser-Agent: libwww-perl/6.68\r\n\r\n", "HEAD /ready 1"},
		{"HAProxy httpchk", "OPTIONS / HTTP/1.0\r\nconnection: close\r\n\r\n", "OPTIONS / 0"},
		{"HAProxy httpchk GET with HTTP/1.1 and no Host", "GET /ready/web HTTP/1.1\r\nconnection: close\r\n\r\n", "GET /ready/web 1"},
		{"HAProxy with send-state", "GET /ready HTTP/1.0\r\nX-Haproxy-Server-State: UP 2/3; name=b/n1; node=lb; weight=1/2; scur=0/1; qcur=0\r\nconnection: close\r\n\r\n", "GET /ready 0"},
		{"Apache hcheck GET", "GET /ready HTTP/1.0\r\nHost: 10.0.0.5:80\r\n\r\n", "GET /ready 0"},
		{"Apache hcheck by its manual's own example", "GET ///ready HTTP/1.0\r\nHost: 10.0.0.5:80\r\n\r\n", "GET /ready 0"},
		{"Apache hcheck HEAD11", "HEAD /ready HTTP/1.1\r\nHost: 10.0.0.5:80\r\n\r\n", "HEAD /ready 1"},
		{"Apache hcheck OPTIONS11", "OPTIONS * HTTP/1.1\r\nHost: 10.0.0.5:80\r\n\r\n", "OPTIONS / 1"},
		{"nanny", "GET / HTTP/1.0\r\n\r\n", "GET / 0"},
		{"nanny with HTTP/1.1 and no Host", "GET / HTTP/1.1\r\n\r\n", "GET / 1"},
		{"nanny with LF alone", "GET /ready HTTP/1.0\n\n", "GET /ready 0"},
		{"nanny with a send that has no version", "GET /ready\r\n", "GET /ready 0"},
		{"empty lines before", "\r\n\r\nGET / HTTP/1.0\r\n\r\n", "GET / 0"},
		{"more blanks than one", "GET  /ready   HTTP/1.1 \r\n\r\n", "GET /ready 1"},
		{"lines by CR LF and an end by LF", "GET / HTTP/1.0\r\nHost: a\n\n", "GET / 0"},
		{"a whole URL", "GET http://n:9380/ready/web?x#y HTTP/1.1\r\n\r\n", "GET /ready/web 1"},
		{"a URL without a path", "GET http://n:9380 HTTP/1.1\r\n\r\n", "GET / 1"},
		{"a URL with a query alone", "GET http://n?x HTTP/1.1\r\n\r\n", "GET / 1"},
		{"leading, doubled and trailing slashes", "GET //ready///web// HTTP/1.0\r\n\r\n", "GET /ready/web 0"},
		{"percent-encoding", "GET /%72eady%2Fweb HTTP/1.0\r\n\r\n", "GET /ready/web 0"},
		{"a later version", "GET / HTTP/1.7\r\n\r\n", "GET / 1"},
		{"no percent-encoding after all", "GET /%7 HTTP/1.0\r\n\r\n", errTarget.Error()},
		{"a target that is none", "GET ready HTTP/1.0\r\n\r\n", errTarget.Error()},
		{"no target", "GET\r\n\r\n", errTarget.Error()},
		{"another major version", "GET / HTTP/2.0\r\n\r\n", errGarbage.Error()},
		{"another protocol", "GET / RTSP/1.0\r\n\r\n", errGarbage.Error()},
		{"a method that is none", "G(T / HTTP/1.0\r\n\r\n", errGarbage.Error()},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", errGarbage.Error()},
		{"not whole yet", "GET /ready HTTP/1.0\r\nHost: a\r\n", "more"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, readAll([]byte(test.text))); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
			// However it is cut, nothing of it is taken for the whole before the end.
			for cut := range test.text {
				if n, _ := head([]byte(test.text[:cut])); n > 0 && test.want != errTarget.Error() {
					t.Fatalf("%q is taken for a whole head", test.text[:cut])
				}
			}
		})
	}
}

func readAll(text []byte) string {
	n, err := head(text)
	switch {
	case err != nil:
		return err.Error()
	case n == 0:
		return "more"
	}
	var r Request
	if err := r.parse(text[:n]); err != nil {
		return err.Error()
	}
	return string(r.Method) + " " + string(r.Path) + " " + string(rune('0'+r.Minor))
}

func TestWhoAsksMaySayWhenItActs(t *testing.T) {
	for query, want := range map[string]int{
		"": 0, "fall=1": 1, "fall=12": 12, "web&fall=2": 2, "fall=2&web": 2, "fall=100": 100,
		"fall=0": 0, "fall=101": 0, "fall=-1": 0, "fall=": 0, "fall=x": 0, "fall=99999999999999999999": 0,
		"waterfall=2": 0, "fall": 0, "&&": 0, "web": 0,
	} {
		if got := (&Request{Query: []byte(query)}).Fall(); got != want {
			t.Errorf("%q: got %d, want %d", query, got, want)
		}
	}
}

func TestHeadersAreFoundWhateverTheirCase(t *testing.T) {
	text := []byte("GET / HTTP/1.0\r\nAccept: a/b\r\ncontent-length:  7 \r\nX: y\r\n\r\n")
	var r Request
	if err := r.parse(text); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"accept": "a/b", "Content-Length": "7", "x": "y", "none": ""} {
		if got := r.Header(name); got != want {
			t.Errorf("%s: want %q, got %q", name, want, got)
		}
	}
	if !r.hasBody() {
		t.Error("the body is not seen")
	}
}

// What a stranger sends never breaks the parser, and what it takes is always a
// path that is clean.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.0\r\n\r\n", "GET /ready HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\n\r\n", "GET /a\n",
		"GET ///status HTTP/1.0\n\n", "HEAD /ready/http-pool/ HTTP/1.0\r\n\r\n", "GET http://x/live HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /ready/../live HTTP/1.0\r\n\r\n", "GET /ready/%2e%2e/ HTTP/1.0\r\n\r\n", "POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\nx",
		"GET http://x?y HTTP/1.0\r\n\r\n", "\r\n\x16\x03\x01", "GET", "GET : HTTP/1.1\r\n :\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		n, err := head(text)
		if n < 0 || n > len(text) || err != nil && n != 0 {
			t.Fatalf("%d of %d bytes are a head, %v", n, len(text), err)
		}
		if longer, _ := head(append(text[:len(text):len(text)], "x\r\n\r\n"...)); n > 0 && longer != n {
			t.Fatalf("the head has %d bytes, with more behind it %d", n, longer)
		}
		if n == 0 {
			return
		}
		var r Request
		if r.parse(append([]byte(nil), text[:n]...)) != nil {
			return
		}
		if len(r.Path) == 0 || r.Path[0] != '/' || string(clean(append([]byte(nil), r.Path...))) != string(r.Path) {
			t.Fatalf("%q asks for %q", text, r.Path)
		}
		r.hasBody()
	})
}
