package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"rsagent/agent/control"
)

// drainMemory is what was drained by hand. It is a file that outlives the daemon,
// and no boot.
type drainMemory struct {
	Boot   string
	Drains []drainedByHand
}

type drainedByHand struct {
	Pool  string // empty: the node
	Text  string
	Since time.Time
}

func drainFile(directory string) string { return filepath.Join(directory, "drains.json") }

// bootID is a word for this boot: random(4).
func bootID() (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(boot)), err
}

// keepDrains writes down what is drained by hand.
func (a *Agent) keepDrains() {
	if a.succession.directory == "" {
		return
	}
	if err := rememberDrains(a.succession.directory, a.reasons); err != nil {
		a.log.Warn().Err(err).Msg("a restart of the daemon forgets what is drained by hand")
	}
}

func rememberDrains(directory string, r reasons) error {
	boot, err := bootID()
	if err != nil {
		return fmt.Errorf("cannot remember what is drained: %v", err)
	}
	m := drainMemory{Boot: boot, Drains: []drainedByHand{}}
	for _, pool := range r.pools() {
		for _, one := range r[pool] {
			if one.Kind == byHand {
				m.Drains = append(m.Drains, drainedByHand{pool, one.Text, one.Since})
			}
		}
	}
	path := drainFile(directory)
	if len(m.Drains) == 0 {
		if err = os.Remove(path); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	} else {
		err = writeWhole(path, m)
	}
	if err != nil {
		return fmt.Errorf("cannot remember what is drained: %v", err)
	}
	return nil
}

// recallDrains reads what was drained by hand since this boot. An error says why
// that cannot be told.
func recallDrains(directory string) (reasons, error) {
	r := make(reasons)
	text, err := readMemory(drainFile(directory))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	boot, err := bootID()
	if err != nil {
		return r, err
	}
	m, err := parseDrainMemory(text)
	if err != nil {
		return r, fmt.Errorf("%s: %v", drainFile(directory), err)
	}
	if m.Boot != boot {
		return r, nil
	}
	for _, d := range m.Drains {
		r.add(d.Pool, control.Reason{Kind: byHand, Text: d.Text, Since: d.Since})
	}
	return r, nil
}

func parseDrainMemory(text []byte) (drainMemory, error) {
	var m drainMemory
	if err := decodeWhole(text, &m); err != nil {
		return m, err
	}
	if m.Boot == "" {
		return m, errors.New("it does not say of which boot it is")
	}
	return m, nil
}

// resumeDrains goes on with what was drained by hand before. Where that cannot be
// told the node drains: somebody may be at work on its service.
func (a *Agent) resumeDrains(directory string) {
	before, err := recallDrains(directory)
	if err != nil {
		a.log.Error().Err(err).Msg("draining, since it cannot be told what was drained by hand; rsagent undrain ends it")
		before.add(wholeNode, control.Reason{Kind: byHand, Text: "what was drained by hand before cannot be told", Since: time.Now()})
	}
	for _, pool := range before.pools() {
		for _, one := range before[pool] {
			a.recalled = append(a.recalled, recalledDrain{pool, one})
		}
	}
}

// goOnDraining begins the drains that there are reasons for at the start, before
// anything is said of the node.
func (a *Agent) goOnDraining() {
	for _, r := range a.recalled {
		a.withdraw(r.pool, r.why, a.config.Drain.Timeout)
	}
	a.lookForDrainFile()
}

type recalledDrain struct {
	pool string
	why  control.Reason
}
