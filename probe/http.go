package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	headLimit = 64 << 10 // bytes of status line and header that are read
	bodyLimit = 16 << 10 // bytes of the body that are read before hanging up
	bodyTime  = 50 * time.Millisecond
)

func (t Target) tryHTTP(ctx context.Context) error {
	conn, err := t.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return t.ask(conn)
}

// ask sends the request over conn and judges the status of the answer. The
// request is written by hand rather than by net/http's Transport: everything
// stays in this goroutine and ends with it, nothing is followed, retried or
// kept, and no environment variable has a say.
func (t Target) ask(conn net.Conn) error {
	request, err := t.request()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return plain(err)
	}
	limited := &io.LimitedReader{R: conn, N: headLimit}
	status, err := readStatus(bufio.NewReaderSize(limited, 1024))
	if err != nil && limited.N == 0 {
		return fmt.Errorf("the header of the answer is longer than %d KiB", headLimit>>10)
	}
	if err != nil {
		return answerError(err)
	}
	hangUp(conn)
	return t.judgeStatus(status)
}

func (t Target) request() (string, error) {
	path, host := t.Path, t.host()
	if path == "" {
		path = "/"
	}
	if path[0] != '/' || strings.ContainsFunc(path, notInRequest) {
		return "", fmt.Errorf("cannot probe: %q cannot be asked for", path)
	}
	if strings.ContainsFunc(host, notInRequest) {
		return "", fmt.Errorf("cannot probe: %q cannot be a Host header", host)
	}
	return "GET " + path + " HTTP/1.1\r\nHost: " + host +
		"\r\nUser-Agent: rsagent\r\nAccept: */*\r\nConnection: close\r\n\r\n", nil
}

func notInRequest(r rune) bool { return r <= ' ' || r == 0x7f }

// host is what stands in the Host header. The port is left out where it is the
// scheme's own (RFC 9110, section 7.2).
func (t Target) host() string {
	switch {
	case t.Host != "":
		return t.Host
	case t.Kind == HTTPS && t.ServerName != "":
		return t.ServerName
	case t.Kind == HTTP && t.Addr.Port() != 80, t.Kind == HTTPS && t.Addr.Port() != 443:
		return t.Addr.String()
	case t.Addr.Addr().Is6():
		return "[" + t.Addr.Addr().String() + "]"
	}
	return t.Addr.Addr().String()
}

// readStatus reads one answer up to the end of its header. Interim answers
// (RFC 9110, section 15.2) may come before it.
func readStatus(r *bufio.Reader) (int, error) {
	for range 5 {
		answer, err := http.ReadResponse(r, nil)
		if err != nil {
			return 0, err
		}
		if answer.StatusCode >= 200 || answer.StatusCode == http.StatusSwitchingProtocols {
			return answer.StatusCode, nil
		}
	}
	return 0, errors.New("too many interim answers")
}

func answerError(err error) error {
	if said := plain(err); said != err || isTimeout(err) {
		return said
	}
	return fmt.Errorf("the answer is not HTTP: %v", err)
}

// hangUp reads the rest of a short answer, so that the server can close first
// and does not log a connection reset. A long or slow one is left.
func hangUp(conn net.Conn) {
	conn.SetReadDeadline(time.Now().Add(bodyTime))
	io.CopyN(io.Discard, conn, bodyLimit)
}

func (t Target) judgeStatus(status int) error {
	good := t.Status
	if len(good) == 0 {
		good = []StatusRange{{200, 399}}
	}
	words := make([]string, len(good))
	for i, r := range good {
		if r.From <= status && status <= r.To {
			return nil
		}
		words[i] = r.String()
	}
	return fmt.Errorf("status %d, want %s", status, strings.Join(words, ", "))
}
