package main

import (
	"fmt"
	"strings"
	"time"
)

// document is the table as Markdown, made by a run.
type document struct {
	began time.Time
	count int
	group string
	body  strings.Builder
	pairs strings.Builder
}

const head = `# Faults

Made by ` + "`make faults`" + `, which does each of these to a real node behind a real
director, while the daemon is dead: four plain requests and two with TLS show
what clients see, then ` + "`rsagent check`" + ` is asked, and the remedy that it prints
first is run, after which all is well again, or a person does what its words say.
"Unaided": how long the daemon took where it runs; a dash where the cause is not
its to mend. Every line is asserted.
`

func (d *document) add(group string, o outcome, err error) {
	d.count++
	if group != d.group {
		d.group = group
		fmt.Fprintf(&d.body, "\n## %s\n\n| fault | clients see | check says first | remedy | unaided |\n|---|---|---|---|---|\n", group)
	}
	unaided := "-"
	if o.mended > 0 {
		unaided = fmt.Sprintf("%.1f s", o.mended.Seconds())
	}
	name := cell(o.name)
	if err != nil {
		name += " **FAILED**"
	}
	fmt.Fprintf(&d.body, "| %s | %s | `%s`: %s | %s | %s |\n", name, cell(o.client), o.id, cell(o.got), code(o.remedy), unaided)
}

func (d *document) addPair(p pair, ids []string, err error) {
	d.count++
	failed := ""
	if err != nil {
		failed = " **FAILED**"
	}
	fmt.Fprintf(&d.pairs, "| %s | %s%s | `%s` |\n", cell(p.first), cell(p.second), failed, strings.Join(ids, "`, `"))
}

func (d *document) text() string {
	text := head + d.body.String()
	if d.pairs.Len() > 0 {
		text += "\n## Two at once\n\nNeither follows from the other, and check names both.\n\n| one | and another | check names |\n|---|---|---|\n" + d.pairs.String()
	}
	return text
}

func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;").Replace(strings.TrimSpace(text))
}

// code is a remedy, each of its lines as it is to be pasted.
func code(remedy string) string {
	var lines []string
	for line := range strings.Lines(remedy) {
		lines = append(lines, "`"+strings.ReplaceAll(strings.TrimSpace(line), "|", `\|`)+"`")
	}
	return strings.Join(lines, "<br>")
}
