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
	// mostBare is how many connections may be answered that are not held.
	mostBare = 256
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
	n      int // bytes of it that were read
	whole  int // of them, the head of the request
	out    []byte
	r      Request
	a      Answer
	failed error
}

// Serve answers what comes in by a TCP listener until Stop, and then returns nil.
// What it has accepted by then is still to be answered: see Finish.
func (s *Server) Serve(l net.Listener) error { return s.open.serve(l, s.Allow, s.greet) }

// Stop has Serve accept nothing more. The listener stays the caller's to close.
func (s *Server) Stop() { s.open.stop() }

// Finish waits for what was accepted to be answered, at most until the limit;
// then it is hung up on. Serve must have returned.
func (s *Server) Finish(limit time.Duration) { s.open.finish(limit) }

// greet has a connection answered: at once, if its question is there.
func (s *Server) greet(c *connection) {
	x, _ := s.exchanges.Get().(*exchange)
	if x == nil {
		x = new(exchange)
	}
	x.r = Request{From: c.from}
	x.a.reset()
	x.n, x.whole = 0, 0
	done, err := x.take(c.tryRead(x.in[:]))
	if err != nil { // nobody is there to hear of it
		s.exchanges.Put(x)
		s.open.end(c)
		return
	}
	if !done || !s.open.bear(c) {
		s.open.hold(c)
	}
	go func() {
		if done || x.read(c) == nil {
			s.answer(c, x)
		}
		s.exchanges.Put(x)
		s.open.end(c)
	}()
}

// take notes what was read. Done says that there is no more to read: the head is
// whole, of the length whole, or what came is no head, and that is 0.
func (x *exchange) take(got int, err error) (done bool, failed error) {
	x.n += got
	whole, garbage := head(x.in[:x.n])
	switch {
	case whole > 0 || garbage != nil || x.n == len(x.in):
		x.whole = whole
		return true, nil
	case err == io.EOF && x.n > 0:
		x.whole = x.n // it has said all that it has to say
		return true, nil
	}
	return false, err
}

// read reads the rest of the head from a connection that is held.
func (x *exchange) read(c *connection) error {
	c.by(time.Now().Add(askTime))
	for {
		done, err := x.take(c.file.Read(x.in[x.n:]))
		if done || err != nil {
			return err
		}
	}
}

// answer answers the one request of a connection.
func (s *Server) answer(c *connection, x *exchange) {
	more := x.ask(s)
	x.out = x.a.write(x.out[:0], &x.r, time.Now())
	if s.write(c, x.out) != nil {
		return
	}
	if s.Answered != nil && x.failed == nil {
		s.Answered(&x.r, &x.a)
	}
	if !more {
		return
	}
	if !c.held() {
		s.open.hold(c)
	}
	c.linger(x.in[:])
}

// write gives the kernel an answer to send, all in one piece if that has room.
func (s *Server) write(c *connection, answer []byte) error {
	if !c.held() {
		n, err := c.tryWrite(answer)
		if err != nil || n == len(answer) {
			return err
		}
		s.open.hold(c)
		answer = answer[n:]
	}
	c.by(time.Now().Add(answerTime))
	_, err := c.file.Write(answer)
	return err
}

// ask has the request answered. More says that the client may be sending still.
func (x *exchange) ask(s *Server) (more bool) {
	x.failed = nil
	switch {
	case x.whole == 0 && x.n == len(x.in):
		x.failed = errGarbage
		x.a.Line(http.StatusRequestHeaderFieldsTooLarge, "the request is too long")
		return true
	case x.whole == 0:
		x.failed = errGarbage
	default:
		x.failed = x.r.parse(x.in[:x.whole])
	}
	if x.failed != nil {
		x.a.Line(http.StatusBadRequest, x.failed.Error())
		return true
	}
	s.Answer(&x.r, &x.a)
	return x.n > x.whole || x.r.hasBody()
}
