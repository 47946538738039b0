package answer

import (
	"bytes"
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// Request is one question. It and all that it holds are valid only until its
// answer is written.
type Request struct {
	From   netip.Addr // who asks
	Method []byte     // GET, or any other token
	Path   []byte     // without doubled and trailing slashes, "/" for "*"
	Query  []byte     // behind the "?", as it came
	Minor  int        // of HTTP/1.0 or HTTP/1.1; a later one counts as 1.1

	fields []byte // the lines after the first
}

// Header is the value of the first header field of that name, "" if there is
// none.
func (r *Request) Header(name string) string { return string(r.header(name)) }

func (r *Request) header(name string) []byte {
	for line := range bytes.Lines(r.fields) {
		key, value, found := bytes.Cut(line, []byte{':'})
		if found && len(key) == len(name) && strings.EqualFold(string(key), name) {
			return bytes.TrimSpace(value)
		}
	}
	return nil
}

// Words is a number for the words in which was asked: the query, the Host and
// the User-Agent. Two checks of a director often differ in them.
func (r *Request) Words() uint64 {
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a
	h := uint64(offset)
	for _, part := range [...][]byte{r.Query, r.header("Host"), r.header("User-Agent")} {
		for _, c := range part {
			h = (h ^ uint64(c)) * prime
		}
		h *= prime // the end of a part
	}
	return h
}

// mostFall bounds what somebody who asks may say of itself.
const mostFall = 100

// Fall is after how many refusals whoever asks says that it acts: "fall=2" in the
// query. It is 0 if it does not say so.
func (r *Request) Fall() int {
	for rest := r.Query; len(rest) > 0; {
		var word []byte
		word, rest, _ = bytes.Cut(rest, []byte{'&'})
		number, found := bytes.CutPrefix(word, []byte("fall="))
		if !found {
			continue
		}
		if n, err := strconv.Atoi(string(number)); err == nil && n >= 1 && n <= mostFall {
			return n
		}
		return 0
	}
	return 0
}

// hasBody says that more than the head belongs to the request.
func (r *Request) hasBody() bool {
	length := r.header("Content-Length")
	return len(length) > 0 && string(length) != "0" || len(r.header("Transfer-Encoding")) > 0
}

var (
	errGarbage = errors.New("this is not HTTP")
	errTarget  = errors.New("cannot tell what is asked for")
)

// head is how many bytes of what was read so far are the head of a request, with
// the empty lines before it: 0 if it is not whole yet. What cannot become one is
// errGarbage. Lines may end by LF alone, as some who write their checks by hand
// send them (RFC 9112, section 2.2), and a first line without a version is all
// there is (HTTP/0.9; RFC 1945, section 4.1).
func head(text []byte) (int, error) {
	start := 0
	for start < len(text) && (text[start] == '\r' || text[start] == '\n') {
		start++
	}
	if start == len(text) {
		return 0, nil
	}
	if !isToken(text[start]) {
		return 0, errGarbage
	}
	end := bytes.IndexByte(text[start:], '\n')
	if end < 0 {
		return 0, nil
	}
	if first := trimCR(text[start : start+end]); bytes.IndexByte(bytes.TrimSpace(first), ' ') == bytes.LastIndexByte(bytes.TrimSpace(first), ' ') {
		return start + end + 1, nil
	}
	for i := start + end; i >= 0; {
		rest := text[i+1:]
		switch {
		case bytes.HasPrefix(rest, []byte("\n")):
			return i + 2, nil
		case bytes.HasPrefix(rest, []byte("\r\n")):
			return i + 3, nil
		}
		next := bytes.IndexByte(rest, '\n')
		if next < 0 {
			return 0, nil
		}
		i += 1 + next
	}
	return 0, nil
}

// parse reads a whole head. It changes the text: a path is cleaned in its place.
func (r *Request) parse(text []byte) error {
	text = bytes.TrimLeft(text, "\r\n")
	first, fields, _ := bytes.Cut(text, []byte{'\n'})
	r.fields = fields
	var target []byte
	if r.Method, target = nextWord(first); len(r.Method) == 0 {
		return errGarbage
	}
	for _, c := range r.Method {
		if !isToken(c) {
			return errGarbage
		}
	}
	target, version := nextWord(target)
	if err := r.version(bytes.TrimSpace(version)); err != nil {
		return err
	}
	return r.target(target)
}

func nextWord(line []byte) (word, rest []byte) {
	word, rest, _ = bytes.Cut(bytes.TrimSpace(line), []byte{' '})
	return word, rest
}

func (r *Request) version(v []byte) error {
	r.Minor = 0
	if len(v) == 0 {
		return nil
	}
	minor, found := bytes.CutPrefix(v, []byte("HTTP/1."))
	if !found || len(minor) != 1 || minor[0] < '0' || minor[0] > '9' {
		return errGarbage
	}
	if minor[0] > '0' {
		r.Minor = 1
	}
	return nil
}

// target takes every form of RFC 9112, section 3.2, but that of CONNECT.
func (r *Request) target(t []byte) error {
	if string(t) == "*" {
		t[0] = '/'
	}
	if _, rest, absolute := bytes.Cut(t, []byte("://")); absolute && t[0] != '/' {
		slash := bytes.IndexAny(rest, "/?#")
		if slash < 0 {
			slash = len(rest)
		}
		if t = rest[slash:]; len(t) == 0 || t[0] != '/' {
			t = append(t[:0:0], "/"+string(t)...)
		}
	}
	if len(t) == 0 || t[0] != '/' {
		return errTarget
	}
	t, _, _ = bytes.Cut(t, []byte{'#'})
	t, r.Query, _ = bytes.Cut(t, []byte{'?'})
	t, ok := unescape(t)
	if !ok {
		return errTarget
	}
	r.Path = clean(t)
	return nil
}

// unescape takes percent-encoding off (RFC 3986, section 2.1), in place.
func unescape(t []byte) ([]byte, bool) {
	out := t[:0]
	for i := 0; i < len(t); i++ {
		c := t[i]
		if c == '%' {
			if i+2 >= len(t) || !isHex(t[i+1]) || !isHex(t[i+2]) {
				return nil, false
			}
			c = fromHex(t[i+1])<<4 | fromHex(t[i+2])
			i += 2
		}
		out = append(out, c)
	}
	return out, true
}

// clean takes doubled and trailing slashes away, in place. Apache sends them
// where its manual is followed to the letter.
func clean(path []byte) []byte {
	out := path[:0]
	for i, c := range path {
		if c == '/' && (i+1 == len(path) || path[i+1] == '/') {
			continue
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return append(out, '/')
	}
	return out
}

// isToken tells whether a method may have the character (RFC 9110, section
// 5.6.2).
func isToken(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func fromHex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c >= 'a':
		return c - 'a' + 10
	}
	return c - 'A' + 10
}

func trimCR(line []byte) []byte { return bytes.TrimSuffix(line, []byte{'\r'}) }
