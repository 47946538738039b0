//go:build lab

package unit

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"rsagent/lab/network"
)

// asker asks for /ready again and again, each time with a new connection, and
// does not wait for one answer before the next question.
type asker struct {
	node *network.Host
	stop chan struct{}
	over sync.WaitGroup

	mu      sync.Mutex
	answers []answer
}

type answer struct {
	sent time.Time
	took time.Duration
	text string // "200 ready", or why there is none
}

const (
	// pace is how long an asker rests between two questions. It asks no more
	// while askedAtOnce are not answered: they wait for the same.
	pace        = 5 * time.Millisecond
	askedAtOnce = 20
	// askLimit is how long it waits for an answer.
	askLimit = 20 * time.Second
)

func ask(from, node *network.Host) *asker {
	a := &asker{node: node, stop: make(chan struct{})}
	a.over.Go(func() {
		// One thread connects, and stays in the host's network all the while.
		err := from.Do(func() error { a.askOn(); return nil })
		if err != nil {
			a.note(answer{sent: time.Now(), text: err.Error()})
		}
	})
	return a
}

func (a *asker) askOn() {
	dialer := net.Dialer{Timeout: askLimit, KeepAlive: -1}
	waiting := make(chan struct{}, askedAtOnce)
	for {
		select {
		case <-a.stop:
			return
		case waiting <- struct{}{}:
		}
		sent := time.Now()
		conn, err := dialer.Dial("tcp4", readyAddress(a.node))
		if err != nil {
			a.note(answer{sent, time.Since(sent), why(err)})
			<-waiting
		} else {
			a.over.Go(func() {
				text, err := ready(conn)
				if err != nil {
					text = why(err)
				}
				a.note(answer{sent, time.Since(sent), text})
				<-waiting
			})
		}
		time.Sleep(pace)
	}
}

func (a *asker) note(n answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers = append(a.answers, n)
}

// end waits for what was asked and returns all, in the order of sending.
func (a *asker) end() []answer {
	close(a.stop)
	a.over.Wait()
	slices.SortFunc(a.answers, func(x, y answer) int { return x.sent.Compare(y.sent) })
	return a.answers
}

func readyAddress(node *network.Host) string { return net.JoinHostPort(node.Addr.String(), "9380") }

// askOnce asks once from a host.
func askOnce(from, node *network.Host) (string, error) {
	conn, err := from.Dial(readyAddress(node), 0, askLimit)
	if err != nil {
		return "", err
	}
	return ready(conn)
}

// ready asks for /ready on a connection, and closes it.
func ready(conn net.Conn) (string, error) {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(askLimit)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, "GET /ready HTTP/1.0\r\n\r\n"); err != nil {
		return "", err
	}
	said, err := io.ReadAll(conn)
	if err != nil {
		return "", err
	}
	head, body, _ := strings.Cut(string(said), "\r\n\r\n")
	words := strings.Fields(head)
	if len(words) < 2 {
		return "", fmt.Errorf("it is no HTTP: %q", said)
	}
	return words[1] + " " + strings.TrimSpace(body), nil
}

func why(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET):
		return "reset"
	}
	return err.Error()
}

// summary says how often each answer came, and how long the slowest took.
func summary(answers []answer) (counts map[string]int, slowest time.Duration) {
	counts = make(map[string]int)
	for _, a := range answers {
		counts[a.text]++
		slowest = max(slowest, a.took)
	}
	return counts, slowest
}
