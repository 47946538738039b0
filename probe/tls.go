package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

func (t Target) tryHTTPS(ctx context.Context) error {
	verify, err := t.verifier()
	if err != nil {
		return err
	}
	conn, err := t.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	var refused error
	secure := tls.Client(conn, &tls.Config{
		ServerName: t.sni(),
		NextProtos: []string{"http/1.1"},
		// Whether an old protocol is good enough is for the site to say, not for
		// a probe: its clients are served all the same.
		MinVersion: tls.VersionTLS10,
		// The certificate is judged below, by the rules that Verify chose.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			refused = verify(state.PeerCertificates)
			return refused
		},
	})
	if err := secure.HandshakeContext(ctx); err != nil {
		if refused != nil {
			return refused
		}
		return handshakeError(err)
	}
	defer secure.Close()
	return t.ask(ctx, secure)
}

// sni is the name sent in the handshake; crypto/tls leaves out addresses.
func (t Target) sni() string {
	if t.ServerName != "" {
		return t.ServerName
	}
	if host, _, err := net.SplitHostPort(t.Host); err == nil {
		return host
	}
	return t.Host
}

func handshakeError(err error) error {
	if said, ok := plain(err); ok {
		return said
	}
	var header tls.RecordHeaderError
	if errors.As(err, &header) {
		return errors.New("the answer is not TLS")
	}
	return fmt.Errorf("no TLS connection: %s", clip(err.Error()))
}

// verifier returns what judges the certificates that the service shows, its own
// first.
func (t Target) verifier() (func([]*x509.Certificate) error, error) {
	switch t.Verify {
	case VerifyOff:
		return func([]*x509.Certificate) error { return nil }, nil
	case VerifyName, "":
		return func(shown []*x509.Certificate) error {
			return judgeLeaf(shown[0], t.ServerName)
		}, nil
	case VerifyChain:
		roots, err := t.roots()
		if err != nil {
			return nil, err
		}
		return func(shown []*x509.Certificate) error {
			if err := judgeLeaf(shown[0], t.ServerName); err != nil {
				return err
			}
			return judgeChain(shown, roots)
		}, nil
	}
	return nil, fmt.Errorf("cannot probe: %q is not a way to verify a certificate", t.Verify)
}

// roots returns the trusted authorities; nil stands for the system's.
func (t Target) roots() (*x509.CertPool, error) {
	if t.CAFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(t.CAFile)
	if err != nil {
		return nil, fmt.Errorf("cannot read the trusted authorities: %v", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("cannot read the trusted authorities: no certificate in %s", t.CAFile)
	}
	return roots, nil
}

func judgeLeaf(leaf *x509.Certificate, name string) error {
	now := time.Now()
	switch {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("certificate expired %s", leaf.NotAfter.UTC().Format(time.DateOnly))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("certificate is not valid before %s", leaf.NotBefore.UTC().Format(time.DateTime))
	case name != "" && leaf.VerifyHostname(name) != nil:
		return fmt.Errorf("certificate is for %s, not %s", namesOf(leaf), name)
	}
	return nil
}

// namesOf lists a certificate's names, the first few of many. A common name is
// not one of them: clients stopped looking at it (RFC 9110, section 4.3.4).
func namesOf(leaf *x509.Certificate) string {
	names := append([]string(nil), leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return fmt.Sprintf("no name (its common name is %q)", leaf.Subject.CommonName)
	}
	const most = 4
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), more)
	}
	return strings.Join(names, ", ")
}

func judgeChain(shown []*x509.Certificate, roots *x509.CertPool) error {
	between := x509.NewCertPool()
	for _, certificate := range shown[1:] {
		between.AddCert(certificate)
	}
	_, err := shown[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return fmt.Errorf("certificate is signed by %q, which is not trusted", shown[len(shown)-1].Issuer)
	}
	if err != nil {
		return fmt.Errorf("certificate does not hold: %v", err)
	}
	return nil
}
