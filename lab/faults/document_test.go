package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// enough is how many faults of different kinds the document must show at least.
const enough = 45

// The document is made by a run, so a row that was added or renamed since needs
// another one: make faults.
func TestTheDocumentHasEveryFaultAndEachOfThemHeld(t *testing.T) {
	file, err := os.ReadFile("../FAULTS.md")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, g := range table() {
		for _, r := range g.rows {
			want = append(want, cell(r.name))
		}
	}
	faults := len(want)
	for _, p := range pairs() {
		want = append(want, cell(p.first)+", "+cell(p.second))
	}
	if diff := cmp.Diff(want, names(string(file))); diff != "" {
		t.Errorf("names in lab/FAULTS.md (-want +got):\n%s", diff)
	}
	if faults < enough {
		t.Errorf("the table has %d faults, want at least %d", faults, enough)
	}
}

// names is what stands in the first column of each table, or in the first two
// where two faults were done at once.
func names(document string) []string {
	var all []string
	pairs := false
	for line := range strings.Lines(document) {
		cells := strings.Split(line, " | ")
		switch {
		case strings.HasPrefix(line, "| fault "), strings.HasPrefix(line, "|---"):
		case strings.HasPrefix(line, "| one "):
			pairs = true
		case pairs && strings.HasPrefix(line, "| "):
			all = append(all, strings.TrimPrefix(cells[0], "| ")+", "+cells[1])
		case strings.HasPrefix(line, "| "):
			all = append(all, strings.TrimPrefix(cells[0], "| "))
		}
	}
	return all
}
