package control

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Text writes the state for people.
func Text(w io.Writer, s State) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(out, "The node is %s%s.\n", inWords(s.State, s.Why), s.Weight.inWords(s.State, s.Time))
	for _, d := range s.Drains {
		fmt.Fprintf(out, "\nDrain of %s, by %s, %s ago:\n  %s\n", d.Of(), reasons(d.Reasons), since(d.Began, s.Time), d.Progress(s.Time))
	}
	if len(s.Pools) > 0 {
		fmt.Fprint(out, "\nPools:\n")
		for _, p := range s.Pools {
			fmt.Fprintf(out, "  %s\t%s%s\n", p.Name, inWords(p.State, p.Why), p.Weight.inWords(p.State, s.Time))
		}
	}
	if len(s.Asking) == 0 {
		fmt.Fprint(out, "\nNobody asks whether it may have traffic.\n")
		return out.Flush()
	}
	fmt.Fprint(out, "\nWho asks whether it may have traffic:\n")
	for _, a := range s.Asking {
		fmt.Fprintf(out, "  %s\t%s\t%s\t%s ago\t%s\n", a.Address, a.asks(), a.pace(), since(a.Last, s.Time), a.toldWhat())
	}
	return out.Flush()
}

// Brief is the state in one line, without what changes all the time.
func Brief(s State) string {
	text := inWords(s.State, s.Why)
	for _, d := range s.Drains {
		text += fmt.Sprintf("; %s: %s", d.Of(), d.phaseInWords())
	}
	return text
}

func inWords(state, why string) string {
	if why != "" {
		return state + ": " + why
	}
	return state
}

// inWords is what the weight adds to the state: nothing if it is all there is.
func (w Weight) inWords(state string, now time.Time) string {
	text := fmt.Sprintf(", at %d%% of its weight", w.Percent)
	switch {
	case state != Ready || w.Percent == 100:
		return ""
	case !w.Until.IsZero():
		text += fmt.Sprintf(", and at %d%% in %s", w.Full, max(0, w.Until.Sub(now)).Round(time.Second))
	case w.Percent == 0:
		text += ": directors that go by the weight send no new clients"
	}
	return text
}

// Of is what drains.
func (d Draining) Of() string {
	if d.Pool == "" {
		return "the node"
	}
	return "pool " + d.Pool
}

// Progress says how far the drain is, and how long this phase lasts at most.
func (d Draining) Progress(now time.Time) string {
	text := d.phaseInWords()
	if !d.Until.IsZero() {
		text += fmt.Sprintf("; %s more at most", max(0, d.Until.Sub(now)).Round(time.Second))
	}
	return text
}

func (d Draining) phaseInWords() string {
	switch d.Phase {
	case Telling:
		if len(d.Waiting) == 0 {
			return fmt.Sprintf("%s told, and others may ask yet", count(d.Told, "check"))
		}
		return fmt.Sprintf("%s told, not yet %s", count(d.Told, "check"), strings.Join(d.Waiting, ", "))
	case Settling:
		return fmt.Sprintf("%s told, new connections are to stop (%d just now)", count(d.Told, "check"), d.New)
	}
	text := count(d.Left, "connection") + " left"
	if d.Idle > 0 {
		text += fmt.Sprintf(", and %d idle", d.Idle)
	}
	if d.Uncounted != "" {
		text = "it cannot be told how many connections are left: " + d.Uncounted
	}
	if d.Coming {
		text += ", and new ones came until the end"
	}
	if d.Phase == Over {
		text = "over, " + text
	}
	return text
}

func reasons(list []Reason) string {
	words := make([]string, len(list))
	for i, r := range list {
		words[i] = r.Kind
		if r.Text != "" {
			words[i] += fmt.Sprintf(" (%s)", r.Text)
		}
	}
	return strings.Join(words, " and ")
}

func (a Asker) asks() string {
	text := "the node"
	if a.Pool != "" {
		text = a.Pool
	}
	if a.Agent {
		text += " (agent-check)"
	}
	return text
}

func (a Asker) pace() string {
	if a.Interval == 0 {
		return "once"
	}
	return "every " + a.Interval.Round(100*time.Millisecond).String()
}

func (a Asker) toldWhat() string {
	if a.Refusals == 0 {
		return "told ready"
	}
	return "refused, " + count(a.Refusals, "time")
}

func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func since(then, now time.Time) string {
	d := now.Sub(then)
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
