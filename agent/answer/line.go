package answer

import (
	"bytes"
	"net"
	"net/netip"
	"sync"
	"time"
)

// LineServer answers HAProxy's agent-check: one line to each connection, which
// may say something first (agent-send). Its fields are set before Serve and may
// be called concurrently.
type LineServer struct {
	Allow    func(netip.Addr) bool   // who may not ask is hung up on before a word is read
	Answer   func(*Request, *Answer) // fills the body, with its line end; Path is what was said, a line without its end
	Answered func(*Request, *Answer) // what was given to the kernel to send; nil: nobody wants to know

	exchanges sync.Pool
	open      connections
}

// saidTime is how long a client has to say what it wants to know. Most say
// nothing, and wait for as long.
const saidTime = 20 * time.Millisecond

// Serve answers what comes in by a TCP listener until Stop, and then returns nil.
// What it has accepted by then is still to be answered: see Finish.
func (s *LineServer) Serve(l net.Listener) error { return s.open.serve(l, s.Allow, s.greet) }

// Stop has Serve accept nothing more. The listener stays the caller's to close.
func (s *LineServer) Stop() { s.open.stop() }

// Finish waits for what was accepted to be answered, at most until the limit;
// then it is hung up on. Serve must have returned.
func (s *LineServer) Finish(limit time.Duration) { s.open.finish(limit) }

func (s *LineServer) greet(c *connection) {
	s.open.hold(c)
	go func() {
		s.serve(c)
		s.open.end(c)
	}()
}

func (s *LineServer) serve(c *connection) {
	x, _ := s.exchanges.Get().(*exchange)
	if x == nil {
		x = new(exchange)
	}
	defer s.exchanges.Put(x)
	x.a.reset()
	c.by(time.Now().Add(saidTime))
	n := 0
	for n < len(x.in) && bytes.IndexByte(x.in[:n], '\n') < 0 {
		got, err := c.file.Read(x.in[n:])
		n += got
		if err != nil {
			break // it has said what it has to say
		}
	}
	line, _, _ := bytes.Cut(x.in[:n], []byte{'\n'})
	x.r = Request{From: c.from, Path: bytes.TrimSpace(line)}
	s.Answer(&x.r, &x.a)
	c.by(time.Now().Add(answerTime))
	if _, err := c.file.Write(x.a.Body); err != nil {
		return
	}
	if s.Answered != nil {
		s.Answered(&x.r, &x.a)
	}
	if said := x.in[:n]; !bytes.HasSuffix(said, []byte{'\n'}) {
		c.linger(x.in[:]) // it may say something yet
	}
}
