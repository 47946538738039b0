package probe

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	a := authority{key: newKey(t), certificate: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}}
	der, err := x509.CreateCertificate(rand.Reader, a.certificate, a.certificate, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.certificate.Raw = der
	return a
}

// file writes the authority's certificate as PEM.
func (a authority) file(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (a authority) sign(t *testing.T, leaf x509.Certificate) tls.Certificate {
	t.Helper()
	key := newKey(t)
	leaf.SerialNumber = big.NewInt(2)
	if leaf.NotAfter.IsZero() {
		leaf.NotBefore, leaf.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, &leaf, a.certificate, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// serveTLS answers 200, or 500 if the client named another server in the
// handshake than wanted.
func serveTLS(t *testing.T, certificate tls.Certificate, sni string) netip.AddrPort {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS.ServerName != sni || r.ProtoMajor != 1 {
			w.WriteHeader(500)
		}
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return addrOf(t, server)
}

func TestHTTPSVerify(t *testing.T) {
	ours, theirs := newAuthority(t, "our CA"), newAuthority(t, "their CA")
	day := func(s string) time.Time {
		d, err := time.Parse(time.DateOnly, s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	good := ours.sign(t, x509.Certificate{DNSNames: []string{"a.example", "*.a.example"}})
	foreign := theirs.sign(t, x509.Certificate{DNSNames: []string{"a.example"}})
	expired := ours.sign(t, x509.Certificate{DNSNames: []string{"a.example"}, NotBefore: day("2025-01-02"), NotAfter: day("2026-01-02")})
	future := ours.sign(t, x509.Certificate{DNSNames: []string{"a.example"}, NotBefore: day("2126-01-02"), NotAfter: day("2127-01-02")})
	nameless := ours.sign(t, x509.Certificate{Subject: pkix.Name{CommonName: "a.example"}})
	many := ours.sign(t, x509.Certificate{DNSNames: []string{"1.example", "2.example", "3.example", "4.example", "5.example", "6.example"}})
	address := ours.sign(t, x509.Certificate{IPAddresses: []net.IP{net.IPv4(203, 0, 113, 10)}})
	trust := ours.file(t)
	tests := map[string]struct {
		certificate tls.Certificate
		target      Target
		want        string
	}{
		"name: right":                        {good, Target{ServerName: "a.example", Verify: "name"}, ""},
		"name: right by wildcard":            {good, Target{ServerName: "x.a.example", Verify: "name"}, ""},
		"name: what is not said is name":     {good, Target{ServerName: "b.example"}, "certificate is for a.example, *.a.example, not b.example"},
		"name: wrong":                        {foreign, Target{ServerName: "b.example", Verify: "name"}, "certificate is for a.example, not b.example"},
		"name: whoever signed it":            {foreign, Target{ServerName: "a.example", Verify: "name"}, ""},
		"name: no name wanted":               {foreign, Target{Verify: "name"}, ""},
		"name: expired":                      {expired, Target{ServerName: "a.example", Verify: "name"}, "certificate expired 2026-01-02"},
		"name: expired, no name wanted":      {expired, Target{Verify: "name"}, "certificate expired 2026-01-02"},
		"name: not valid yet":                {future, Target{ServerName: "a.example", Verify: "name"}, "certificate is not valid before 2126-01-02 00:00:00"},
		"name: only a common name":           {nameless, Target{ServerName: "a.example", Verify: "name"}, `certificate is for no name (its common name is "a.example"), not a.example`},
		"name: one of many others":           {many, Target{ServerName: "a.example", Verify: "name"}, "certificate is for 1.example, 2.example, 3.example, 4.example and 2 more, not a.example"},
		"name: an address":                   {address, Target{ServerName: "203.0.113.10", Verify: "name"}, ""},
		"name: another address":              {address, Target{ServerName: "203.0.113.11", Verify: "name"}, "certificate is for 203.0.113.10, not 203.0.113.11"},
		"chain: right":                       {good, Target{ServerName: "a.example", Verify: "chain", CAFile: trust}, ""},
		"chain: wrong name":                  {good, Target{ServerName: "b.example", Verify: "chain", CAFile: trust}, "certificate is for a.example, *.a.example, not b.example"},
		"chain: no name wanted":              {good, Target{Verify: "chain", CAFile: trust}, ""},
		"chain: another authority":           {foreign, Target{ServerName: "a.example", Verify: "chain", CAFile: trust}, `certificate is signed by "CN=their CA", which is not trusted`},
		"chain: not one of the system's":     {good, Target{ServerName: "a.example", Verify: "chain"}, `certificate is signed by "CN=our CA", which is not trusted`},
		"chain: expired":                     {expired, Target{ServerName: "a.example", Verify: "chain", CAFile: trust}, "certificate expired 2026-01-02"},
		"chain: no file of authorities":      {good, Target{Verify: "chain", CAFile: "/none"}, "cannot read the trusted authorities: open /none: no such file or directory"},
		"chain: a file without certificates": {good, Target{Verify: "chain", CAFile: "/dev/null"}, "cannot read the trusted authorities: no certificate in /dev/null"},
		"off: expired and another name":      {expired, Target{ServerName: "b.example", Verify: "off"}, ""},
		"no such way":                        {good, Target{Verify: "maybe"}, `cannot probe: "maybe" is not a way to verify a certificate`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			sni := test.target.ServerName
			if _, err := netip.ParseAddr(sni); err == nil {
				sni = ""
			}
			test.target.Kind, test.target.Addr = HTTPS, serveTLS(t, test.certificate, sni)
			tryWant(t, test.target, test.want)
		})
	}
}

func TestHTTPSNamesTheHostInTheHandshake(t *testing.T) {
	certificate := newAuthority(t, "CA").sign(t, x509.Certificate{DNSNames: []string{"a.example"}})
	addr := serveTLS(t, certificate, "www.example.org")
	tryWant(t, Target{Kind: HTTPS, Addr: addr, Host: "www.example.org"}, "")
	tryWant(t, Target{Kind: HTTPS, Addr: addr, Host: "www.example.org:8443"}, "")
	tryWant(t, Target{Kind: HTTPS, Addr: addr, Verify: "off", Host: "b.example", ServerName: "www.example.org"}, "")
	tryWant(t, Target{Kind: HTTPS, Addr: addr, Host: "b.example"}, "status 500, want 200-399")
}

func TestHTTPSOddServers(t *testing.T) {
	noLeaks(t)
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer plain.Close()
	tryWant(t, Target{Kind: HTTPS, Addr: addrOf(t, plain)}, "the answer is not TLS")
	tryWant(t, Target{Kind: HTTPS, Addr: serve(t, func(net.Conn) {})}, "connection closed before the answer was complete")
	tryWant(t, Target{Kind: HTTPS, Addr: serve(t, garbage)}, "the answer is not TLS")
	tryWant(t, Target{Kind: HTTPS, Addr: serve(t, func(c net.Conn) {
		c.Read(make([]byte, 1<<12))
		c.Write([]byte{21, 3, 3, 0, 2, 2, 40})
		hold(c)
	})}, "no TLS connection: remote error: tls: handshake failure")
}

func TestHTTPSJudgesTheStatusToo(t *testing.T) {
	certificate := newAuthority(t, "CA").sign(t, x509.Certificate{DNSNames: []string{"a.example"}})
	tryWant(t, Target{Kind: HTTPS, Addr: serveTLS(t, certificate, "other"), ServerName: "a.example"}, "status 500, want 200-399")
}
