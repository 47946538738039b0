package through

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unicode"
)

// WeightHeader is the field of the answer to /ready in which a node says how much
// of its full weight it wants, a whole number of percent from 0 to 100. Without it,
// all.
const WeightHeader = "Rsagent-Weight"

// readiness is what a node says of itself.
type readiness struct {
	state  State
	weight int    // percent
	text   string // for people
	deaf   bool   // the node did not answer at all, good or bad
}

// at puts the node's address where a URL has no host.
func at(u *url.URL, node netip.Addr) *url.URL {
	here := *u
	if u.Hostname() == "" {
		here.Host = node.String() + u.Host // which is empty, or a port
	}
	return &here
}

// askReady asks one node whether it wants traffic. It follows no redirect: that
// is no answer of rsagent's.
func askReady(ctx context.Context, u *url.URL) *readiness {
	client := http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 16 << 10}, // and no proxy
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return &readiness{state: Failed, text: err.Error(), deaf: true}
	}
	request.Header.Set("User-Agent", "rsagent-probe")
	answer, err := client.Do(request)
	if err != nil {
		return &readiness{state: Failed, text: "no answer: " + plain(err), deaf: true}
	}
	defer answer.Body.Close()
	line, _ := bufio.NewReader(io.LimitReader(answer.Body, 4<<10)).ReadString('\n') // the status counts
	return judgeReady(answer.StatusCode, answer.Header.Get(WeightHeader), line)
}

// judgeReady reads an answer. A node that drains says so in the text, since its
// status is what suits its other directors: agent/health.
func judgeReady(status int, weight, line string) *readiness {
	text := printable(strings.TrimSpace(line))
	switch {
	case status != http.StatusOK && text == "draining":
		return &readiness{state: Draining, text: text}
	case status != http.StatusOK:
		if text == "" {
			text = http.StatusText(status)
		}
		return &readiness{state: Failed, text: fmt.Sprintf("%s (status %d)", text, status)}
	case weight == "":
		return &readiness{state: Good, weight: 100, text: text}
	}
	percent, err := strconv.Atoi(weight)
	switch {
	case err != nil || percent < 0 || percent > 100:
		return &readiness{state: Failed, text: fmt.Sprintf("%s: %s, want 0 to 100", WeightHeader, printable(weight))}
	case percent == 0:
		return &readiness{state: Draining, text: text + " at weight 0"}
	}
	return &readiness{state: Good, weight: percent, text: text}
}

// plain says in a few words why there was no answer.
func plain(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "not in time"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there"
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		err = op.Err
	}
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	return printable(err.Error())
}

// printable makes what came from the network fit for a line on a terminal.
func printable(text string) string {
	const longest = 200
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > longest {
		text = string(runes[:longest]) + "..."
	}
	return text
}
