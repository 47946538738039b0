// Package answer is the HTTP server that the directors ask: one request a
// connection, answered in one piece and then closed.
//
// It is not net/http, which answers 400 to HTTP/1.1 without a Host (HAProxy's
// httpchk, nanny), before any handler is asked, and to lines that end by LF; has
// no bound on its connections, so that idle ones take every file descriptor; and
// takes some thirty allocations for what is a few hundred bytes each way.
package answer

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// What one connection may take. A director asks for a few hundred bytes at once;
// whoever takes longer holds a connection for nothing.
const (
	maxHead    = 4 << 10
	askTime    = 2 * time.Second // from the connection to the end of the head
	answerTime = 5 * time.Second // to take the answer
	// lingerTime and maxLinger are for what a client still sends when it has its
	// answer: to close before that is read would take the answer away from it
	// (RFC 9112, section 9.6).
	lingerTime = 500 * time.Millisecond
	maxLinger  = 256 << 10
	// maxOpen is how many connections may be open; for one more, the oldest is
	// closed. One that asks at once, as a director does, is never old.
	maxOpen = 1024
	// restTime is how long no connection is accepted when the kernel has none to
	// give, such as for want of a file descriptor.
	restTime = 5 * time.Millisecond
)

// Server answers on a listener. Its fields are set before Serve and may be
// called concurrently.
type Server struct {
	Allow    func(netip.Addr) bool   // who may not ask is hung up on before a word is read
	Answer   func(*Request, *Answer) // fills an answer, which is 200 and empty at first
	Answered func(*Request, *Answer) // what was given to the kernel to send; nil: nobody wants to know

	exchanges sync.Pool
	open      connections
}

// exchange is the memory of one question and its answer.
type exchange struct {
	in     [maxHead]byte
	out    []byte
	r      Request
	a      Answer
	failed error
}

// Serve answers until the listener is closed, and then returns nil. What it has
// accepted by then is still to be answered: see Finish.
func (s *Server) Serve(l net.Listener) error { return s.open.serve(l, s.Allow, s.serve) }

// Finish waits for what was accepted to be answered, at most until the limit;
// then it is hung up on. Serve must have returned.
func (s *Server) Finish(limit time.Duration) { s.open.finish(limit) }

// serve answers the one request of a connection.
func (s *Server) serve(c net.Conn, from netip.Addr) {
	x, _ := s.exchanges.Get().(*exchange)
	if x == nil {
		x = new(exchange)
	}
	defer s.exchanges.Put(x)
	x.r = Request{From: from}
	x.a.reset()
	start := time.Now()
	c.SetDeadline(start.Add(askTime)) // fails on a closed connection only, as a read does
	n, whole, failed := x.read(c)
	if failed != nil {
		return // nobody is there to hear of it
	}
	rest := x.ask(s, n, whole)
	x.out = x.a.write(x.out[:0], &x.r, time.Now())
	if len(x.out) > maxHead {
		c.SetWriteDeadline(time.Now().Add(answerTime))
	}
	if _, err := c.Write(x.out); err != nil {
		return
	}
	if s.Answered != nil && x.failed == nil {
		s.Answered(&x.r, &x.a)
	}
	if rest {
		linger(c, x.in[:])
	}
}

// read reads until the head is whole: n bytes, of which whole are the head; 0 if
// what came is no head, and nothing more is to be read.
func (x *exchange) read(c io.Reader) (n, whole int, err error) {
	for {
		got, err := c.Read(x.in[n:])
		n += got
		whole, garbage := head(x.in[:n])
		switch {
		case whole > 0 || garbage != nil || n == len(x.in):
			return n, whole, nil
		case err == io.EOF && n > 0:
			return n, n, nil // it has said all that it has to say
		case err != nil:
			return n, 0, err
		}
	}
}

// ask has the request answered. More says that the client may be sending still.
func (x *exchange) ask(s *Server, n, whole int) (more bool) {
	x.failed = nil
	switch {
	case whole == 0 && n == len(x.in):
		x.failed = errGarbage
		x.a.Line(http.StatusRequestHeaderFieldsTooLarge, "the request is too long")
		return true
	case whole == 0:
		x.failed = errGarbage
	default:
		x.failed = x.r.parse(x.in[:whole])
	}
	if x.failed != nil {
		x.a.Line(http.StatusBadRequest, x.failed.Error())
		return true
	}
	s.Answer(&x.r, &x.a)
	return n > whole || x.r.hasBody()
}

// linger ends the answer and reads what still comes.
func linger(c net.Conn, into []byte) {
	half, ok := c.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	c.SetReadDeadline(time.Now().Add(lingerTime))
	for left := maxLinger; left > 0; {
		n, err := c.Read(into)
		if left -= n; err != nil {
			return
		}
	}
}
