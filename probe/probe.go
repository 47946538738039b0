// Package probe asks the services of this node whether they are well.
package probe

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

// Kind is how a service is asked.
type Kind string

const (
	HTTP  Kind = "http"  // GET, the status is judged
	HTTPS Kind = "https" // the same over TLS, the certificate is judged too
	TCP   Kind = "tcp"   // a connection is made
	Exec  Kind = "exec"  // a command is run, exit status 0 is good
)

// How the certificate of an HTTPS service is judged.
const (
	VerifyName  = "name"  // valid for ServerName and within its dates, whoever signed it
	VerifyChain = "chain" // the same, and signed by an authority that is trusted
	VerifyOff   = "off"   // any certificate
)

// Target is one service and how to ask it.
type Target struct {
	Kind Kind

	// Addr is where the service listens. Not used by Exec.
	Addr netip.AddrPort

	// Source is the address to ask from; the zero Addr leaves it to the kernel.
	// When a VIP is asked from the VIP itself, the question cannot leave the
	// node while the VIP is missing.
	Source netip.Addr

	// Path is what HTTP and HTTPS ask for, "/" if empty. Host goes into the
	// Host header; if empty, ServerName or the address stands there.
	Path, Host string

	// ServerName is the name that the certificate must be valid for, and the
	// name sent in the TLS handshake. If it is empty the certificate's names are
	// not judged and a name in Host is sent.
	ServerName string

	// Verify is VerifyName, VerifyChain or VerifyOff; empty is VerifyName.
	Verify string

	// CAFile holds the authorities trusted by VerifyChain, in PEM; if it is empty
	// the system's are trusted. It is read at each attempt.
	CAFile string

	// Status are the good statuses; none stands for 200 to 399.
	Status []StatusRange

	// Command is an absolute path and its arguments.
	Command []string

	// Interval is the time from the start of one attempt to the start of the
	// next, Timeout the limit of one attempt in total. Zero stands for 2 s and
	// 1 s.
	Interval, Timeout time.Duration

	// Rise is how many good attempts in a row bring the service up, Fall how many
	// bad ones take it down. Less than 1 stands for 1.
	Rise, Fall int
}

// StatusRange is a range of HTTP statuses, both ends included.
type StatusRange struct{ From, To int }

func (r StatusRange) String() string {
	if r.From == r.To {
		return fmt.Sprint(r.From)
	}
	return fmt.Sprintf("%d-%d", r.From, r.To)
}

// Try makes one attempt and returns nil if the service is well, else an error
// that says in words what is wrong. It takes at most Timeout in total. If ctx
// ends first, Try ends at once and returns the cause.
func (t Target) Try(ctx context.Context) error {
	timeout := t.timeout()
	attempt, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := t.attempt(attempt)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if isTimeout(err) {
		return fmt.Errorf("no answer within %v", timeout)
	}
	return err
}

func (t Target) attempt(ctx context.Context) error {
	switch t.Kind {
	case HTTP:
		return t.tryHTTP(ctx)
	case HTTPS:
		return t.tryHTTPS(ctx)
	case TCP:
		return t.tryTCP(ctx)
	case Exec:
		return t.tryExec(ctx)
	}
	return fmt.Errorf("cannot probe: %q is not a kind of probe", string(t.Kind))
}

func (t Target) timeout() time.Duration {
	if t.Timeout <= 0 {
		return time.Second
	}
	return t.Timeout
}

func (t Target) interval() time.Duration {
	if t.Interval <= 0 {
		return 2 * time.Second
	}
	return t.Interval
}
