package ledger

import (
	"slices"
	"strings"
	"testing"
)

// A line is taken only if it is exactly what would be written of its fields.
func FuzzLine(f *testing.F) {
	f.Add(`record "sysctl" "net/ipv4/conf/all/arp_ignore" "0" "1"`)
	f.Add("forget \"address\" \"10.0.0.1/32 on tunl0\"\n")
	f.Add(`record "a" "b" "c"`)
	f.Add("boot \"\\xff\\u2028\"")
	f.Fuzz(func(t *testing.T, line string) {
		r := reader{words: make(map[string]string)}
		word, fields, ok := r.parseLine(line)
		if !ok {
			return
		}
		fields = slices.Clone(fields)
		written := string(appendLine(nil, word, fields...))
		if written != strings.TrimSuffix(line, "\n")+"\n" {
			t.Fatalf("%q was taken, and is written as %q", line, written)
		}
		again, same, ok := r.parseLine(written)
		if !ok || again != word || !slices.Equal(same, fields) {
			t.Fatalf("%q is read as %s %q, and what is written of that as %s %q", line, word, fields, again, same)
		}
	})
}
