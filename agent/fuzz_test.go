package agent

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"rsagent/sysctl"
)

// What is believed of the pools is young, says each pool once, and is read the
// same when it is written again.
func FuzzMemory(f *testing.F) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.Add([]byte(`{"Written":"2026-01-02T03:04:04Z","Pools":[{"Name":"web","Asked":{"Kind":"http"},"State":"up","Detail":"","Since":"2026-01-02T03:04:00Z"}]}`))
	f.Add([]byte(`{"Written":"2026-01-02T03:04:04Z","Pools":[{"Name":"a","State":"down"},{"Name":"a","State":"up"}]} {}`))
	f.Add([]byte(`{"Written":"2036-01-02T03:04:04Z","Pools":null,"Other":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := parseMemory(text, now)
		if err != nil {
			return
		}
		if age := now.Sub(m.Written); age < 0 || age > memoryLasts {
			t.Fatalf("what is %v old was believed", age)
		}
		seen := make(map[string]bool)
		for _, p := range m.Pools {
			if seen[p.Name] || p.State != "up" && p.State != "down" {
				t.Fatalf("%+v was believed", p)
			}
			seen[p.Name] = true
		}
		written, err := json.Marshal(m)
		if err != nil {
			return // a year that RFC 3339 has not
		}
		again, err := parseMemory(written, now)
		if diff := cmp.Diff(m, again, cmp.Comparer(sameTarget)); err != nil || diff != "" {
			t.Fatalf("%v, (-read +written and read):\n%s", err, diff)
		}
	})
}

// A weight is a whole number of percent, whatever a file or a program says.
func FuzzWeight(f *testing.F) {
	for _, s := range []string{"0", "100\n", " 7 ", "101", "-1", "+1", "1e1", "0x1", "\u0661", "007", "99999999999999999999", "1\n2", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		percent, good := parseWeight(text)
		if !good {
			return
		}
		digits := strings.TrimLeft(strings.TrimSpace(text), "0")
		if digits == "" {
			digits = "0"
		}
		if percent < 0 || percent > 100 || strconv.Itoa(percent) != digits {
			t.Fatalf("%q is taken for %d", text, percent)
		}
	})
}

// Whatever the kernel says of its load and its processors, what comes of it is a
// weight that takes no node out, or an error.
func FuzzLoad(f *testing.F) {
	f.Add("0.00 0.01 0.05 1/128 25248\n", "0-3\n")
	f.Add("-1", "0,2-3,5\n")
	f.Add("Inf", "0-65535")
	f.Add("NaN 1", "5-1")
	f.Add("1e300 1", "0")
	f.Fuzz(func(t *testing.T, load, online string) {
		if percent, err := weightOf(load, online); err == nil && (percent < 1 || percent > 100) {
			t.Fatalf("%q on %q is %d", load, online, percent)
		}
	})
}

// What is believed of the weight is one, and is read the same when it is written
// again.
func FuzzWeightMemory(f *testing.F) {
	f.Add([]byte(`{"Written":"2026-01-02T03:04:05Z","Percent":30,"Ready":{"":"2026-01-02T03:04:00Z","web":"2026-01-02T03:04:05Z"}}`))
	f.Add([]byte(`{"Written":"2026-01-02T03:04:05Z","Percent":300,"Ready":null}`))
	f.Add([]byte(`{"Written":"2026-01-02T03:04:05Z","Ready":{"web":"2027-01-02T03:04:05Z"}} {}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := parseWeightMemory(text)
		if err != nil {
			return
		}
		if m.Percent < 0 || m.Percent > 100 || m.Ready == nil {
			t.Fatalf("%+v was believed", m)
		}
		for pool, since := range m.Ready {
			if since.After(m.Written) {
				t.Fatalf("%q of later was believed: %+v", pool, m)
			}
		}
		written, err := json.Marshal(m)
		if err != nil {
			return // a year that RFC 3339 has not
		}
		again, err := parseWeightMemory(written)
		if diff := cmp.Diff(m, again); err != nil || diff != "" {
			t.Fatalf("%v, (-read +written and read):\n%s", err, diff)
		}
	})
}

// Whatever a process calls itself, what is said of it is fit for a line of a log.
func FuzzProcess(f *testing.F) {
	f.Add("Name:\tip\nPPid:\t7\nNSpid:\t9\t3\n", "ip\x00addr\x00del\x00", "0::/system.slice/networking.service\n")
	f.Add("Name:\tpython3\nPPid:\t1\n", "/usr/bin/python3\x00-m\x00http.server\x00", "12:name=systemd:/user.slice\n0::/\n")
	f.Add("Name\nPPid:\tx\nNSpid:\t\t", "nginx: worker process", "0::/\x1b[31m.service")
	f.Add("", "-\x00\x00", "::")
	f.Fuzz(func(t *testing.T, status, cmdline, cgroup string) {
		proc := t.TempDir()
		if err := os.Mkdir(filepath.Join(proc, "42"), 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"status": status, "cmdline": cmdline, "cgroup": cgroup} {
			if err := os.WriteFile(filepath.Join(proc, "42", name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		p, there := readProcess(proc, 42)
		if there != (status != "") {
			t.Fatalf("there: %v, with the status %q", there, status)
		}
		p.arguments = readArguments(proc, 42)
		for _, said := range append(programNames(proc, 42), p.String(), p.unit(proc)) {
			if len([]rune(said)) > 300 {
				t.Fatalf("this is too long for a line: %q", said)
			}
		}
		for _, said := range []string{p.String(), p.unit(proc)} {
			if strings.ContainsFunc(said, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Fatalf("this is not fit for a log: %q", said)
			}
		}
	})
}

// A setting is on only if it is a number other than 0; all else is unknown.
func FuzzNumber(f *testing.F) {
	for _, s := range []string{"0", "1", "-1", "", "0x1", "1 2", "99999999999999999999", "+1", "\u0661"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		key := sysctl.ConfKey("all", "send_redirects")
		n := Node{Sysctl: sysctl.Values{key: {Text: text}}}
		on, err := switchedOn(n, []sysctl.Key{key})
		value, bad := strconv.Atoi(text)
		if (err != nil) != (bad != nil) || len(on) > 0 != (err == nil && value != 0) {
			t.Fatalf("%q: on %v, %v", text, on, err)
		}
	})
}

func sameTarget(a, b rememberedPool) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return bytes.Equal(x, y)
}
