package health

import (
	"bytes"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"rsagent/agent/answer"
)

// Endpoint says how the health endpoint answers.
type Endpoint struct {
	Latest      func() *Standing // the newest report
	StaleAfter  time.Duration    // a report older than this is not ready and not live
	DrainStatus int              // status of /ready while draining: 503, or 404 for HAProxy's disable-on-404
	Allow       []netip.Prefix   // who may ask; empty: anyone
	Metrics     http.Handler     // answers /metrics
	Notice      time.Duration    // how long a director may take to notice
}

// Server returns a server that suits every kind of director, and answers each
// request by the endpoint that current returns then. It answers OPTIONS like GET
// also for "*" (HAProxy, Apache), and never redirects (Apache and HAProxy take
// 3xx for healthy).
func Server(current func() *Endpoint) *answer.Server {
	return &answer.Server{
		Allow:  func(from netip.Addr) bool { return current().mayAsk(from) },
		Answer: func(r *answer.Request, a *answer.Answer) { current().Answer(r, a) },
	}
}

func (e *Endpoint) mayAsk(from netip.Addr) bool {
	return len(e.Allow) == 0 || slices.ContainsFunc(e.Allow, func(p netip.Prefix) bool { return p.Contains(from) })
}

// Answer answers one request.
func (e *Endpoint) Answer(r *answer.Request, a *answer.Answer) {
	switch string(r.Method) {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
	default:
		a.Fields = append(a.Fields, "Allow: GET, HEAD, OPTIONS\r\n"...)
		a.Line(http.StatusMethodNotAllowed, "method not allowed")
		return
	}
	if pool, is := bytes.CutPrefix(r.Path, []byte("/ready/")); is {
		e.pool(a, pool)
		return
	}
	switch string(r.Path) {
	case "/", "/ready":
		s := e.Latest()
		e.ready(a, s, s.Node)
	case "/live":
		e.live(a)
	case "/status":
		e.status(a)
	case "/metrics":
		e.metrics(r, a)
	default:
		a.Line(http.StatusNotFound, "no such page")
	}
}

func (e *Endpoint) pool(a *answer.Answer, name []byte) {
	s := e.Latest()
	v, known := s.Pools[string(name)]
	if !known {
		// Not 404, which is what HAProxy may have been told means draining.
		a.Line(http.StatusServiceUnavailable, "not ready: no such pool")
		return
	}
	e.ready(a, s, v)
}

func (e *Endpoint) ready(a *answer.Answer, s *Standing, v Verdict) {
	a.Readiness, a.Subject, a.Refused = true, v.Pool, true
	switch {
	case v.Draining:
		a.Line(e.DrainStatus, "draining")
	case e.stale(s):
		a.Line(http.StatusServiceUnavailable, "not ready: the last look at this node is too old")
	case !v.Ready:
		a.Line(http.StatusServiceUnavailable, "")
		a.Body = append(append(append(a.Body[:0], "not ready: "...), v.Why...), '\n')
	default:
		a.Refused = false
		a.Line(http.StatusOK, "ready")
		v.weighed(a, time.Now())
	}
}

func (e *Endpoint) live(a *answer.Answer) {
	if e.stale(e.Latest()) {
		a.Line(http.StatusServiceUnavailable, "not live: the last look at this node is too old")
		return
	}
	a.Line(http.StatusOK, "live")
}

func (e *Endpoint) stale(s *Standing) bool { return time.Since(s.Time) > e.StaleAfter }

func (e *Endpoint) status(a *answer.Answer) {
	var b bytes.Buffer
	a.Type = "application/json"
	e.Latest().JSON(&b, time.Now()) // a buffer takes all
	a.Body = append(a.Body, b.Bytes()...)
}

// metrics has the handler of package promhttp answer, which chooses its form by
// what the asker takes.
func (e *Endpoint) metrics(r *answer.Request, a *answer.Answer) {
	question := &http.Request{Method: string(r.Method), Header: make(http.Header)}
	for _, name := range []string{"Accept", "Accept-Encoding"} {
		if value := r.Header(name); value != "" {
			question.Header.Set(name, value)
		}
	}
	w := written{header: make(http.Header), status: http.StatusOK}
	e.Metrics.ServeHTTP(&w, question)
	a.Status, a.Type = w.status, w.header.Get("Content-Type")
	if coding := w.header.Get("Content-Encoding"); coding != "" {
		a.Fields = append(a.Fields, "Content-Encoding: "+coding+"\r\n"...)
	}
	a.Body = append(a.Body, w.body.Bytes()...)
}

// written is a http.ResponseWriter that keeps what is written.
type written struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header is the header of the answer.
func (w *written) Header() http.Header { return w.header }

// WriteHeader sets the status of the answer.
func (w *written) WriteHeader(status int) { w.status = status }

// Write adds to the body of the answer.
func (w *written) Write(p []byte) (int, error) { return w.body.Write(p) }
