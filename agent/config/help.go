package config

import (
	"regexp"
	"slices"
	"strings"
)

// TableHelp is what the example says of one table.
type TableHelp struct {
	Name string // as in the file: [tunnel], [[pool]]; empty: the top of the file
	Text string
	Keys []KeyHelp // in the order of the example
}

// KeyHelp is what the example says of one key.
type KeyHelp struct {
	Name  string
	Value string // its default, or if Example is set, one that it may have
	// Example says that the key has no default, or one that depends on others.
	Example bool
	// Text is empty for a key that shares the text of the next one.
	Text string
}

// How a line of the example looks: [table], and KEY = VALUE, perhaps with "#" or
// "# " before it and a comment behind.
var (
	helpTable = regexp.MustCompile(`^\[+[a-z.]+\]+$`)
	helpKey   = regexp.MustCompile(`^(# ?)?("[^"]+"|[a-z_]+) += (\[.*\]|"[^"]*"|[^ "]+)(?: +# (.*))?$`)
)

// oneLine begins the part of the example that shows keys a second time.
const oneLine = "# A probe also fits on one line.\n"

// Help is what the example says of every table and key, in its order.
func Help() []TableHelp {
	text, _, _ := strings.Cut(string(example), oneLine)
	tables := []TableHelp{{}}
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		var words []string // what the paragraph says of what is still to come
		var keys []KeyHelp // those that it was about
		for line := range strings.Lines(paragraph) {
			line = strings.TrimSpace(line)
			key := helpKey.FindStringSubmatch(line)
			switch {
			case helpTable.MatchString(line):
				tables = append(tables, TableHelp{Name: line, Text: strings.Join(words, " ")})
				words = nil
			case key != nil:
				keys = append(keys, KeyHelp{Name: key[2], Value: key[3], Example: key[1] != "#", Text: key[4]})
			default:
				words = append(words, strings.TrimSpace(strings.TrimPrefix(line, "#")))
			}
		}
		table := &tables[len(tables)-1]
		switch last := len(keys) - 1; {
		case last < 0 && table.Name == "":
			table.Text = strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " ")
		case last >= 0 && len(words) > 0:
			keys[last].Text = strings.Join(words, " ")
		}
		table.Keys = append(table.Keys, keys...)
	}
	return tables
}
