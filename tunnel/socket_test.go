package tunnel

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

func TestAnsweredIsNotWhatMayBeAQuestion(t *testing.T) {
	const ms = time.Millisecond
	near := func(sent, received time.Duration) socket {
		return socket{sent: sent * ms, received: received * ms, counted: true, said: 100, nearest: ms / 5}
	}
	far := near(900, 900)
	far.nearest = 11 * ms
	unmeasured := near(900, 900)
	unmeasured.nearest = 0
	// The times of each look are those of the socket, unless it is settled.
	later := func(looks ...look) []look { return looks }
	settled := look{said: 50, heard: 5, told: 5, bare: 3, settled: true}
	for _, test := range []struct {
		name  string
		s     socket
		looks []look
		want  bool
	}{
		{"answered later than asked", near(900, 904), nil, true},
		{"asked later than answered", near(904, 900), nil, false},
		{"in the same tick", near(900, 900), nil, false},
		{"in the same tick, by a client too far away to have asked again", far, nil, true},
		{"in the same tick, by a client that may be anywhere", unmeasured, nil, false},
		{"a kernel that says nothing", socket{sent: -1, received: -1}, nil, false},
		{"never anything said", socket{sent: 900 * ms, received: 900 * ms, counted: true}, nil, true},
		{"never anything said, and nothing sent for longer", socket{sent: 904 * ms, received: 900 * ms, counted: true}, nil, true},
		{"seen before the question, which took no acknowledgement of its own", near(5000, 5000), later(look{said: 50, bare: 3}, look{said: 100, bare: 3}), true},
		{"seen before the question, which took one", near(5000, 5000), later(look{said: 50, bare: 3}, look{said: 100, bare: 4}), false},
		{"an acknowledgement may be to come", near(500, 500), later(look{said: 50, bare: 3}, look{said: 100, bare: 3}), false},
		{"not seen before the question", near(5000, 5000), later(look{said: 100, bare: 3}, look{said: 100, bare: 3}), false},
		{"answered, and a keep-alive was sent since", near(5000, 5000), later(look{said: 50, bare: 3}, look{said: 100, bare: 3}, look{said: 100, bare: 4}), true},
		{"answered, and asked again", near(5000, 5000), later(look{said: 50, bare: 3}, look{said: 100, bare: 3}, look{said: 120, bare: 4}), false},
		{"asked once since all was answered, and something was sent", near(500, 500), later(settled, look{said: 100, heard: 6, told: 6, bare: 4}), true},
		{"asked once since, and nothing was sent", near(500, 500), later(settled, look{said: 100, heard: 6, told: 5, bare: 4}), false},
		{"asked once since, and later than anything was sent", near(504, 500), later(settled, look{said: 100, heard: 6, told: 6, bare: 4}), false},
		{"asked twice since", near(500, 500), later(settled, look{said: 100, heard: 7, told: 6, bare: 4}), false},
		{"asked once since, when a question waited", near(500, 500), later(look{said: 50, heard: 5, told: 5, bare: 3}, look{said: 100, heard: 6, told: 6, bare: 4}), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var p past
			if len(test.looks) == 0 {
				p = p.next(test.s, false)
			}
			for i, l := range test.looks {
				s := test.s
				s.said, s.heard, s.told, s.bare = l.said, l.heard, l.told, l.bare
				if l.settled {
					s.sent = s.received - 10*ms
				}
				p = p.next(s, i > 0)
			}
			if p.answered != test.want {
				t.Errorf("answered: %v, want %v", p.answered, test.want)
			}
		})
	}
}

func TestSilentIsWhatWasReadAndHasArrived(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		name string
		s    socket
		want time.Duration
	}{
		{"silent", socket{sent: 900 * ms, received: 904 * ms}, 900 * ms},
		{"not read yet", socket{sent: 900 * ms, received: 904 * ms, unread: 1}, 0},
		{"not arrived yet", socket{sent: 900 * ms, received: 904 * ms, unacknowledged: 1}, 0},
		{"a kernel that says nothing", socket{sent: -1, received: -1}, 0},
	} {
		if got := test.s.silentFor(); got != test.want {
			t.Errorf("%s: silent for %v, want %v", test.name, got, test.want)
		}
	}
}

func TestIdleIsWhatWasAnsweredAndIsSilent(t *testing.T) {
	const idle = 150 * time.Millisecond
	ask := func(s site, l net.Listener) (c, server *net.TCPConn) {
		c = s.dial(client, vip1, portOf(l))
		server = s.accept(l)
		_, err := c.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
		must(s.t, err)
		_, err = server.Read(make([]byte, 100))
		must(s.t, err)
		return c, server
	}
	for _, test := range []struct {
		name string
		do   func(s site, l net.Listener)
		want Connections
	}{
		{"answered, and silent since", func(s site, l net.Listener) {
			_, server := ask(s, l)
			time.Sleep(idle / 10) // more than a tick
			server.Write([]byte("answer"))
			time.Sleep(2 * idle)
		}, Connections{Idle: 1}},
		{"nothing was ever said", func(s site, l net.Listener) {
			s.dial(client, vip1, portOf(l))
			time.Sleep(2 * idle)
		}, Connections{Idle: 1}},
		{"answered just now", func(s site, l net.Listener) {
			_, server := ask(s, l)
			server.Write([]byte("answer"))
		}, Connections{Established: 1}},
		{"asked, and not answered yet", func(s site, l net.Listener) {
			ask(s, l)
			time.Sleep(2 * idle)
		}, Connections{Established: 1}},
		{"answered, and asked again", func(s site, l net.Listener) {
			c, server := ask(s, l)
			server.Write([]byte("answer"))
			time.Sleep(2 * idle)
			c.Write([]byte("again"))
			time.Sleep(2 * idle)
		}, Connections{Established: 1}},
		{"an answer that the client does not read", func(s site, l net.Listener) {
			_, server := ask(s, l)
			server.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
			server.Write(make([]byte, 8<<20))
			time.Sleep(2 * idle)
		}, Connections{Established: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t)
			l := s.listen("tcp", "[::]:0", nil)
			census := s.vip1Census(idle)
			test.do(s, l)
			if got, err := census.Count(); err != nil || got != test.want {
				t.Errorf("got %+v, %v, want %+v", got, err, test.want)
			}
		})
	}
}

// talk is a client on the same network, such as a proxy, that asks again and again
// over one connection, and at last keeps silent.
type talk struct {
	question  int  // its length
	exchanges int  // before the last
	waits     bool // the last question comes with the answer before it, and gets no answer
}

// The proxy's questions and their answers are of the same tick of the kernel's clock,
// nearly always. Whatever it does, a question without an answer is waited for; and
// where it can be told that the last one was answered, nobody waits.
func TestAProxysConnectionIsIdleOnlyWhenItsLastQuestionWasAnswered(t *testing.T) {
	const each, idle = 60, 1500 * time.Millisecond
	const nobody, itself, another = "nobody", "itself", "another"
	for _, test := range []struct {
		name string
		talk talk
		seen string // before the last question, by whom
		want bool   // idle
	}{
		{"answered", talk{question: 200, exchanges: 5}, itself, true},
		{"answered, and seen before by another", talk{question: 200, exchanges: 5}, another, true},
		{"waiting", talk{question: 200, exchanges: 5, waits: true}, itself, false},
		{"waiting since the first question", talk{question: 200, waits: true}, itself, false},
		{"waiting, and seen before by another", talk{question: 200, exchanges: 5, waits: true}, another, false},
		{"waiting, not seen before", talk{question: 200, exchanges: 5, waits: true}, nobody, false},
		{"waiting after long questions", talk{question: 300_000, exchanges: 3, waits: true}, itself, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			l := s.listen("tcp", "[::]:0", nil)
			census, other := s.vip1Census(idle), s.vip1Census(idle)
			var talks sync.WaitGroup
			errs := make(chan error, 2*each)
			for range each {
				c := s.dial(client, vip1, portOf(l))
				server := s.accept(l)
				must(t, keepAlive(server))
				talks.Go(func() { errs <- test.talk.answer(server) })
				talks.Go(func() { errs <- test.talk.ask(c) })
			}
			done := make(chan struct{})
			go func() { talks.Wait(); close(done) }()
			look := func(c *Census) Connections {
				t.Helper()
				got, err := c.Count()
				must(t, err)
				if test.talk.waits && got.Idle > 0 {
					t.Errorf("%d are taken for idle", got.Idle)
				}
				return got
			}
			for running := true; running; {
				switch test.seen {
				case itself:
					look(census)
				case another:
					look(other)
				}
				select {
				case <-done:
					running = false
				case <-time.After(5 * time.Millisecond):
				}
			}
			census.Recall(other)
			close(errs)
			for err := range errs {
				must(t, err)
			}
			var got Connections
			for end := time.Now().Add(2 * idle); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
				got = look(census)
			}
			// Where the machine was too busy to answer at once, it may be unclear.
			if got.Idle+got.Established != each || test.want != (got.Idle > each*3/4) {
				t.Errorf("got %+v of %d, want idle: %v", got, each, test.want)
			}
		})
	}
}

func (s site) vip1Census(idle time.Duration) *Census {
	return s.h.Census([]netip.AddrPort{netip.MustParseAddrPort(vip1 + ":0")}, idle)
}

// keepAlive has the kernel ask as soon as it can whether the other end is there.
func keepAlive(c *net.TCPConn) error {
	return c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 9})
}

var answer = make([]byte, 300)

// answer answers all questions but one that is not to be.
func (k talk) answer(c net.Conn) error {
	question := make([]byte, k.question)
	for i := range k.exchanges + 1 {
		if _, err := io.ReadFull(c, question); err != nil {
			return err
		}
		if k.waits && i == k.exchanges {
			return nil
		}
		if _, err := c.Write(answer); err != nil {
			return err
		}
	}
	return nil
}

// ask asks, now and then after a rest.
func (k talk) ask(c net.Conn) error {
	question, got := make([]byte, k.question), make([]byte, len(answer))
	for i := range k.exchanges + 1 {
		last := i == k.exchanges
		switch {
		case !last:
			time.Sleep(rand.N(30 * time.Millisecond))
		case !k.waits:
			time.Sleep(200 * time.Millisecond) // there is a look
		}
		if _, err := c.Write(question); err != nil {
			return err
		}
		if last && k.waits {
			return nil
		}
		if _, err := io.ReadFull(c, got); err != nil {
			return fmt.Errorf("question %d: %w", i, err)
		}
	}
	return nil
}
