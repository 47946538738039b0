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
	return t.ask(ctx, conn)
}

// ask sends the request over conn and judges the status of the answer. The
// request is written by hand rather than by net/http's Transport: everything
// stays in this goroutine and ends with it, nothing is followed, retried or
// kept, and no environment variable has a say.
func (t Target) ask(ctx context.Context, conn net.Conn) error {
	request, err := t.request()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return answerError(err)
	}
	head := &headReader{conn: conn, left: headLimit}
	answer, err := readAnswer(bufio.NewReaderSize(head, 1024))
	if head.err != nil && err != nil {
		return answerError(head.err) // net/http says "malformed" of a line that was cut off.
	}
	if err != nil {
		return answerError(err)
	}
	finish(ctx, conn, answer.Body)
	return t.judgeStatus(answer.StatusCode)
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

// headReader reads no more of an answer than is good for a probe, and keeps the
// error that ended it.
type headReader struct {
	conn net.Conn
	left int
	err  error
}

func (r *headReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		r.err = fmt.Errorf("longer than %d KiB before its body", headLimit>>10)
		return 0, r.err
	}
	n, err := r.conn.Read(p[:min(len(p), r.left)])
	r.left -= n
	r.err = err
	return n, err
}

// readAnswer reads one answer up to the end of its header. Interim answers
// (RFC 9110, section 15.2) may come before it.
func readAnswer(r *bufio.Reader) (*http.Response, error) {
	for range 5 {
		answer, err := http.ReadResponse(r, nil)
		if err != nil {
			return nil, err
		}
		if answer.StatusCode >= 200 || answer.StatusCode == http.StatusSwitchingProtocols {
			return answer, nil
		}
	}
	return nil, errors.New("too many interim answers")
}

func answerError(err error) error {
	if said, ok := plain(err); ok {
		return said
	}
	return fmt.Errorf("the answer is not good HTTP: %s", clip(err.Error()))
}

// clip makes text of the service's own fit for a Detail.
func clip(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// finish reads the rest of a short answer, so that the server can close first
// and does not log a connection reset. A long or slow one is left.
func finish(ctx context.Context, conn net.Conn, body io.Reader) {
	enough := time.Now().Add(bodyTime)
	if end, ok := ctx.Deadline(); ok && end.Before(enough) {
		enough = end
	}
	conn.SetReadDeadline(enough)
	io.CopyN(io.Discard, body, bodyLimit)
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
