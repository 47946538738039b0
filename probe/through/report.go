package through

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Text writes results for people: of one real server a few lines, of several a
// table, and below it what is likely for those that failed.
func Text(w io.Writer, vip netip.AddrPort, results []Result) error {
	var b strings.Builder
	if len(results) == 1 {
		sentence(&b, vip, results[0])
	} else {
		table(&b, vip, results)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func sentence(b *strings.Builder, vip netip.AddrPort, r Result) {
	fmt.Fprintf(b, "%s: %s ", r.State, r.Real)
	switch {
	case r.Why != "":
		fmt.Fprintf(b, "does not serve %s: %s\n", vip, r.Why)
	case r.State == Draining:
		fmt.Fprintf(b, "serves %s through the tunnel (%s), and wants no more: %s\n", vip, milliseconds(r.Took), r.Ready)
	default:
		fmt.Fprintf(b, "serves %s through the tunnel (%s)%s\n", vip, milliseconds(r.Took), part(r))
	}
	likely(b, r.Likely)
}

// part is what a good node says of itself and its weight.
func part(r Result) string {
	text := ""
	if r.Ready != "" {
		text = ": " + r.Ready
	}
	if r.Weight < 100 {
		text += fmt.Sprintf(", at %d%% of its weight", r.Weight)
	}
	return text
}

func likely(b *strings.Builder, list []string) {
	for i, l := range list {
		head := "        "
		if i == 0 {
			head = "likely  "
		}
		fmt.Fprintf(b, "  %s%s\n", head, l)
	}
	if len(list) > 0 {
		b.WriteString("  remedy  on the node: rsagent check\n")
	}
}

func table(b *strings.Builder, vip netip.AddrPort, results []Result) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "REAL SERVER\tSTATE\tWEIGHT\tSYN-ACK\tREADY\tWHY")
	count := map[State]int{}
	for _, r := range results {
		count[r.State]++
		fmt.Fprintf(t, "%s\t%s\t%d%%\t%s\t%s\t%s\n", r.Real, r.State, r.Weight, milliseconds(r.Took), orDash(r.Ready), orDash(r.Why))
	}
	t.Flush() // into memory
	fmt.Fprintf(b, "%s: %d good, %d draining, %d failed\n", vip, count[Good], count[Draining], count[Failed])
	causes(b, results)
}

// causes names what is likely once for all real servers that it is likely for.
func causes(b *strings.Builder, results []Result) {
	var order []string
	nodes, lists := map[string][]string{}, map[string][]string{}
	for _, r := range results {
		if len(r.Likely) == 0 {
			continue
		}
		key := strings.Join(r.Likely, "\n")
		if !slices.Contains(order, key) {
			order = append(order, key)
			lists[key] = r.Likely
		}
		nodes[key] = append(nodes[key], r.Real.String())
	}
	for _, key := range order {
		const few = 8
		list := nodes[key]
		more := ""
		if len(list) > few {
			more = fmt.Sprintf(" and %d more", len(list)-few)
		}
		fmt.Fprintf(b, "\n%s%s\n", strings.Join(list[:min(few, len(list))], ", "), more)
		likely(b, lists[key])
	}
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func milliseconds(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

// JSON writes results for a machine, as one line.
func JSON(w io.Writer, vip netip.AddrPort, results []Result) error {
	type node struct {
		Real   netip.Addr `json:"real"`
		State  State      `json:"state"`
		Weight int        `json:"weight_percent"`
		Took   float64    `json:"syn_ack_ms,omitempty"`
		Ready  string     `json:"ready,omitempty"`
		Why    string     `json:"why,omitempty"`
		Likely []string   `json:"likely,omitempty"`
	}
	nodes := make([]node, len(results))
	for i, r := range results {
		took := float64(r.Took.Microseconds()) / 1000
		nodes[i] = node{r.Real, r.State, r.Weight, took, r.Ready, r.Why, r.Likely}
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(struct {
		VIP   netip.AddrPort `json:"vip"`
		Nodes []node         `json:"nodes"`
	}{vip, nodes})
}
