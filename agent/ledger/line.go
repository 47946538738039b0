package ledger

import (
	"fmt"
	"strconv"
	"strings"
)

// The file is text, a line for each thing that was said, with quoted fields:
//
//	boot "ID"
//	record "KIND" "NAME" "BEFORE" "AFTER"
//	forget "KIND" "NAME"
//
// boot is the first line. Of several about the same thing the last one holds,
// all of it. It is not JSON, which has no way to write bytes that are not UTF-8.
const (
	bootWord   = "boot"
	recordWord = "record"
	forgetWord = "forget"
)

func appendLine(text []byte, word string, fields ...string) []byte {
	text = append(text, word...)
	for _, f := range fields {
		text = append(text, ' ')
		text = strconv.AppendQuote(text, f)
	}
	return append(text, '\n')
}

// add adds a line to those that the file lacks. Without a file there is
// nothing to add to: all of it will be written.
func (l *Ledger) add(word string, fields ...string) {
	if l.file == nil {
		return
	}
	l.unwritten = appendLine(l.unwritten, word, fields...)
	l.lines++
}

// text is a whole new file.
func (l *Ledger) text() []byte {
	text := appendLine(nil, bootWord, l.boot)
	for _, e := range l.Entries() {
		text = appendLine(text, recordWord, e.Kind, e.Name, e.Before, e.After)
	}
	return text
}

// parse takes in the text of a file and says whether that can be added to as it
// is: whole, of this boot, and without a line that no longer counts.
func (l *Ledger) parse(text string) (tidy bool) {
	var (
		r       = reader{words: make(map[string]string)}
		damaged []string
		lines   int
	)
	for line := range strings.Lines(text) {
		lines++
		word, fields, ok := r.parseLine(line)
		if ok && lines == 1 && word == bootWord && fields[0] != l.boot {
			return false
		}
		if !ok || (word == bootWord) != (lines == 1) {
			damaged = append(damaged, fmt.Sprintf("line %d, %.80q", lines, strings.TrimSuffix(line, "\n")))
		}
		if ok {
			l.take(word, fields)
		}
	}
	l.lines = lines
	if len(damaged) > 0 {
		l.damage = fmt.Errorf("cannot make sense of %d of the %d lines of %s: %s",
			len(damaged), lines, l.path, firstFew(damaged))
	}
	return len(damaged) == 0 && lines == 1+len(l.changes) && strings.HasSuffix(text, "\n")
}

// take takes in what a line says. A line written by Record holds all about its
// thing, so that it does not depend on the lines before it.
func (l *Ledger) take(word string, fields []string) {
	if word == bootWord {
		return
	}
	id := thing{fields[0], fields[1]}
	if word == forgetWord {
		delete(l.changes, id)
		return
	}
	c, known := l.changes[id]
	if !known {
		l.newest++
		c.order = l.newest
	}
	c.before, c.after = fields[2], fields[3]
	l.changes[id] = c
}

func firstFew(list []string) string {
	const few = 3
	if len(list) > few {
		list = append(list[:few:few], fmt.Sprintf("and %d more", len(list)-few))
	}
	return strings.Join(list, "; ")
}

// reader reads lines. What it returns holds nothing of the text: the names are
// copies, and the few words that come again and again exist once.
type reader struct {
	words  map[string]string
	fields [4]string
	line   []byte
}

// parseLine takes a line apart. It accepts exactly what appendLine writes, so
// that no part of a line passes for a whole one; only the line break may be
// missing. The fields are good until the next call.
func (r *reader) parseLine(line string) (word string, fields []string, ok bool) {
	word, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	count := 0
	switch word {
	case bootWord:
		word, count = bootWord, 1
	case recordWord:
		word, count = recordWord, 4
	case forgetWord:
		word, count = forgetWord, 2
	default:
		return "", nil, false
	}
	for i := range count {
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return "", nil, false
		}
		field, err := strconv.Unquote(quoted)
		if err != nil {
			return "", nil, false
		}
		rest = strings.TrimPrefix(rest[len(quoted):], " ")
		r.fields[i] = r.keep(i, field)
	}
	fields = r.fields[:count]
	r.line = appendLine(r.line[:0], word, fields...)
	return word, fields, strings.TrimSuffix(line, "\n") == string(r.line[:len(r.line)-1])
}

// keep returns a copy of the field, the same one for equal fields other than
// names.
func (r *reader) keep(i int, field string) string {
	const name = 1
	if i == name {
		return strings.Clone(field)
	}
	word, ok := r.words[field]
	if !ok {
		word = strings.Clone(field)
		r.words[word] = word
	}
	return word
}
