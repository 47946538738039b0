package network

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Answer is what came of one request.
type Answer struct {
	Sent  time.Time
	Took  time.Duration
	Node  string // who answered; empty if none did
	Error string // why none did: "refused", "reset", "timeout" or in the kernel's words
}

// Answers are what came of a load, in the order of sending.
type Answers []Answer

// requestTimeout is after how long a client gives up. A first SYN that is lost
// is sent again after 1 s.
const requestTimeout = 3 * time.Second

// Requests take their source ports from these in turn, so that none is used
// again before 50000 others, and no director takes a request for an older
// connection.
const firstPort, ports = 10000, 50000

// Request opens a connection from the host to the VIP, asks for a path with
// HTTP/1.0 and reads the answer to its end.
func (h *Host) Request(path string) Answer { return h.answer(VIP, path, requestTimeout) }

// RequestOf is Request of any address, for whoever waits less or more.
func (h *Host) RequestOf(address netip.Addr, timeout time.Duration) Answer {
	return h.answer(address, "/", timeout)
}

// Download is Request for something large: it gives up only after a minute.
// The answer's Node is the body.
func (h *Host) Download(path string) Answer { return h.answer(VIP, path, time.Minute) }

func (h *Host) answer(of netip.Addr, path string, timeout time.Duration) Answer {
	a := Answer{Sent: time.Now()}
	port := uint16(firstPort + h.requests.Add(1)%ports)
	body, err := h.request(of, path, port, timeout)
	a.Took = time.Since(a.Sent)
	if err != nil {
		a.Error = inAWord(err)
		return a
	}
	a.Node = strings.TrimSpace(body)
	return a
}

func (h *Host) request(of netip.Addr, path string, from uint16, timeout time.Duration) (string, error) {
	deadline := time.Now().Add(timeout)
	conn, err := h.Dial(of.String()+":80", from, min(timeout, requestTimeout))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n", path, ServerName); err != nil {
		return "", err
	}
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = errors.New(r.Status)
	}
	return string(body), err
}

func inAWord(err error) string {
	var netErr net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return "timeout"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "cut off"
	default:
		return err.Error()
	}
}

// Requests sends a number of requests, each after the answer to the one before.
func (h *Host) Requests(n int) Answers {
	var all Answers
	for range n {
		all = append(all, h.Request("/"))
	}
	return all
}

// Load is a stream of requests that goes on until it is stopped.
type Load struct {
	stop chan struct{}
	over sync.WaitGroup

	mu      sync.Mutex
	answers Answers
}

// StartLoad sends so many new connections a second from the host to the VIP,
// whether or not earlier ones have been answered.
func (h *Host) StartLoad(perSecond int) *Load {
	return startLoad(perSecond, func() Answer { return h.Request("/") })
}

// StartDownloads is StartLoad of Download.
func (h *Host) StartDownloads(path string, perSecond int) *Load {
	return startLoad(perSecond, func() Answer { return h.Download(path) })
}

func startLoad(perSecond int, request func() Answer) *Load {
	l := &Load{stop: make(chan struct{})}
	l.over.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		for {
			select {
			case <-l.stop:
				return
			case <-tick.C:
				l.over.Go(func() { l.note(request()) })
			}
		}
	})
	return l
}

func (l *Load) note(a Answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers = append(l.answers, a)
}

// SoFar are the answers that have come in.
func (l *Load) SoFar() Answers {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.answers)
}

// Stop ends the load, waits for what is under way and returns all answers.
func (l *Load) Stop() Answers {
	close(l.stop)
	l.over.Wait()
	slices.SortFunc(l.answers, func(a, b Answer) int { return a.Sent.Compare(b.Sent) })
	return l.answers
}

// Failed are the answers that did not come.
func (as Answers) Failed() Answers {
	return slices.DeleteFunc(slices.Clone(as), func(a Answer) bool { return a.Error == "" })
}

// Between are the answers to requests sent from one moment to before another.
func (as Answers) Between(from, to time.Time) Answers {
	return slices.DeleteFunc(slices.Clone(as), func(a Answer) bool {
		return a.Sent.Before(from) || !a.Sent.Before(to)
	})
}

// ByNode counts the answers of each node.
func (as Answers) ByNode() map[string]int {
	count := make(map[string]int)
	for _, a := range as {
		if a.Error == "" {
			count[a.Node]++
		}
	}
	return count
}

// ByError counts the failures of each kind.
func (as Answers) ByError() map[string]int {
	count := make(map[string]int)
	for _, a := range as {
		if a.Error != "" {
			count[a.Error]++
		}
	}
	return count
}

// String sums the answers up in a line: "30 sent, 28 answered (web1 14, web2
// 14), 2 failed (refused 2)".
func (as Answers) String() string {
	failed := len(as.Failed())
	return fmt.Sprintf("%d sent, %d answered%s, %d failed%s",
		len(as), len(as)-failed, inBrackets(as.ByNode()), failed, inBrackets(as.ByError()))
}

func inBrackets(count map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(count)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, count[name]))
	}
	if parts == nil {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}
