package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"rsagent/lab/network"
)

// outcome is what came of a row.
type outcome struct {
	row
	client, got, remedy string
	mended              time.Duration // how long the daemon took
}

type finding struct{ ID, Severity, Status, Want, Got, Cause, Remedy string }

// limit is how long it may take until all is well again: an emulated machine is
// slow, and the sweep of the daemon, after 10 s, shall not be waited for.
const limit = 6 * time.Second

// do goes through a row on a site where all is well, and leaves it so.
func (s *site) do(r row) (o outcome, err error) {
	o.row = r
	if r.conf != "" || r.hand {
		if err := s.configure(r); err != nil {
			return o, err
		}
	}
	if err := on(s.host(r.at), r.inject); err != nil {
		return o, fmt.Errorf("cannot inject: %v", err)
	}
	if o.client, err = s.look(r); err != nil {
		return o, err
	}
	if !strings.Contains(o.client, string(r.sees)) || (r.sees != fine && o.client == string(fine)) {
		err = fmt.Errorf("clients see %q, want %q", o.client, r.sees)
	}
	quiet := func() error { return nil }
	if r.busy {
		quiet = s.bother()
	}
	found, checkErr := s.checkInWords(s.host(r.from))
	if checkErr = errors.Join(checkErr, quiet()); checkErr != nil {
		return o, errors.Join(err, checkErr)
	}
	first := found.first()
	o.got, o.remedy = first.Got, first.Remedy
	err = errors.Join(err, found.judge(r), s.remedy(r, first), s.cleanUp(r), s.wellAgain(r))
	if err != nil {
		return o, fmt.Errorf("%v\ncheck said:\n%s", err, found.text)
	}
	if r.owned {
		o.mended, err = s.unaided(r)
	}
	return o, err
}

func (s *site) look(r row) (string, error) {
	if r.with != nil {
		return r.with(s)
	}
	return browse(s)
}

// configure gives the node the configuration of the row, or none.
func (s *site) configure(r row) error {
	if r.hand {
		return os.Remove(configFile)
	}
	text := s.AgentConfig(r.conf, pools)
	if err := os.WriteFile(configFile, []byte(text), 0o600); err != nil {
		return err
	}
	return s.setUp()
}

// remedy does what check said, or what a person does who is told that it takes
// one.
func (s *site) remedy(r row, first finding) error {
	if r.words != "" && !strings.Contains(first.Remedy, r.words) {
		return fmt.Errorf("the remedy is %q, want it to have %q", first.Remedy, r.words)
	}
	if r.undo != "" {
		return on(s.host(r.at), r.undo)
	}
	if first.Remedy == "" {
		return fmt.Errorf("%s has no remedy", first.ID)
	}
	if out, err := s.host(r.from).Run("sh", "-c", first.Remedy); err != nil {
		return fmt.Errorf("the remedy fails: %v: %s", err, out)
	}
	return nil
}

// cleanUp takes away what is left of a fault that harms nobody any more, but
// not before clients and check say so.
func (s *site) cleanUp(r row) error {
	if r.hand {
		return nil
	}
	if err := s.isWell(r); err != nil {
		return fmt.Errorf("after the remedy: %v", err)
	}
	if r.clean == "" {
		return nil
	}
	return on(s.host(r.at), "{ "+r.clean+"; } || true")
}

func (s *site) isWell(r row) error {
	_, err := until(limit, func() error {
		said, err := s.look(r)
		if err == nil && said != string(fine) {
			err = errors.New("clients see " + said)
		}
		return err
	})
	if err != nil {
		return err
	}
	_, err = until(limit, func() error {
		found, err := s.check()
		if err == nil && found.status != 0 {
			err = fmt.Errorf("check exits with %d: %v", found.status, found.failed())
		}
		if err == nil && !r.hand && len(found.failed()) > 0 || found.names(r.id) {
			err = fmt.Errorf("check finds %v", found.failed())
		}
		return err
	})
	return err
}

// wellAgain gives the node back what the row took, and wants all as it was.
func (s *site) wellAgain(r row) error {
	if err := s.kill(); err != nil {
		return err
	}
	if r.hand {
		if err := s.isWell(r); err != nil {
			return fmt.Errorf("after the remedy: %v", err)
		}
		if err := on(s.host(r.at), "{ "+cmp.Or(r.clean, "true")+"; } || true"); err != nil {
			return err
		}
	}
	return s.forget()
}

// unaided does the fault to a node whose daemon runs, which must mend it.
func (s *site) unaided(r row) (time.Duration, error) {
	if err := s.start(); err != nil {
		return 0, err
	}
	if err := on(s.host(r.at), r.inject); err != nil {
		return 0, fmt.Errorf("cannot inject with the daemon running: %v", err)
	}
	took, err := until(limit, func() error {
		found, err := s.check()
		if err == nil && found.names(r.id) {
			err = fmt.Errorf("%s still fails", r.id)
		}
		return err
	})
	if err == nil {
		err = s.isWell(r)
	}
	if err != nil {
		journal, _ := s.Web1.Run("journalctl", "-u", unit, "-n", "30", "-o", "cat")
		err = fmt.Errorf("the daemon does not mend it: %v\n%s", err, journal)
	}
	return took, errors.Join(err, s.kill(), s.cleanUp(r))
}

// found is what check says.
type found struct {
	status   int
	findings []finding
	text     string
}

// checkInWords asks as an admin does, and for JSON before that. Not at once: each
// would see what the other tries.
func (s *site) checkInWords(from *network.Host) (found, error) {
	f, err := checkOn(from)
	if err != nil {
		return f, err
	}
	words, err := from.Start(exec.Command("rsagent", "check"))
	if err != nil {
		return f, err
	}
	_, err = words.Wait(time.Minute)
	f.text = words.Log()
	return f, err
}

func (s *site) check() (found, error) { return checkOn(s.Web1) }

func checkOn(h *network.Host) (found, error) {
	var f found
	asJSON, err := h.Start(exec.Command("rsagent", "check", "--json"))
	if err != nil {
		return f, err
	}
	if f.status, err = asJSON.Wait(time.Minute); err != nil {
		return f, err
	}
	var report struct{ Findings []finding }
	if err := json.Unmarshal([]byte(asJSON.Log()), &report); err != nil {
		return f, fmt.Errorf("cannot read what check says, status %d: %s", f.status, asJSON.Log())
	}
	f.findings = report.Findings
	return f, nil
}

// first is the worst finding: the first required one that failed, else the
// first advisory one.
func (f found) first() finding {
	for _, severity := range []string{"required", "advisory"} {
		for _, one := range f.findings {
			if one.Status == "failed" && one.Severity == severity {
				return one
			}
		}
	}
	return finding{}
}

func (f found) failed() (ids []string) {
	for _, one := range f.findings {
		if one.Status == "failed" {
			ids = append(ids, one.ID)
		}
	}
	return ids
}

func (f found) names(id string) bool { return slices.Contains(f.failed(), id) }

// judge wants the right cause first, in the text too, and the exit status that
// goes with it.
func (f found) judge(r row) error {
	first := f.first()
	if first.ID != r.id {
		return fmt.Errorf("check says %q first (%s; remedy: %s), want %q; in all %v", first.ID, first.Got, first.Remedy, r.id, f.failed())
	}
	if want := map[string]int{"required": 1, "advisory": 0}[first.Severity]; f.status != want {
		return fmt.Errorf("check exits with %d, want %d", f.status, want)
	}
	if !strings.Contains(first.Want+first.Got+first.Cause, r.says) {
		return fmt.Errorf("check does not say %q: %+v", r.says, first)
	}
	at := strings.Index(f.text, "  "+first.ID+"\n")
	for _, id := range f.failed() {
		if other := strings.Index(f.text, "  "+id+"\n"); id != first.ID && other >= 0 && other < at {
			return fmt.Errorf("in the text %s stands before %s", id, first.ID)
		}
	}
	if at < 0 {
		return fmt.Errorf("the text does not name %s: %s", first.ID, f.text)
	}
	return nil
}
