package health

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// TextOptions says how Text renders.
type TextOptions struct {
	Colour  bool // ANSI colours, for a terminal
	Verbose bool // also list what is ok or skipped
}

const (
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	faint  = "\x1b[2m"
	reset  = "\x1b[0m"
)

// Text writes the report for a person: one line if all is well, else the
// answer in one line and then each finding that needs attention, required
// ones first, and last the counts. What follows from another finding is
// counted, not listed.
func Text(w io.Writer, r Report, o TextOptions) error {
	var b strings.Builder
	headline(&b, r, o)
	for _, s := range []Severity{Required, Advisory} {
		for _, f := range r.Findings {
			if f.Severity == s && (f.Status == Failed || f.Status == Unknown) {
				b.WriteByte('\n')
				details(&b, f, o)
			}
		}
	}
	if o.Verbose {
		b.WriteByte('\n')
		for _, f := range r.Findings {
			fmt.Fprintf(&b, "%s  %s\n", paint(f, o, fmt.Sprintf("%-8s", f.Status)), f.ID+faintly(o, "  "+f.Title))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func headline(b *strings.Builder, r Report, o TextOptions) {
	counts := fmt.Sprintf("%d ok, %d failed, %d unknown, %d skipped",
		r.Count(OK), r.Count(Failed), r.Count(Unknown), r.Count(Skipped))
	ready, why := r.Ready()
	switch {
	case ready:
		fmt.Fprintf(b, "%s  this node can serve (%s)\n", colour(o, green, "ok"), counts)
	case r.Status == Failed:
		fmt.Fprintf(b, "%s  this node is not fit to serve: %s\n        (%s)\n", colour(o, red, "failed"), why, counts)
	default:
		fmt.Fprintf(b, "%s  it cannot be told whether this node can serve: %s\n         (%s)\n", colour(o, yellow, "unknown"), why, counts)
	}
}

func details(b *strings.Builder, f Finding, o TextOptions) {
	word := string(f.Status)
	if f.Severity == Advisory {
		word = "advisory " + word
	}
	fmt.Fprintf(b, "%s  %s\n", paint(f, o, word), f.ID)
	fmt.Fprintf(b, "    %s\n", hang(f.Title, "    "))
	for _, l := range []struct{ name, text string }{{"want", f.Want}, {"got", f.Got}, {"cause", f.Cause}} {
		if l.text != "" {
			fmt.Fprintf(b, "    %-6s  %s\n", l.name, hang(l.text, "            "))
		}
	}
	if f.Remedy != "" {
		// A command is to be pasted, so it stays in one line.
		fmt.Fprintf(b, "    remedy  %s\n", strings.ReplaceAll(f.Remedy, "\n", "\n            "))
	}
}

const columns = 80

// hang breaks a text into lines that end before the last column, all but the
// first of them indented; the first stands behind as much. A word that is too
// long has a line of its own.
func hang(text, indent string) string {
	var b strings.Builder
	width := len(indent)
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case width+1+len(word) > columns:
			b.WriteString("\n" + indent)
			width = len(indent)
		default:
			b.WriteByte(' ')
			width++
		}
		b.WriteString(word)
		width += len(word)
	}
	return b.String()
}

func paint(f Finding, o TextOptions, text string) string {
	switch {
	case f.Status == OK:
		return colour(o, green, text)
	case f.Status == Failed && f.Severity == Required:
		return colour(o, red, text)
	case f.Status == Skipped:
		return colour(o, faint, text)
	}
	return colour(o, yellow, text)
}

func faintly(o TextOptions, text string) string { return colour(o, faint, text) }

func colour(o TextOptions, code, text string) string {
	if !o.Colour {
		return text
	}
	return code + text + reset
}

// JSON writes the report for a machine, as one line.
func JSON(w io.Writer, r Report) error {
	if r.Findings == nil {
		r.Findings = []Finding{}
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false) // remedies are commands, to be read and pasted
	return e.Encode(r)
}
