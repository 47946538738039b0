// Faults does to a node what goes wrong in the field, one fault after the other,
// and shows what clients see, what `rsagent check` says first, and that its
// remedy works. It runs on the lab's machine, under systemd:
//
//	bin/lab exec --systemd --kernel security=selinux --with bin/rsagent --with packaging/rsagent.service bin/faults [PATTERN]
//
// It prints the table. Its exit status is 0 if every row held, 1 if one did not,
// and 2 if it could not begin.
package main

import (
	"fmt"
	"os"
	"regexp"
	"time"
)

func main() { os.Exit(run()) }

func run() int {
	pattern := ""
	if len(os.Args) > 1 {
		pattern = os.Args[1]
	}
	wanted, err := regexp.Compile(pattern)
	if err != nil {
		fmt.Fprintf(os.Stderr, "faults: cannot use the pattern: %v\n", err)
		return 2
	}
	d := document{began: time.Now()}
	m := &machine{}
	defer m.close()
	failures := 0
	for _, g := range table() {
		for _, r := range g.rows {
			if !wanted.MatchString(r.name) {
				continue
			}
			began := time.Now()
			o, err := m.row(r)
			if err != nil {
				failures++
			}
			d.add(g.name, o, err)
			say(r.name, began, err)
		}
	}
	for _, p := range pairs() {
		if !wanted.MatchString(p.name()) {
			continue
		}
		began := time.Now()
		names, err := m.pair(p)
		if err != nil {
			failures++
		}
		d.addPair(p, names, err)
		say(p.name(), began, err)
	}
	fmt.Print(d.text())
	fmt.Fprintf(os.Stderr, "%d rows, %d failed, in %v\n", d.count, failures, time.Since(d.began).Round(time.Second))
	if failures > 0 {
		return 1
	}
	return 0
}

func say(name string, began time.Time, err error) {
	word := "ok    "
	if err != nil {
		word = "FAILED"
	}
	fmt.Fprintf(os.Stderr, "%s %4.1fs  %s\n", word, time.Since(began).Seconds(), name)
	if err != nil {
		fmt.Fprintf(os.Stderr, "        %v\n", err)
	}
}
