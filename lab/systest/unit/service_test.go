//go:build lab

package unit

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// patience is how long anything may take that nothing holds up.
const patience = 20 * time.Second

// entry is what a line of the journal is about (systemd.journal-fields(7)).
type entry struct {
	Cursor   string `json:"__CURSOR"`
	Priority string `json:"PRIORITY"` // "0" to "7", as syslog(3) has them
	Program  string `json:"SYSLOG_IDENTIFIER"`
	Message  any    `json:"MESSAGE"` // an array of bytes, if it is not text
	Result   string `json:"UNIT_RESULT"`
}

func (e entry) text() string { return fmt.Sprint(e.Message) }

func (e entry) has(text string) bool { return strings.Contains(e.text(), text) }

func (e entry) String() string {
	return fmt.Sprintf("%s <%s> %s", e.Program, e.Priority, e.text())
}

// journal is what the service and systemd have said of it since it started.
func (s service) journal() []entry {
	s.t.Helper()
	return read(s.t, "--unit="+unit, "--after-cursor="+s.cursor)
}

func (s service) said(text string) bool {
	s.t.Helper()
	for _, e := range s.journal() {
		if e.has(text) {
			return true
		}
	}
	return false
}

func (s service) waitSaid(text string) {
	s.t.Helper()
	for began := time.Now(); !s.said(text); time.Sleep(100 * time.Millisecond) {
		if time.Since(began) > patience {
			s.t.Fatalf("the journal does not have %q", text)
		}
	}
}

// lastEntry is where the journal ends now.
func lastEntry(t *testing.T) string {
	t.Helper()
	last := read(t, "--lines=1")
	if len(last) == 0 {
		t.Fatal("the journal is empty")
	}
	return last[0].Cursor
}

func read(t *testing.T, args ...string) []entry {
	t.Helper()
	_, err := run("journalctl", "--sync")
	ok(t, err)
	out, err := run("journalctl", append(args, "--quiet", "--output=json")...)
	ok(t, err)
	var entries []entry
	for line := range strings.Lines(out) {
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("cannot read the journal: %v: %s", err, line)
		}
		entries = append(entries, e)
	}
	return entries
}

// kill sends a signal to the daemon itself.
func (s service) kill(signal string) {
	s.t.Helper()
	_, err := run("systemctl", "kill", "--kill-whom=main", "--signal="+signal, unit)
	ok(s.t, err)
}

// show asks systemd for a property of the unit.
func (s service) show(property string) string {
	s.t.Helper()
	out, err := run("systemctl", "show", "--value", "--property="+property, unit)
	ok(s.t, err)
	return strings.TrimSpace(out)
}

func (s service) want(property, value string) {
	s.t.Helper()
	if got := s.show(property); got != value {
		s.t.Errorf("the unit's %s is %q, want %q", property, got, value)
	}
}

func (s service) waitFor(property, value string) {
	s.t.Helper()
	for began := time.Now(); s.show(property) != value; time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > patience {
			s.t.Fatalf("the unit's %s is still %q, want %q", property, s.show(property), value)
		}
	}
}
