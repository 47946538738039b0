package main

import "testing"

func TestEveryRowHasANameOfItsOwnAndEveryPairIsOfRows(t *testing.T) {
	seen := make(map[string]bool)
	for _, g := range table() {
		for _, r := range g.rows {
			if seen[r.name] {
				t.Errorf("two rows are called %q", r.name)
			}
			seen[r.name] = true
		}
	}
	for _, p := range pairs() {
		if !seen[p.first] || !seen[p.second] {
			t.Errorf("no such pair of rows: %s", p.name())
		}
	}
}
