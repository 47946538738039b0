package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// columns is how wide the story is.
const columns = 80

const indent = "   "

// teller tells the story, and remembers for its end what did not hold.
type teller struct {
	w      io.Writer
	broken []string
	rows   []row
}

// row is a line of the table at the end.
type row struct {
	title string
	count count
}

func (t *teller) title(text string) { fmt.Fprintf(t.w, "\n%s\n", text) }

// raw shows text as it is.
func (t *teller) raw(text string) { fmt.Fprint(t.w, text+"\n") }

// quote shows what a program or a file says, with long lines folded.
func (t *teller) quote(text string) {
	const mark = indent + "| "
	for line := range strings.Lines(strings.TrimSpace(text)) {
		for _, part := range fold(strings.TrimRight(line, "\n"), columns-len(mark)) {
			fmt.Fprintln(t.w, strings.TrimRight(mark+part, " "))
		}
	}
}

// fold breaks a line that is too long, and moves the rest of it 8 further to
// the right, to the column of the values in what rsagent check prints.
func fold(line string, width int) []string {
	margin := strings.Repeat(" ", 8+len(line)-len(strings.TrimLeft(line, " ")))
	var parts []string
	for len(line) > width {
		end := strings.LastIndexByte(line[:width+1], ' ')
		if end <= len(margin) {
			break // one long word
		}
		parts = append(parts, line[:end])
		line = margin + line[end+1:]
	}
	return append(parts, line)
}

// typed shows a command that is run on a host.
func (t *teller) typed(host, command string) { fmt.Fprintf(t.w, "%s%s# %s\n", indent, host, command) }

// say shows a paragraph.
func (t *teller) say(format string, args ...any) {
	for _, line := range wrap(fmt.Sprintf(format, args...), columns-len(indent)) {
		fmt.Fprintf(t.w, "%s%s\n", indent, line)
	}
}

// promise shows a paragraph that ends with whether what it says was kept.
func (t *teller) promise(kept bool, format string, args ...any) {
	verdict := "ok"
	text := fmt.Sprintf(format, args...)
	if !kept {
		verdict = "FAILED"
		t.broken = append(t.broken, text)
	}
	lines := wrap(text, columns-len(indent)-len("  FAILED"))
	last := len(lines) - 1
	for _, line := range lines[:last] {
		fmt.Fprintf(t.w, "%s%s\n", indent, line)
	}
	fmt.Fprintf(t.w, "%s%-*s%s\n", indent, columns-len(indent)-len("FAILED"), lines[last], verdict)
}

// conclude shows the table and the last line, and returns the exit status.
func (t *teller) conclude(took time.Duration) int {
	const form = "%-30s %8v %9v %8v %20v\n"
	fmt.Fprintf(t.w, "\n"+form, "requests", "sent", "answered", "failed", "against a promise")
	for _, r := range t.rows {
		c := r.count
		fmt.Fprintf(t.w, form, r.title, c.sent, c.sent-c.failed, c.failed, c.broken)
	}
	if n := len(t.broken); n > 0 {
		fmt.Fprintf(t.w, "\nNot all that was promised held. %d did not:\n", n)
		for _, text := range t.broken {
			for i, line := range wrap(text, columns-2) {
				fmt.Fprintf(t.w, "%s %s\n", []string{"-", " "}[min(i, 1)], line)
			}
		}
		return 1
	}
	fmt.Fprintf(t.w, "\nAll that was promised held. That took %s.\n", inSeconds(took))
	return 0
}

// wrap breaks text between words into lines of at most so many characters.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}

func inSeconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
