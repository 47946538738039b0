package health

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Endpoint says how the health endpoint answers.
type Endpoint struct {
	Latest      func() Report  // the newest report
	StaleAfter  time.Duration  // a report older than this is not ready and not live
	DrainStatus int            // status of /ready while draining: 503, or 404 for HAProxy's disable-on-404
	Allow       []netip.Prefix // who may ask; empty: anyone
	Metrics     http.Handler   // answers /metrics
}

// Limits of one request. A director asks for a few hundred bytes and reads
// the answer at once; whoever takes longer holds a connection for nothing.
const (
	maxHeaderBytes = 4 << 10
	headerTimeout  = 2 * time.Second
	requestTimeout = 5 * time.Second
)

// Server returns an HTTP server for the endpoint that suits every kind of
// director: it closes each connection after the answer (keepalived reads
// until EOF), answers OPTIONS like GET also for "*" (HAProxy, Apache), and
// never redirects (Apache and HAProxy take 3xx for healthy).
func (e Endpoint) Server() *http.Server {
	s := &http.Server{
		Handler:                      e,
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            headerTimeout,
		ReadTimeout:                  requestTimeout,
		WriteTimeout:                 requestTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
		// A scanner's garbage is not an event of this node.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	s.SetKeepAlivesEnabled(false)
	return s
}

// Serve answers on the listener until the server is closed. Who may not ask is
// hung up on before a word is read.
func (e Endpoint) Serve(s *http.Server, l net.Listener) error {
	return s.Serve(allowedOnly{l, e.Allow})
}

type allowedOnly struct {
	net.Listener
	allow []netip.Prefix
}

// Accept waits for a connection of somebody who may ask.
func (l allowedOnly) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil || allowed(l.allow, c.RemoteAddr().String()) {
			return c, err
		}
		c.Close()
	}
}

func allowed(allow []netip.Prefix, remote string) bool {
	if len(allow) == 0 {
		return true
	}
	from, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	addr := from.Addr().Unmap().WithZone("")
	return slices.ContainsFunc(allow, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// ServeHTTP answers one request.
func (e Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
	default:
		w.Header().Set("Allow", "GET, HEAD, OPTIONS")
		line(w, http.StatusMethodNotAllowed, "method not allowed")
		return
	}
	path := cleanPath(r.URL.Path)
	pool, isPool := strings.CutPrefix(path, "/ready/")
	switch {
	case isPool:
		e.pool(w, pool)
	case path == "/" || path == "/ready":
		e.ready(w)
	case path == "/live":
		e.live(w)
	case path == "/status":
		e.status(w)
	case path == "/metrics":
		e.Metrics.ServeHTTP(w, r)
	default:
		line(w, http.StatusNotFound, "no such page")
	}
}

// cleanPath takes doubled and trailing slashes away, as Apache's manual
// makes it send them. OPTIONS * asks for the server as a whole: "/".
func cleanPath(p string) string {
	if p == "*" {
		return "/"
	}
	var b strings.Builder
	for part := range strings.SplitSeq(p, "/") {
		if part != "" {
			b.WriteByte('/')
			b.WriteString(part)
		}
	}
	if b.Len() == 0 {
		return "/"
	}
	return b.String()
}

func (e Endpoint) ready(w http.ResponseWriter) {
	r := e.Latest()
	ready, why := r.Ready()
	e.answer(w, r, ready, why)
}

func (e Endpoint) pool(w http.ResponseWriter, name string) {
	r := e.Latest()
	ready, why, known := r.PoolReady(name)
	if !known {
		// Not 404, which is what HAProxy may have been told means draining.
		line(w, http.StatusServiceUnavailable, "not ready: no such pool")
		return
	}
	e.answer(w, r, ready, why)
}

func (e Endpoint) answer(w http.ResponseWriter, r Report, ready bool, why string) {
	switch {
	case r.Draining():
		line(w, e.DrainStatus, "draining")
	case e.stale(r):
		line(w, http.StatusServiceUnavailable, "not ready: the last look at this node is too old")
	case !ready:
		line(w, http.StatusServiceUnavailable, "not ready: "+why)
	default:
		line(w, http.StatusOK, "ready")
	}
}

func (e Endpoint) live(w http.ResponseWriter) {
	if e.stale(e.Latest()) {
		line(w, http.StatusServiceUnavailable, "not live: the last look at this node is too old")
		return
	}
	line(w, http.StatusOK, "live")
}

func (e Endpoint) stale(r Report) bool { return time.Since(r.Time) > e.StaleAfter }

func (e Endpoint) status(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	JSON(w, e.Latest()) // the asker is gone if this fails
}

// line answers with one line of text, small enough to leave in one write
// together with its headers: piranha's nanny looks at the first segment only.
func line(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	io.WriteString(w, text+"\n") // the asker is gone if this fails
}
