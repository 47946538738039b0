package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// Sink is a web server that reads all that it is sent and answers how many
// bytes that were.
type Sink struct {
	server   *http.Server
	received atomic.Int64
}

// StartSink starts a sink on a port of the host.
func (h *Host) StartSink(port int) (*Sink, error) {
	s := &Sink{}
	s.server = &http.Server{Handler: s}
	var listener net.Listener
	err := h.Do(func() (err error) {
		listener, err = net.Listen("tcp4", fmt.Sprintf(":%d", port))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot start a sink on %s: %v", h.Name, err)
	}
	go s.server.Serve(listener) // until Close
	return s, nil
}

// ServeHTTP reads one upload.
func (s *Sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(counted{&s.received}, r.Body)
	if err != nil {
		return // the sender is gone
	}
	fmt.Fprintln(w, n)
}

// Received is how many bytes all uploads together have brought so far.
func (s *Sink) Received() int64 { return s.received.Load() }

// Close ends it, and the uploads that are under way.
func (s *Sink) Close() error { return s.server.Close() }

type counted struct{ bytes *atomic.Int64 }

func (c counted) Write(p []byte) (int, error) {
	c.bytes.Add(int64(len(p)))
	return len(p), nil
}

// Upload is a body on its way to the VIP.
type Upload struct {
	conn *net.TCPConn
	done chan struct{} // closed at the end
	err  error
}

// StartUpload sends so many bytes from the host to a sink on a port of the VIP.
func (h *Host) StartUpload(port int, size int64) (*Upload, error) {
	conn, err := h.Dial(fmt.Sprintf("%s:%d", VIP, port), 0, requestTimeout)
	if err != nil {
		return nil, fmt.Errorf("cannot upload from %s: %v", h.Name, err)
	}
	u := &Upload{conn: conn.(*net.TCPConn), done: make(chan struct{})}
	go func() {
		defer close(u.done)
		defer conn.Close()
		u.err = u.send(size)
	}()
	return u, nil
}

func (u *Upload) send(size int64) error {
	client := http.Client{Transport: &http.Transport{
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return u.conn, nil },
		DisableKeepAlives: true,
	}}
	body := io.LimitReader(zeros{}, size)
	r, err := client.Post("http://"+ServerName+"/", "application/octet-stream", body)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(r.Body)
	if got := strings.TrimSpace(string(answer)); err == nil && got != fmt.Sprint(size) {
		err = fmt.Errorf("the sink answered %q to %d bytes", got, size)
	}
	return err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// ErrStalled tells that an upload gets no further.
var ErrStalled = errors.New("the upload gets no further")

// Wait waits for the end of the upload. If nothing of it comes to the sink for
// so long, it ends it and fails with ErrStalled.
func (u *Upload) Wait(s *Sink, patience time.Duration) error {
	first, since := s.Received(), time.Now()
	last := first
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-u.done:
			return u.err
		case <-tick.C:
		}
		if now := s.Received(); now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) > patience {
			// At once: the kernel would go on to send what is left for minutes.
			err := errors.Join(u.conn.SetLinger(0), u.conn.Close())
			<-u.done
			if err != nil {
				return err
			}
			return fmt.Errorf("%w: nothing came for %v, and before that %d bytes", ErrStalled, patience, last-first)
		}
	}
}
