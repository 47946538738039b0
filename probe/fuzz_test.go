package probe

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// Whatever a service answers, the probe ends in time, and is good only if there
// was a status, one that is wanted.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.0 302 Found\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\n", "SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 999 x\r\n\r\n",
		"HTTP/1.1 200\r\n" + strings.Repeat("a: b\r\n", 100) + "\r\n", "",
	} {
		f.Add([]byte(s))
	}
	target := Target{Kind: HTTP, Addr: netip.MustParseAddrPort("127.0.0.1:80"), Status: []StatusRange{{200, 399}}}
	f.Fuzz(func(t *testing.T, answer []byte) {
		ours, theirs := net.Pipe()
		const limit = 2 * time.Second
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		ours.SetDeadline(time.Now().Add(limit))
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			defer theirs.Close()
			buf := make([]byte, 4096)
			if _, err := theirs.Read(buf); err == nil {
				theirs.Write(answer)
			}
		}()
		began := time.Now()
		err := target.ask(ctx, ours)
		ours.Close()
		<-ended
		if took := time.Since(began); took > limit+time.Second {
			t.Fatalf("it took %v", took)
		}
		if err == nil && !strings.Contains(string(answer), "HTTP/") {
			t.Fatalf("%q was good", answer)
		}
		if err != nil && (!utf8.ValidString(err.Error()) || len(err.Error()) > 1000) {
			t.Fatalf("this is no line for a log: %q", err)
		}
	})
}

// Whatever certificate a service shows, what is said of it is a line, and one
// that is good is for the name.
func FuzzCertificate(f *testing.F) {
	server := httptest.NewTLSServer(nil)
	f.Add(server.Certificate().Raw, "example.com")
	server.Close()
	if text, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt"); err == nil {
		if block, _ := pem.Decode(text); block != nil {
			f.Add(block.Bytes, "")
		}
	}
	f.Add([]byte{0x30, 0x80}, "*.example.com")
	f.Fuzz(func(t *testing.T, der []byte, name string) {
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		err = errors.Join(judgeLeaf(leaf, name), judgeChain([]*x509.Certificate{leaf, leaf}, x509.NewCertPool()))
		if err == nil {
			t.Fatal("a certificate is trusted that nobody has signed")
		}
		if judgeLeaf(leaf, name) == nil && name != "" && leaf.VerifyHostname(name) != nil {
			t.Fatalf("it is for %s, and good for %q", namesOf(leaf), name)
		}
	})
}

// What is clipped stays text.
func FuzzClip(f *testing.F) {
	f.Add("a\x80" + strings.Repeat("\u00e9", 150))
	f.Fuzz(func(t *testing.T, s string) {
		got := clip(s)
		if len(got) > 203 || len(s) > 200 && !utf8.ValidString(got) || len(s) <= 200 && got != s {
			t.Fatalf("%q is clipped to %q", s, got)
		}
	})
}
