package agent

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/rs/zerolog"

	"rsagent/agent/config"
	"rsagent/agent/ledger"
)

// abandon gives back what the ledger has of configurations that are not in
// force any more.
func (a *Agent) abandon() {
	if a.host.Ledger == nil {
		return
	}
	a.giveBack(slices.DeleteFunc(a.host.Ledger.Entries(), wantedBy(a.config)))
}

// Undo gives back all that the ledger has, and logs it. The VIPs of the
// configuration are those that may be left on the node. The error says that some
// of it could not be given back.
func Undo(c config.Config, host Host, log zerolog.Logger) error {
	if failed := giveBack(c.VIPs, host, log, host.Ledger.Entries()); failed > 0 {
		return fmt.Errorf("cannot give back %s; the log says why, and what was given back is", counted(failed, "change"))
	}
	return nil
}

// giveBack undoes entries of the ledger, and forgets them.
func (a *Agent) giveBack(entries []ledger.Entry) {
	giveBack(a.config.VIPs, a.host, a.log, entries)
}

func giveBack(vips []netip.Addr, host Host, log zerolog.Logger, entries []ledger.Entry) (failed int) {
	if len(entries) == 0 {
		return 0
	}
	vips = slices.Clone(vips)
	for _, e := range entries {
		if p, _, ok := addressOf(e); ok {
			vips = append(vips, p.Addr())
		}
	}
	for _, u := range undo(host, entries, vips) {
		switch {
		case u.err != nil:
			log.Error().Str("what", u.what).Err(u.err).Msg("cannot undo")
			failed++
			continue
		case u.left != "":
			log.Warn().Str("what", u.what).Str("why", u.left).Msg("left as it is")
		default:
			log.Info().Str("what", u.what).Str("old", orAbsent(u.entry.After)).Str("new", orAbsent(u.entry.Before)).Msg("undone")
		}
		if host.Ledger != nil {
			// What cannot be forgotten is undone once more, which changes nothing.
			_ = host.Ledger.Forget(u.entry.Kind, u.entry.Name)
		}
	}
	return failed
}

func orAbsent(state string) string {
	if state == "" {
		return wasGone
	}
	return state
}

// rollBack undoes steps that were just taken.
func (a *Agent) rollBack(steps []Step) {
	var entries []ledger.Entry
	for _, s := range steps {
		entries = append(entries, s.entries...)
	}
	a.giveBack(entries)
}
