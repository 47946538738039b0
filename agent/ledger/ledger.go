// Package ledger remembers on disk what a node was like before it was changed,
// so that a later process can give exactly that back. It is data only: what
// the entries mean, and how they are undone, is the caller's.
package ledger

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
)

// Entry is one thing that was changed. Kind and Name say which thing: a ledger
// has no two entries with the same. All four may hold any bytes, as the names
// of interfaces may.
type Entry struct {
	Kind   string // such as "sysctl" or "address"
	Name   string
	Before string // what it was before the first change; "" for what was not there
	After  string // what it was changed to last
}

// Ledger is an open ledger. It is for one goroutine.
//
// Nothing is synced to a device: the ledger lives in /run, which is memory.
// It has to survive the death of the process, and for that the kernel need only
// have taken the write; a reboot undoes the changes themselves.
type Ledger struct {
	path    string
	boot    string
	damage  error
	changes map[thing]change
	newest  uint64 // order of the newest change

	file      *os.File // open for appending; nil: the next write makes the file anew
	unwritten []byte   // what the file still lacks
	lines     int      // how many the file has, the unwritten ones included
}

type thing struct{ kind, name string }

type change struct {
	before, after string
	order         uint64
}

// Open opens the ledger in the directory, which must be there and should be
// for this user alone: its file is "changes", with mode 0600. One process only
// may have it open. What was recorded under another boot id is dropped: the
// reboot has undone it. The id may be any string that changes whenever all the
// changes are undone by themselves.
//
// It fails if what stands there is not a file of this user's alone or cannot be
// read. A file that is damaged, or cannot be written, is no error here: see
// Damage and Record.
func Open(directory, bootID string) (*Ledger, error) {
	if bootID == "" {
		return nil, errors.New("cannot open the ledger: the boot id is empty")
	}
	l := &Ledger{
		path:    filepath.Join(directory, "changes"),
		boot:    bootID,
		changes: make(map[thing]change),
	}
	text, err := readFile(l.path)
	if err != nil {
		return nil, err
	}
	// What fails here is tried again, and reported, by the first Record.
	if tidy := l.parse(text); tidy {
		l.file, _ = os.OpenFile(l.path, appending, 0)
	} else {
		_ = l.rewrite()
	}
	return l, nil
}

// Damage says which lines Open could not read, as happens when the disk was
// full; what they said is lost, the others were kept. It is nil if there were
// none.
func (l *Ledger) Damage() error { return l.damage }

// Record remembers the entries. It is to be called before the changes are made,
// with all of them at once: that costs one write(2), and none if there is
// nothing new in them. Of a thing that is known already, Before stays what it
// was, and only a new After is news.
//
// After an error the entries are remembered by this Ledger, but a later process
// may not find them. The next call of Record, Forget or Close tries again to
// write all that is missing.
func (l *Ledger) Record(entries ...Entry) error {
	for _, e := range entries {
		id := thing{e.Kind, e.Name}
		c, known := l.changes[id]
		if known && c.after == e.After {
			continue
		}
		if !known {
			l.newest++
			c = change{before: e.Before, order: l.newest}
		}
		c.after = e.After
		l.changes[id] = c
		l.add(recordWord, id.kind, id.name, c.before, c.after)
	}
	return l.write()
}

// Forget takes the entry out, after it was undone. One that is not known is no
// error. Errors are those of Record.
func (l *Ledger) Forget(kind, name string) error {
	id := thing{kind, name}
	if _, known := l.changes[id]; known {
		delete(l.changes, id)
		l.add(forgetWord, kind, name)
	}
	return l.write()
}

// Entries returns what is remembered, the oldest change first.
func (l *Ledger) Entries() []Entry {
	ids := make([]thing, 0, len(l.changes))
	for id := range l.changes {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b thing) int {
		return cmp.Compare(l.changes[a].order, l.changes[b].order)
	})
	entries := make([]Entry, len(ids))
	for i, id := range ids {
		c := l.changes[id]
		entries[i] = Entry{Kind: id.kind, Name: id.name, Before: c.before, After: c.after}
	}
	return entries
}

// Close writes what is missing, if anything is, and closes the file. The
// ledger stays on disk.
func (l *Ledger) Close() error {
	err := l.write()
	if l.file != nil {
		l.file.Close()
	}
	return err
}
