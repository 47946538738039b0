package health

import (
	"bytes"
	"net/netip"
	"strconv"
	"time"

	"rsagent/agent/answer"
)

// AgentServer returns a server for HAProxy's agent-check, which answers by the
// endpoint that current returns then.
func AgentServer(current func() *Endpoint) *answer.LineServer {
	return &answer.LineServer{
		Allow:  func(from netip.Addr) bool { return current().mayAsk(from) },
		Answer: func(r *answer.Request, a *answer.Answer) { current().AgentLine(r, a) },
	}
}

// AgentLine answers an agent-check for the pool that was named by agent-send,
// else for the node. HAProxy keeps what an agent said last until the agent says
// otherwise, also while nobody answers, and of each kind of word the last holds:
// "up" and "down" are of one kind, "ready", "drain" and "maint" of another
// (agent-check in its configuration.txt; src/tcpcheck.c). So a node in service
// takes back all that it may have said before.
//
//	in service             up ready N%, by the weight
//	draining               drain
//	drained                maint
//	not ready              ready down # why
func (e *Endpoint) AgentLine(r *answer.Request, a *answer.Answer) {
	s := e.Latest()
	v, known := s.Node, true
	if len(r.Path) > 0 {
		v, known = s.Pools[string(r.Path)]
	}
	a.Readiness, a.Subject, a.Refused = known, v.Pool, true
	switch {
	case !known:
		a.Body = append(a.Body, "ready down # not ready: no such pool"...)
	case v.Drained:
		a.Body = append(a.Body, "maint"...)
	case v.Draining:
		a.Body = append(a.Body, "drain"...)
	case e.stale(s):
		a.Body = append(a.Body, "ready down # not ready: the last look at this node is too old"...)
	case !v.Ready:
		a.Body = appendComment(append(a.Body, "ready down # not ready: "...), v.Why)
	default:
		a.Refused = false
		a.Body = append(strconv.AppendInt(append(a.Body, "up ready "...), int64(v.Weight.At(time.Now())), 10), '%')
	}
	a.Body = append(a.Body, '\n')
}

// longestComment is what HAProxy's status page shows at most, about.
const longestComment = 150

// appendComment adds text that cannot end the line.
func appendComment(to []byte, text string) []byte {
	at := len(to)
	to = append(to, text[:min(len(text), longestComment)]...)
	for i, c := range to[at:] {
		if c < ' ' || c == 0x7f {
			to[at+i] = '?'
		}
	}
	return bytes.TrimRight(to, " ")
}
