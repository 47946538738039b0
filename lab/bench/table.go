package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// table is everything as text of 80 columns.
func (e everything) table() string {
	var b strings.Builder
	missed, all := 0, 0
	for _, place := range []struct {
		name string
		*results
	}{{"On this machine", e.Native}, {"In the lab's machine", e.Lab}} {
		if place.results == nil {
			continue
		}
		place.table(&b, place.name)
		for _, a := range place.aims() {
			all++
			if !a.met {
				missed++
			}
		}
	}
	fmt.Fprintf(&b, "\n%d of %d aims are met.\n", all-missed, all)
	return b.String()
}

// met tells whether every aim is.
func (e everything) met() bool {
	for _, r := range []*results{e.Native, e.Lab} {
		if r != nil && slices.ContainsFunc(r.aims(), func(a aim) bool { return !a.met }) {
			return false
		}
	}
	return true
}

func (r *results) table(b *strings.Builder, where string) {
	fmt.Fprintf(b, "\n%s: Linux %s, %d CPUs, VIPs on %s\n", where, r.Kernel, r.CPUs, r.Device)
	repairTable(b, r.Repairs)
	startTable(b, r.Start, r.Converges)
	sizeTable(b, r.Sizes)
	stormTable(b, r.Storm)
	endpointTable(b, r.Endpoint)
	probeTable(b, r.Probed)
}

// The columns behind the title: three for figures and one for aims.
const row = "%-20s %14s %14s %14s  %s\n"

func repairTable(b *strings.Builder, repairs []repair) {
	if len(repairs) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%d repairs each, ms\n", repairs[0].Agent.Times)
	const p = "p50     p99"
	fmt.Fprintf(b, row, "change to repair", "bare loop", "rsagent", "keepalived", "aims met")
	fmt.Fprintf(b, row, "", p, p, p, "3x  5ms ahead")
	for _, r := range repairs {
		fmt.Fprintf(b, row, r.Title, bothRanks(r.Floor), bothRanks(r.Agent), bothRanks(r.Keepalived), verdicts(r.aims(), 4))
	}
}

func bothRanks(s spread) string {
	if s.Times == 0 {
		return "-"
	}
	return fmt.Sprintf("%s%8s", millis(s.P50), millis(s.P99))
}

func startTable(b *strings.Builder, s *start, converges []converge) {
	if s != nil {
		fmt.Fprintf(b, "\n"+row, "from exec to READY=1", "rsagent, ms", "by hand, ms", "times as long", "aims met")
		fmt.Fprintf(b, row, "", "median", "median", "", "50ms ahead")
		fmt.Fprintf(b, row, "a bare node", millis(s.Agent.P50), millis(s.Shell.P50),
			fmt.Sprintf("%.2f", s.Agent.P50.Seconds()/s.Shell.P50.Seconds()), verdicts(s.aims(), 5))
	}
	if len(converges) > 0 {
		fmt.Fprintf(b, "\n"+row, "first convergence", "rsagent, ms", "ip -batch, ms", "times as long", "aim met: 1.3x")
		for _, c := range converges {
			fmt.Fprintf(b, row, fmt.Sprintf("%d VIPs", c.VIPs), millis(c.Agent.P50), millis(c.Batch.P50),
				fmt.Sprintf("%.2f", c.times()), verdicts(c.aims(), 4))
		}
	}
}

func sizeTable(b *strings.Builder, sizes []size) {
	if len(sizes) == 0 {
		return
	}
	const row = "%-27s %9s %9s %10s %9s  %s\n"
	fmt.Fprintf(b, "\n"+row, "left alone for a minute", "RSS, MiB", "PSS, MiB", "processor", "wake-ups", "aims met")
	fmt.Fprintf(b, row, "", "", "", "% of one", "a second", "16M 0.1%")
	for _, s := range sizes {
		line := fmt.Sprintf(row, s.Who, mebi(s.RSS), mebi(s.PSS), fmt.Sprintf("%.3f", s.CPU), fmt.Sprintf("%.1f", s.Wakeups), verdicts(s.aims(), 4))
		fmt.Fprintln(b, strings.TrimRight(line, " \n"))
	}
}

func stormTable(b *strings.Builder, s *storm) {
	if s == nil {
		return
	}
	fmt.Fprintf(b, "\n%d foreign changes in %.1f s; %d VIPs deleted meanwhile, one at a time\n", s.Changes, s.Took.Seconds(), s.Back.Times)
	aims := s.aims()
	line := func(title, text string, a aim) {
		fmt.Fprintf(b, "%-20s %-45s  %7s: %s\n", title, text, a.title, yesNo(a.met))
	}
	line("back after, ms", fmt.Sprintf("p50 %s, p99 %s, most %s", millis(s.Back.P50), millis(s.Back.P99), millis(s.Back.Max)), aims[0])
	line("held before, after", fmt.Sprintf("descriptors %d, %d; goroutines %d, %d",
		s.Before.Descriptors, s.After.Descriptors, s.Before.Goroutines, s.After.Goroutines), aims[1])
	line("RSS, MiB", fmt.Sprintf("before %s, most %s, %v after %s", mebi(s.Before.RSS), mebi(s.Peak), afterStorm, mebi(s.After.RSS)), aims[2])
}

func endpointTable(b *strings.Builder, e *endpoint) {
	if e == nil {
		return
	}
	const row = "%-20s %16s %16s %6s  %s\n"
	fmt.Fprintf(b, "\n"+row, "checks a second", "rsagent", "nginx", "ratio", "aim met: 0.85x")
	line := func(title, agent, nginx string, ratio float64, last string) {
		text := fmt.Sprintf(row, title, agent, nginx, fmt.Sprintf("%.2f", ratio), last)
		fmt.Fprintln(b, strings.TrimRight(text, " \n"))
	}
	both := func(title string, c contest, last string) {
		line(title, fmt.Sprintf("%.0f", c.Agent.PerSecond), fmt.Sprintf("%.0f", c.Nginx.PerSecond), c.Rate, last)
		line("  processor, each", micros(c.Agent.Cost), micros(c.Nginx.Cost), c.Cost, "")
		line("  who asks is busy", percent(c.Agent.Asker), percent(c.Nginx.Asker), c.Agent.Asker/c.Nginx.Asker, "")
	}
	both("new connections", e.Fresh, verdicts(e.aims(), 4))
	closes := ""
	if e.Kept.Agent.Each < 1.5 {
		closes = "rsagent closes"
	}
	both("kept connections", e.Kept, closes)
	repair := func(title string, of spread) {
		fmt.Fprintf(b, "%-37s p50 %s, p99 %s\n", title, millis(of.P50), millis(of.P99))
	}
	repair("a deleted VIP back, ms", e.Quiet)
	repair(fmt.Sprintf("  with %.0f checks a second", e.Checks), e.Besieged)
}

func probeTable(b *strings.Builder, p *probed) {
	if p == nil {
		return
	}
	fmt.Fprintf(b, "\n"+row, "ms from exec to exit", "p50", "p99", "", "aim: 50ms")
	fmt.Fprintf(b, row, "probe, answered", millis(p.One.P50), millis(p.One.P99), "", verdicts(p.aims(), 4))
	line := fmt.Sprintf(row, "probe, refused", millis(p.Refused.P50), millis(p.Refused.P99), "", "")
	fmt.Fprintln(b, strings.TrimRight(line, " \n"))
}

func micros(d time.Duration) string { return fmt.Sprintf("%.1f us", d.Seconds()*1e6) }

func percent(part float64) string { return fmt.Sprintf("%.0f %%", 100*part) }

func millis(d time.Duration) string {
	if d >= 100*time.Millisecond {
		return fmt.Sprintf("%.0f", d.Seconds()*1000)
	}
	return fmt.Sprintf("%.2f", d.Seconds()*1000)
}

func mebi(kib int) string { return fmt.Sprintf("%.1f", float64(kib)/1024) }

// verdicts says of each aim whether it is met, in columns of that width.
func verdicts(aims []aim, width int) string {
	var b strings.Builder
	for _, a := range aims {
		fmt.Fprintf(&b, "%-*s", width, yesNo(a.met))
	}
	return strings.TrimRight(b.String(), " ")
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}
