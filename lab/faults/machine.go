package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// machine has a site, and makes a new one when a row has spoilt it.
type machine struct{ site *site }

func (m *machine) ready() error {
	if m.site != nil {
		return nil
	}
	var err error
	m.site, err = newSite()
	if err != nil {
		m.site = nil
	}
	return err
}

// row does a row, and leaves a site on which all is well.
func (m *machine) row(r row) (outcome, error) {
	if err := m.ready(); err != nil {
		return outcome{row: r}, fmt.Errorf("cannot make a site: %v", err)
	}
	o, err := m.site.do(r)
	return o, errors.Join(err, m.leave(r, err))
}

// leave takes the site away unless it is as it was.
func (m *machine) leave(r row, failed error) error {
	if failed != nil {
		m.site.recover(r)
	}
	if r.conf != "" || r.hand {
		text, err := os.ReadFile(goodConfig)
		if err != nil {
			return err
		}
		if err := os.WriteFile(configFile, text, 0o600); err != nil {
			return err
		}
	}
	left, err := m.site.differs()
	if err != nil || left == "" {
		return err
	}
	// What the daemon owns it gives back.
	if err := m.site.setUp(); err != nil {
		return err
	}
	if left, err = m.site.differs(); err != nil || left == "" {
		return err
	}
	fmt.Fprintf(os.Stderr, "        a new site, since this is left of %q:\n        %s\n", r.name,
		strings.ReplaceAll(strings.TrimSpace(left), "\n", "\n        "))
	return m.close()
}

// recover takes back what it can of a row that did not hold. What is left shows
// in the site's state.
func (s *site) recover(r row) {
	_ = s.kill()
	for _, script := range []string{r.undo, r.clean} {
		if script != "" {
			_ = on(s.host(r.at), "{ "+script+"; } || true")
		}
	}
	_ = s.forget()
}

// pair does two faults at once and wants both named.
func (m *machine) pair(p pair) (ids []string, err error) {
	if err := m.ready(); err != nil {
		return nil, fmt.Errorf("cannot make a site: %v", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.close())
		}
	}()
	var rows []row
	for _, name := range []string{p.first, p.second} {
		r, ok := find(name)
		if !ok {
			return nil, fmt.Errorf("no row is called %q", name)
		}
		rows, ids = append(rows, r), append(ids, r.id)
	}
	return ids, m.site.both(rows)
}

func (s *site) both(rows []row) error {
	for _, r := range rows {
		if err := on(s.host(r.at), r.inject); err != nil {
			return fmt.Errorf("cannot inject %s: %v", r.name, err)
		}
	}
	said, err := browse(s)
	if err != nil {
		return err
	}
	quiet := func() error { return nil }
	if rows[0].busy || rows[1].busy {
		quiet = s.bother()
	}
	f, err := s.checkInWords(s.Web1)
	if err = errors.Join(err, quiet()); err != nil {
		return err
	}
	for _, r := range rows {
		if !f.names(r.id) {
			return fmt.Errorf("check does not name %s, but %v; clients see %s\ncheck said:\n%s", r.id, f.failed(), said, f.text)
		}
	}
	for _, r := range rows {
		for _, one := range f.findings {
			if one.ID == r.id {
				if err := s.remedy(r, one); err != nil {
					return err
				}
			}
		}
	}
	if err := s.isWell(rows[0]); err != nil {
		return fmt.Errorf("after both remedies: %v", err)
	}
	if err := s.kill(); err != nil {
		return err
	}
	for _, r := range rows {
		if r.clean != "" {
			if err := on(s.host(r.at), "{ "+r.clean+"; } || true"); err != nil {
				return err
			}
		}
	}
	return s.setUp()
}

func (m *machine) close() error {
	if m.site == nil {
		return nil
	}
	err := m.site.close()
	m.site = nil
	return err
}
