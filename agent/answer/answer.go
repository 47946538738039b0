package answer

import (
	"net/http"
	"strconv"
	"time"
)

// Answer is what a request is answered.
type Answer struct {
	Status int
	Type   string // of the body, a media type
	Fields []byte // more header fields, each a whole line with its CR LF
	Body   []byte

	// What Server.Answered may want to know; the server does not look at it.
	Readiness bool   // it was asked whether there may be traffic
	Subject   string // for which pool; empty: for all
	Refused   bool   // there may not
}

// reset makes the answer one to fill, of the same memory.
func (a *Answer) reset() {
	*a = Answer{Status: http.StatusOK, Type: "text/plain; charset=utf-8", Fields: a.Fields[:0], Body: a.Body[:0]}
}

// Line makes the answer one line of text.
func (a *Answer) Line(status int, text string) {
	a.Status = status
	a.Body = append(append(a.Body[:0], text...), '\n')
}

// write appends the whole answer, so that it leaves in one piece: piranha's
// nanny looks at the first segment only.
func (a *Answer) write(to []byte, r *Request, now time.Time) []byte {
	to = append(to, "HTTP/1."...)
	to = append(to, byte('0'+r.Minor), ' ')
	to = strconv.AppendInt(to, int64(a.Status), 10)
	to = append(to, ' ') // keepalived wants it, also before nothing
	to = append(to, http.StatusText(a.Status)...)
	to = append(to, "\r\nContent-Type: "...)
	to = append(to, a.Type...)
	to = append(to, "\r\nCache-Control: no-store\r\nDate: "...)
	to = now.UTC().AppendFormat(to, http.TimeFormat)
	to = append(to, "\r\nContent-Length: "...)
	to = strconv.AppendInt(to, int64(len(a.Body)), 10)
	to = append(to, "\r\nConnection: close\r\n"...)
	to = append(to, a.Fields...)
	to = append(to, "\r\n"...)
	if string(r.Method) == http.MethodHead {
		return to
	}
	return append(to, a.Body...)
}
