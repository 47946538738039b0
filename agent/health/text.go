package health

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
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
	bold   = "\x1b[1m"
	faint  = "\x1b[2m"
	reset  = "\x1b[0m"
)

// Text writes the report for a person: whether this node can serve each VIP,
// and if not why, in one sentence each; then each finding that needs attention,
// grouped, the worst first. What follows from another finding is counted, not
// listed. If all is well there is one line.
func Text(w io.Writer, r Report, o TextOptions) error {
	var b strings.Builder
	headline(&b, r, o)
	group := ""
	list := attention(r)
	for len(list) > 0 {
		f, more := list[0], 0
		list = list[1:]
		if g := groupOf(f.ID); g != group {
			group = g
			fmt.Fprintf(&b, "\n%s\n", colour(o, bold, g))
		} else {
			b.WriteByte('\n')
		}
		details(&b, f, o)
		for len(list) > 0 && f.VIP != "" && list[0].Status == f.Status && alike(&list[0], &f) {
			list, more = list[1:], more+1
		}
		if more > 0 {
			fmt.Fprintf(&b, "    more    the same of %d other VIPs: see --json\n", more)
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

// attention returns the findings that a person must read, by groups: what
// failed before what is unknown, and required ones before advisory ones.
func attention(r Report) []Finding {
	var list []Finding
	for _, s := range []Severity{Required, Advisory} {
		for _, status := range []Status{Failed, Unknown} {
			for _, f := range r.Findings {
				if f.Severity == s && f.Status == status {
					list = append(list, f)
				}
			}
		}
	}
	first := make(map[string]int)
	for _, f := range list {
		if _, known := first[groupOf(f.ID)]; !known {
			first[groupOf(f.ID)] = len(first)
		}
	}
	slices.SortStableFunc(list, func(a, b Finding) int { return first[groupOf(a.ID)] - first[groupOf(b.ID)] })
	return list
}

// groupOf is the heading under which a finding stands.
func groupOf(id string) string {
	kind, _, _ := strings.Cut(id, "/")
	switch kind {
	case "arp":
		return "ARP"
	case "sysctl":
		return "Settings"
	}
	return strings.ToUpper(kind[:1]) + kind[1:]
}

func headline(b *strings.Builder, r Report, o TextOptions) {
	counts := fmt.Sprintf("%d ok, %d failed, %d unknown, %d skipped",
		r.Count(OK), r.Count(Failed), r.Count(Unknown), r.Count(Skipped))
	list := r.Served()
	if len(list) == 1 && list[0].Status == OK {
		fmt.Fprintf(b, "%s  %s (%s)\n", colour(o, green, "ok"), hang(sentence(list[0]), "    "), counts)
		return
	}
	for _, s := range list {
		code := map[Status]string{OK: green, Failed: red, Unknown: yellow}[s.Status]
		word := fmt.Sprintf("%-7s", s.Status)
		fmt.Fprintf(b, "%s  %s\n", colour(o, code, word), hang(sentence(s), "         "))
	}
	fmt.Fprintf(b, "         (%s)\n", counts)
}

// sentence says whether this node can serve the VIPs, and if not why.
func sentence(s Served) string {
	name := "its clients"
	if len(s.VIPs) > 0 {
		const few = 3
		name = strings.Join(s.VIPs[:min(few, len(s.VIPs))], ", ")
		if more := len(s.VIPs) - few; more > 0 {
			name += fmt.Sprintf(" and %d more VIPs", more)
		}
	}
	if s.Status == OK {
		return "this node can serve " + name
	}
	why := fmt.Sprintf("%s (%s)", s.Why.Got, s.Why.ID)
	if s.Why.Got == "" {
		why = s.Why.ID
	}
	but := ""
	if len(s.Pools) > 0 {
		but = fmt.Sprintf(" but for %s", strings.Join(s.Pools, ", "))
	}
	switch {
	case s.Status == Unknown:
		return fmt.Sprintf("it cannot be told whether this node can serve %s: %s", name, why)
	case but != "":
		return fmt.Sprintf("this node can serve %s%s: %s", name, but, why)
	}
	return fmt.Sprintf("this node cannot serve %s: %s", name, why)
}

func details(b *strings.Builder, f Finding, o TextOptions) {
	word := string(f.Status)
	if f.Severity == Advisory {
		word = "advisory " + word
	}
	fmt.Fprintf(b, "%s  %s\n", paint(f, o, word), f.ID)
	fmt.Fprintf(b, "    %s\n", hang(f.Title, "    "))
	effect := f.Effect
	if f.Status != Failed {
		effect = ""
	}
	for _, l := range []struct{ name, text string }{
		{"want", f.Want}, {"got", f.Got}, {"cause", f.Cause}, {"effect", effect},
	} {
		if l.text != "" {
			fmt.Fprintf(b, "    %-6s  %s\n", l.name, hang(l.text, "            "))
		}
	}
	if f.Remedy != "" {
		// A command is to be pasted, so it stays in one line.
		fmt.Fprintf(b, "    remedy  %s\n", strings.ReplaceAll(f.Remedy, "\n", "\n            "))
	}
	if f.Owned && f.Status == Failed {
		b.WriteString("    daemon  mends this by itself while it runs\n")
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

// List writes each finding's id and what it is about, and under it what clients
// see when that does not hold.
func List(w io.Writer, findings []Finding) error {
	var b strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&b, "%s (%s)\n    %s.\n    Else: %s\n", f.ID, f.Severity, hang(f.Title, "    "), hang(f.Effect, "          "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// JSON writes the report for a machine, as one line.
func JSON(w io.Writer, r Report) error {
	if r.Findings == nil {
		r.Findings = []Finding{}
	}
	return encode(w, r)
}

// JSON writes the report as JSON does, with the weight of the node at the time.
func (s *Standing) JSON(w io.Writer, now time.Time) error {
	return encode(w, struct {
		Status   Status    `json:"status"`
		Time     time.Time `json:"time"`
		Weight   int       `json:"weight"` // percent; 0 while the node is not ready
		Findings []Finding `json:"findings"`
	}{s.Status, s.Time, s.Node.WeightAt(now), append([]Finding{}, s.Findings...)})
}

func encode(w io.Writer, what any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false) // remedies are commands, to be read and pasted
	return e.Encode(what)
}
