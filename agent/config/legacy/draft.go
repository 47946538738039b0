package legacy

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"rsagent/agent/config"
)

// place is where something stands in an old file.
type place struct {
	file string
	line int
	text string // what stands there, in short
}

// draft is what the old files come to.
type draft struct {
	vips      []placed[netip.Addr]
	directors []placed[netip.Addr]
	device    placed[string] // of an ifcfg; empty: the default
	pools     []pool
	sets      []set
	left      []Note
	problems  Problems
}

// placed is a value and where it was found first.
type placed[T any] struct {
	value T
	place
}

// pool is a service of the node.
type pool struct {
	place
	name string
	vip  netip.Addr
	port int
	hint string // a comment for whoever reads the configuration
	keys []string
}

// set is one setting.
type set struct {
	place
	key, value string
}

func (d *draft) problem(file string, line int, text, why string) {
	d.problems = append(d.problems, Note{file, line, cut(text), why})
}

func (d *draft) leave(file string, line int, text, why string) {
	d.left = append(d.left, Note{file, line, cut(text), why})
}

func (d *draft) addVIP(a netip.Addr, at place) {
	if !slices.ContainsFunc(d.vips, func(v placed[netip.Addr]) bool { return v.value == a }) {
		d.vips = append(d.vips, placed[netip.Addr]{a, at})
	}
}

func (d *draft) addDirector(a netip.Addr, at place) {
	if !slices.ContainsFunc(d.directors, func(v placed[netip.Addr]) bool { return v.value == a }) {
		d.directors = append(d.directors, placed[netip.Addr]{a, at})
	}
}

// elided matches an address whose numbers may have been taken out before it was
// published.
var elided = regexp.MustCompile(`^[0-9xX*]+(\.[0-9xX*]+){3}$`)

func isElided(word string) bool { return elided.MatchString(word) && strings.ContainsAny(word, "xX*") }

// address reads an IPv4 address of a line; whose is what it is for.
func (in input) address(line int, text, word, whose string) (netip.Addr, bool) {
	if isElided(word) {
		in.problem(line, text, fmt.Sprintf("%s stands for an address that was left out when the file was published: fill in %s", word, whose))
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(word)
	switch {
	case word == "":
		in.problem(line, text, "no address, expected "+whose)
	case err != nil:
		in.problem(line, text, fmt.Sprintf("%q is no IPv4 address, expected %s", cut(word), whose))
	case !a.Is4():
		in.problem(line, text, fmt.Sprintf("%s is an IPv6 address, and this version has no IPv6 VIPs", a))
	default:
		return a, true
	}
	return netip.Addr{}, false
}

// finish writes the configuration. What Parse has against a setting, it has
// against the old line: that is left out, and the reason is Parse's.
func (d *draft) finish(sources []Source) ([]byte, []Note, error) {
	d.lastCounts()
	if len(d.vips) == 0 && len(d.problems) == 0 {
		name := "no file"
		if len(sources) > 0 {
			name = sources[0].Name
		}
		d.problem(name, 1, "no VIP in these files", "expected lvs.cf or ifcfg-tunl0 among them, which have the VIPs")
	}
	for len(d.problems) == 0 {
		text, lines := d.write(sources)
		_, err := config.Parse("imported", text)
		if err == nil {
			return text, d.sortedLeft(sources), nil
		}
		d.blame(err, lines)
	}
	d.problems = sorted(d.problems, sources)
	return nil, nil, d.problems
}

// blame passes what is wrong with the new lines on to the old ones.
func (d *draft) blame(err error, lines map[int]place) {
	problems, ok := err.(config.Problems)
	if !ok {
		d.problem("the imported file", 1, "", err.Error())
		return
	}
	for _, p := range problems {
		at, known := lines[p.Line]
		i := slices.IndexFunc(d.sets, func(s set) bool { return known && s.place == at })
		switch {
		case i >= 0:
			d.leave(at.file, at.line, at.text, "rsagent does not take it: expected "+p.Expected)
			d.sets = slices.Delete(d.sets, i, i+1)
		case known:
			d.problem(at.file, at.line, at.text, fmt.Sprintf("found %s, expected %s", p.Found, p.Expected))
		default:
			d.problem("the imported file", p.Line, p.Key, fmt.Sprintf("found %s, expected %s", p.Found, p.Expected))
		}
	}
}

func (d *draft) sortedLeft(sources []Source) []Note { return sorted(d.left, sources) }

// sorted puts notes into the order of the files and their lines.
func sorted(notes []Note, sources []Source) []Note {
	order := map[string]int{}
	for i, s := range sources {
		if _, known := order[s.Name]; !known {
			order[s.Name] = i
		}
	}
	slices.SortStableFunc(notes, func(a, b Note) int {
		return cmp.Or(cmp.Compare(order[a.File], order[b.File]), cmp.Compare(a.Line, b.Line))
	})
	return slices.Compact(notes)
}

// write gives the text of the configuration, and where its lines come from.
func (d *draft) write(sources []Source) ([]byte, map[int]place) {
	w := writer{from: map[int]place{}}
	var names []string
	for _, s := range sources {
		names = append(names, s.Name)
	}
	w.comment("Imported from " + strings.Join(names, ", ") + ".")
	w.comment("Every other key has its default; rsagent config example says what there is.")
	w.line("")
	w.addresses("vips", d.vips)
	if len(d.directors) == 0 {
		w.comment("None of the files names the directors. Until they stand here, anybody may send")
		w.comment("packets for the VIPs into the tunnel.")
	}
	w.addresses("directors", d.directors)
	if name := d.device.value; name != "" && name != config.DefaultDevice {
		w.line("")
		w.line("[tunnel]")
		w.placed(d.device.place, "device = "+config.Quote(name))
	}
	if len(d.sets) > 0 {
		w.line("")
		w.line("[sysctl]")
	}
	for _, s := range d.sets {
		w.placed(s.place, config.Quote(s.key)+" = "+config.Quote(s.value))
	}
	for _, p := range d.pools {
		p.write(&w)
	}
	if left := d.sortedLeft(sources); len(left) > 0 {
		w.line("")
		w.comment("What did not carry over, and why:")
		for _, n := range left {
			w.comment(n.String())
		}
	}
	return []byte(w.text.String()), w.from
}

func (p pool) write(w *writer) {
	w.line("")
	w.placed(p.place, "[[pool]]")
	w.placed(p.place, "name  = "+config.Quote(p.name))
	w.placed(p.place, "vip   = "+config.Quote(p.vip.String()))
	w.placed(p.place, fmt.Sprintf("port  = %d", p.port))
	if p.hint != "" {
		w.comment(p.hint)
	}
	w.placed(p.place, "probe = { "+strings.Join(p.keys, ", ")+" }")
}

// writer writes lines, and remembers where they come from.
type writer struct {
	text strings.Builder
	n    int
	from map[int]place
}

func (w *writer) line(text string) {
	w.n++
	w.text.WriteString(text + "\n")
}

func (w *writer) comment(text string) { w.line("# " + visible(text)) }

func (w *writer) placed(at place, text string) {
	w.line(text)
	w.from[w.n] = at
}

// addresses writes a list, more than one address with a line for each.
func (w *writer) addresses(key string, list []placed[netip.Addr]) {
	switch len(list) {
	case 0:
		w.line(key + " = []")
		return
	case 1:
		w.placed(list[0].place, fmt.Sprintf("%s = [%q]", key, list[0].value))
		return
	}
	w.line(key + " = [")
	for _, v := range list {
		w.placed(v.place, fmt.Sprintf("  %q,", v.value))
	}
	w.line("]")
}
