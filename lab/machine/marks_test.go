package machine

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestCopyMarked(t *testing.T) {
	const mark = "lab-MARK"
	tests := []struct {
		name   string
		stream string
		out    string
		want   report
		begun  int
		err    string
	}{
		{"a silent program that succeeds", "lab-MARK begin\nlab-MARK end 0\n", "", report{}, 1, ""},
		{"a program that says something and fails", "lab-MARK begin\nhello\nlab-MARK end 3\n", "hello\n", report{status: 3}, 1, ""},
		{"output that does not end its last line", "lab-MARK begin\nhellolab-MARK end 0\n", "hello", report{}, 1, ""},
		{"output that looks like the start of a mark", "lab-MARK begin\nlab-MAlab-lab-MARK end 1\n", "lab-MAlab-", report{status: 1}, 1, ""},
		{"standard error, which has no begin mark", "oh\nlab-MARK end 2\n", "oh\n", report{status: 2}, 1, ""},
		{"results that did not fit", "lab-MARK end 0 results-lost\n", "", report{resultsLost: true}, 1, ""},
		{"what comes after the end", "lab-MARK end 0\nmore", "", report{}, 1, ""},
		{"a machine that stops in the middle", "lab-MARK begin\nhel", "hel", report{}, 1, "unexpected EOF"},
		{"a machine that stops inside a mark", "hello\nlab-MARK en", "hello\n", report{}, 1, "unexpected EOF"},
		{"no output at all", "", "", report{}, 0, "unexpected EOF"},
		{"a report without a status", "lab-MARK end\n", "", report{}, 1, `cannot understand the machine's report "end"`},
		{"a status that no program has", "lab-MARK end 256\n", "", report{}, 1, `cannot understand the machine's report "end 256"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			begun := 0
			got, err := copyMarked(&out, strings.NewReader(test.stream), mark, func() { begun++ })
			if err == nil && test.err != "" || err != nil && err.Error() != test.err {
				t.Errorf("error %v, want %q", err, test.err)
			}
			if begun != test.begun {
				t.Errorf("said %d times that it has begun, want %d", begun, test.begun)
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(report{})); diff != "" {
				t.Errorf("report (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.out, out.String()); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever a program says, and however it arrives in pieces, it comes through whole.
func TestCopyMarkedLosesNothing(t *testing.T) {
	const mark = "lab-MARK"
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.SliceOf(rapid.SampledFrom([]string{"l", "la", "lab-", "lab-MAR", "\n", "x", "begin", " end 0\n"})).Draw(t, "pieces")
		said := strings.Join(pieces, "")
		if strings.Contains(said, mark) {
			t.Skip("the mark is random, a program cannot say it by chance")
		}
		size := rapid.IntRange(1, 7).Draw(t, "size")
		var out strings.Builder
		stream := &smallReads{strings.NewReader(said + mark + " end 9\n"), size}
		got, err := copyMarked(&out, stream, mark, func() {})
		if err != nil || got.status != 9 || out.String() != said {
			t.Fatalf("got %q, status %d, %v; want %q and 9", out.String(), got.status, err, said)
		}
	})
}

// A program's words must not wait for its next ones.
func TestCopyMarkedHoldsNothingBack(t *testing.T) {
	r, w := io.Pipe()
	heard := make(chan string, 1)
	go copyMarked(writerFunc(func(p []byte) (int, error) {
		if len(p) > 0 {
			heard <- string(p)
		}
		return len(p), nil
	}), r, "lab-MARK", func() {})
	io.WriteString(w, "one moment...")
	if got := <-heard; got != "one moment..." {
		t.Errorf("heard %q", got)
	}
	w.Close()
}

func TestCopyMarkedReportsAWriterThatFails(t *testing.T) {
	broken := writerFunc(func([]byte) (int, error) { return 0, errors.New("broken pipe") })
	_, err := copyMarked(broken, strings.NewReader("hello"), "lab-MARK", func() {})
	if want := "cannot pass on the program's output: broken pipe"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
}

type smallReads struct {
	r    io.Reader
	size int
}

func (s *smallReads) Read(p []byte) (int, error) { return s.r.Read(p[:min(s.size, len(p))]) }

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
