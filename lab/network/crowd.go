package network

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// The kinds of clients in a Crowd.
const (
	Short     = "short requests"      // each on a connection of its own, from a port of its own
	SamePort  = "ports used again"    // the same, but from one of a few ports that are used over and over, as a busy NAT does
	KeptAlive = "kept-alive requests" // one after the other on a connection, until the server closes it in order
	Download  = "downloads"           // of something long, whose every byte is looked at
)

// Reply is what came of one request of a crowd. A download that broke has the
// Node that it came from.
type Reply struct {
	Answer
	Kind string
	From netip.Addr
	// Crossed: the server closed a kept-alive connection in order as the request
	// came, so the client asks again on another (RFC 9112, 9.3.1). It is no error,
	// and Node is who had answered before.
	Crossed bool
}

// Replies are what came of the requests of a crowd.
type Replies []Reply

// Of are the answers to requests of one kind, without those that crossed.
func (rs Replies) Of(kind string) Answers {
	var all Answers
	for _, r := range rs {
		if r.Kind == kind && !r.Crossed {
			all = append(all, r.Answer)
		}
	}
	return all
}

var (
	errUnanswered = errors.New("closed without an answer")
	errCrossed    = errors.New("closed as the request came")
)

// Crowd is clients of every kind, on a host, of what port 80 of one address
// serves: each answers the name of the node that served it, and closes in order
// if at all.
type Crowd struct {
	host *Host
	of   netip.Addr
	from []netip.Addr
	stop chan struct{}
	over sync.WaitGroup
	port atomic.Uint32

	mu      sync.Mutex
	replies Replies
}

// How much a crowd asks for, and how long its clients wait for an answer, or for
// more of it: longer than a machine may stall.
const (
	shortEvery     = 300 * time.Millisecond
	samePorts      = 10
	firstSamePort  = 5001
	samePortEvery  = 2 * time.Second
	keptAliveEvery = 800 * time.Millisecond // by each client
	crowdPatience  = 15 * time.Second
)

// StartCrowd has clients with each of the addresses, which the host must have,
// ask what is served at an address.
func (h *Host) StartCrowd(of netip.Addr, from []netip.Addr) *Crowd {
	c := &Crowd{host: h, of: of, from: from, stop: make(chan struct{})}
	c.over.Go(func() {
		var requests sync.WaitGroup
		defer requests.Wait()
		for i := 0; c.again(shortEvery); i++ {
			requests.Go(func() { c.short(Short, netip.AddrPortFrom(c.client(i), c.nextPort())) })
		}
	})
	for i := range samePorts {
		c.over.Go(func() {
			for c.again(samePortEvery) {
				c.short(SamePort, netip.AddrPortFrom(c.client(i), uint16(firstSamePort+i)))
			}
		})
	}
	for _, client := range from {
		c.over.Go(func() {
			for c.again(0) {
				c.keepAlive(client)
			}
		})
	}
	return c
}

// Download has every client fetch a path, which must be of these bytes, and
// returns once they have begun: the names of the nodes that they come from.
func (c *Crowd) Download(path string, want []byte) (nodes []string) {
	begun := make(chan string)
	for _, client := range c.from {
		c.over.Go(func() { c.download(client, path, want, begun) })
	}
	for range c.from {
		nodes = append(nodes, <-begun)
	}
	return nodes
}

// Stop ends the crowd, waits for what is under way and returns all replies.
func (c *Crowd) Stop() Replies {
	close(c.stop)
	c.over.Wait()
	return c.replies
}

// SoFar are the replies that have come in.
func (c *Crowd) SoFar() Replies {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.replies)
}

func (c *Crowd) client(i int) netip.Addr { return c.from[i%len(c.from)] }

// nextPort is none that a client has used of late.
func (c *Crowd) nextPort() uint16 { return uint16(firstPort + c.port.Add(1)%ports) }

// again waits, and is false once the crowd has been stopped.
func (c *Crowd) again(after time.Duration) bool {
	select {
	case <-c.stop:
		return false
	case <-time.After(after):
		return true
	}
}

func (c *Crowd) note(kind string, from netip.Addr, sent time.Time, node string, err error) {
	r := Reply{Answer: Answer{Sent: sent, Took: time.Since(sent), Node: node}, Kind: kind, From: from}
	r.Crossed = errors.Is(err, errCrossed)
	if err != nil && !r.Crossed {
		r.Error = inAWord(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.replies = append(c.replies, r)
}

// dial opens a connection from an address and a port that an earlier connection
// may have had.
func (c *Crowd) dial(from netip.AddrPort) (conn net.Conn, err error) {
	d := net.Dialer{Timeout: crowdPatience, KeepAlive: -1, LocalAddr: net.TCPAddrFromAddrPort(from)}
	d.Control = func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
		})
		return errors.Join(err, failed)
	}
	err = c.host.Do(func() error {
		conn, err = d.DialContext(context.Background(), "tcp4", netip.AddrPortFrom(c.of, 80).String())
		return err
	})
	return conn, err
}

// short is one request on a connection of its own, which the server closes.
func (c *Crowd) short(kind string, from netip.AddrPort) {
	sent := time.Now()
	node, err := func() (string, error) {
		conn, err := c.dial(from)
		if err != nil {
			return "", err
		}
		defer conn.Close()
		node, _, err := c.ask(conn, bufio.NewReader(conn), "1.0")
		return node, err
	}()
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return // the last connection from this port is not over yet
	}
	c.note(kind, from.Addr(), sent, node, err)
}

// ask sends one request and reads the answer, which is the node's name.
func (c *Crowd) ask(conn net.Conn, in *bufio.Reader, version string) (node string, last bool, err error) {
	if err := conn.SetDeadline(time.Now().Add(crowdPatience)); err != nil {
		return "", false, err
	}
	r, err := c.get(conn, in, "/", version)
	if err != nil {
		return "", false, err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	return strings.TrimSpace(string(body)), r.Close, err
}

func (c *Crowd) get(conn net.Conn, in *bufio.Reader, path, version string) (*http.Response, error) {
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/%s\r\nHost: %s\r\n\r\n", path, version, ServerName); err != nil {
		return nil, err
	}
	// What the server had closed before the request came says EPIPE once that is
	// known (tcp_reset in net/ipv4/tcp_input.c).
	switch _, err := in.Peek(1); {
	case errors.Is(err, io.EOF), errors.Is(err, syscall.EPIPE):
		return nil, fmt.Errorf("%w: %w", errUnanswered, err)
	case err != nil:
		return nil, err // a reset, which is told once
	}
	r, err := http.ReadResponse(in, nil)
	if err == nil && r.StatusCode != http.StatusOK {
		r.Body.Close()
		return nil, errors.New(r.Status)
	}
	return r, err
}

// keepAlive asks on one connection until the server closes it. That it may do
// between two requests, or after an answer that says so.
func (c *Crowd) keepAlive(client netip.Addr) {
	sent := time.Now()
	conn, err := c.dial(netip.AddrPortFrom(client, c.nextPort()))
	if err != nil {
		c.note(KeptAlive, client, sent, "", err)
		c.again(keptAliveEvery)
		return
	}
	defer conn.Close()
	in, before := bufio.NewReader(conn), ""
	for {
		node, last, err := c.ask(conn, in, "1.1")
		if before != "" && errors.Is(err, errUnanswered) {
			node, err = before, errCrossed
		}
		c.note(KeptAlive, client, sent, node, err)
		if err != nil || last {
			return
		}
		before = node
		if closed, err := closedWithin(conn, in, keptAliveEvery); closed || err != nil {
			if err != nil {
				c.note(KeptAlive, client, sent, node, err)
			}
			return
		}
		if !c.again(0) {
			return
		}
		sent = time.Now()
	}
}

// closedWithin waits, and tells whether the server has closed the connection in
// order. Anything else that came in between is an error.
func closedWithin(conn net.Conn, in *bufio.Reader, wait time.Duration) (closed bool, err error) {
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return false, err
	}
	_, err = in.Peek(1)
	var netErr net.Error
	switch {
	case err == nil:
		return false, errors.New("an answer to nothing")
	case errors.Is(err, io.EOF):
		return true, nil
	case errors.As(err, &netErr) && netErr.Timeout():
		return false, nil
	}
	return false, err
}

// download fetches something long, and says where from once that is known. It
// gives up when nothing comes for long.
func (c *Crowd) download(client netip.Addr, path string, want []byte, begun chan<- string) {
	sent := time.Now()
	conn, r, err := c.begin(client, path)
	if err != nil {
		begun <- ""
		c.note(Download, client, sent, "", err)
		return
	}
	defer conn.Close()
	defer r.Body.Close()
	node := r.Header.Get("Node")
	begun <- node
	c.note(Download, client, sent, node, same(conn, r.Body, want))
}

func (c *Crowd) begin(client netip.Addr, path string) (net.Conn, *http.Response, error) {
	conn, err := c.dial(netip.AddrPortFrom(client, c.nextPort()))
	if err != nil {
		return nil, nil, err
	}
	err = conn.SetDeadline(time.Now().Add(crowdPatience))
	var r *http.Response
	if err == nil {
		r, err = c.get(conn, bufio.NewReader(conn), path, "1.0")
	}
	if err != nil {
		conn.Close()
	}
	return conn, r, err
}

// same reads to the end what must be these bytes.
func same(conn net.Conn, from io.Reader, want []byte) error {
	part := make([]byte, 32<<10)
	for at := 0; ; {
		if err := conn.SetReadDeadline(time.Now().Add(crowdPatience)); err != nil {
			return err
		}
		n, err := from.Read(part)
		if at+n > len(want) || !bytes.Equal(part[:n], want[at:at+n]) {
			return errors.New("other bytes than were served")
		}
		at += n
		switch {
		case err == io.EOF && at < len(want):
			return io.ErrUnexpectedEOF
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}
