package machine

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"strings"
)

// The guest frames each of its streams with lines of its own: a begin mark when
// the program starts, and at the end one that carries the exit status. What
// came before an end mark is complete, however the machine ends afterwards.

// newMark returns what the lines of one boot start with. The first byte is not
// one that programs print, so that hardly any output waits to be told apart.
func newMark() string { return "\x1elab-" + rand.Text() }

// report is what an end mark says.
type report struct {
	status      int
	resultsLost bool // the files for the host did not fit
}

// copyMarked copies a stream of the guest to w without its marks, as it comes.
// It calls begun when the first of it comes, which is a mark or the program's own
// words, and returns at the end mark, or with io.ErrUnexpectedEOF when the stream
// ends without one.
func copyMarked(w io.Writer, r io.Reader, mark string, begun func()) (report, error) {
	var held []byte
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 && begun != nil {
			begun()
			begun = nil
		}
		held = append(held, buf[:n]...)
		for {
			clear := unmarked(held, mark)
			if _, werr := w.Write(held[:clear]); werr != nil {
				return report{}, fmt.Errorf("cannot pass on the program's output: %v", werr)
			}
			held = held[clear:]
			line, rest, whole := bytes.Cut(held, []byte("\n"))
			if !whole || !bytes.HasPrefix(held, []byte(mark)) {
				break
			}
			held = rest
			said := strings.TrimSpace(strings.TrimPrefix(string(line), mark))
			if said == "begin" {
				continue
			}
			return parseReport(said)
		}
		if err == io.EOF {
			if !bytes.HasPrefix(held, []byte(mark)) {
				w.Write(held)
			}
			return report{}, io.ErrUnexpectedEOF
		}
		if err != nil {
			return report{}, fmt.Errorf("cannot read the program's output: %v", err)
		}
	}
}

// unmarked returns how much of held is surely not part of a mark.
func unmarked(held []byte, mark string) int {
	if i := bytes.Index(held, []byte(mark)); i >= 0 {
		return i
	}
	for n := min(len(mark)-1, len(held)); n > 0; n-- {
		if bytes.HasSuffix(held, []byte(mark[:n])) {
			return len(held) - n
		}
	}
	return len(held)
}

func parseReport(said string) (report, error) {
	var r report
	_, err := fmt.Sscanf(said, "end %d", &r.status)
	if err != nil || r.status < 0 || r.status > 255 {
		return report{}, fmt.Errorf("cannot understand the machine's report %q", said)
	}
	r.resultsLost = strings.HasSuffix(said, " results-lost")
	return r, nil
}
