package ruleset_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"rsagent/tunnel/ruleset"

	"golang.org/x/sys/unix"
)

// manyRules is a ruleset of 5,000 rules, with a set of 50,000 addresses and one
// of 10,000 prefixes, of which the last rule drops IPIP.
func manyRules() string {
	var b strings.Builder
	b.WriteString("table inet big {\n\tset blocked {\n\t\ttype ipv4_addr\n\t\telements = { ")
	for i := range 50_000 {
		fmt.Fprintf(&b, "100.%d.%d.%d,", 64+i>>16, i>>8&255, i&255)
	}
	b.WriteString("100.127.0.1 }\n\t}\n\tset nets {\n\t\ttype ipv4_addr\n\t\tflags interval\n\t\telements = { ")
	for i := range 10_000 {
		fmt.Fprintf(&b, "20.%d.%d.0/28,", i>>8, i&255)
	}
	b.WriteString("21.0.0.0/8 }\n\t}\n\tchain in {\n\t\ttype filter hook input priority 0\n\t\tip saddr @blocked drop\n\t\tip saddr @nets drop\n")
	for i := range 4_997 {
		switch i % 4 {
		case 0:
			fmt.Fprintf(&b, "\t\tip saddr 172.16.%d.%d tcp dport %d counter drop\n", i>>8, i&255, 1+i)
		case 1:
			fmt.Fprintf(&b, "\t\tip saddr { 172.17.%d.%d, 172.18.0.1 } ct state new udp dport { 53, 123 } counter accept\n", i>>8, i&255)
		case 2:
			fmt.Fprintf(&b, "\t\tiifname \"eth%d\" ip daddr 10.%d.%d.0/24 tcp dport 80-90 accept\n", i, i>>8, i&255)
		case 3:
			fmt.Fprintf(&b, "\t\tlimit rate 10/second log prefix \"r%d\"\n", i)
		}
	}
	b.WriteString("\t\tmeta l4proto 4 drop\n\t}\n}\n")
	return b.String()
}

func TestManyRulesAreReadAndTracedSoon(t *testing.T) {
	enterNamespace(t)
	load(t, manyRules())
	began, busy := time.Now(), processor(t)
	r := read(t)
	readIn, readBusy := time.Since(began), processor(t)-busy
	began, busy = time.Now(), processor(t)
	f := r.Trace(ipip)
	tracedIn, tracedBusy := time.Since(began), processor(t)-busy
	t.Logf("%d rules read in %s (%s of a processor), traced in %s (%s)", r.Rules(), readIn, readBusy, tracedIn, tracedBusy)
	if f.Outcome != ruleset.Dropped || f.By.Number != 5_000 {
		t.Errorf("the packet is %s by %s", f.Outcome, f.By)
	}
	// Others may have the processors, so what counts is what this took of them.
	if took := readBusy + tracedBusy; took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
}

// processor is how long the thread of the test has had a processor.
func processor(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
