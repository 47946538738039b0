package tunnel

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// FirewallWatch knows whether rsagent's table was touched. What others do to
// tables of their own is passed over.
type FirewallWatch struct {
	events  listener
	told    func(Change)
	touched bool // since Changed was asked last
	ours    bool // the change that is being told of concerns our table
}

// FollowFirewall returns a FirewallWatch of the network namespace that the
// caller's thread is in. Whenever somebody changes rsagent's table, told is
// called; it must return at once and not call the FirewallWatch. It needs
// CAP_NET_ADMIN. If the kernel has no nf_tables, errors.Is(err, ErrNoNFTables).
func FollowFirewall(told func(Change)) (*FirewallWatch, error) {
	w := &FirewallWatch{told: told, touched: true}
	w.events = listener{subscribe: subscribeFirewall, take: w.take, lost: w.lose}
	if err := w.events.open(); err != nil {
		return nil, err
	}
	return w, nil
}

// Run takes in changes and tells of them until ctx ends.
func (w *FirewallWatch) Run(ctx context.Context) { w.events.run(ctx) }

// Close ends the use of the FirewallWatch. Run must have returned.
func (w *FirewallWatch) Close() { w.events.close() }

// Changed tells whether the table may have been changed since it was asked
// last, by anybody.
func (w *FirewallWatch) Changed() bool {
	w.events.mu.Lock()
	defer w.events.mu.Unlock()
	if err := w.events.drain(); err != nil {
		return true
	}
	touched := w.touched
	w.touched = false
	return touched
}

func (w *FirewallWatch) lose() {
	w.touched = true
	w.told(Change{Lost: true})
}

// take takes in one message of a change. The last one of each change is that of
// the new generation, and says who made it (nf_tables_gen_notify,
// net/netfilter/nf_tables_api.c).
func (w *FirewallWatch) take(m message) {
	const header = 4 // struct nfgenmsg
	if len(m.body) < header || m.kind>>8 != unix.NFNL_SUBSYS_NFTABLES {
		return
	}
	if m.kind&0xff != unix.NFT_MSG_NEWGEN {
		// The name of the table is the attribute 1 of all that is in one.
		_ = eachAttribute(m.body[header:], func(kind uint16, value []byte) {
			if kind == unix.NFTA_TABLE_NAME && name(value) == tableName && m.body[0] == unix.NFPROTO_IPV4 {
				w.ours = true
			}
		})
		return
	}
	if !w.ours {
		return
	}
	w.ours, w.touched = false, true
	w.told(authorOf(m.body[header:]))
}

// authorOf reads who made a change. The kernel names the thread; one of this
// process is no author worth naming.
func authorOf(generation []byte) Change {
	var c Change
	_ = eachAttribute(generation, func(kind uint16, value []byte) {
		switch kind {
		case unix.NFTA_GEN_PROC_PID:
			if pid, err := number32(value); err == nil {
				c.Author = int(pid)
			}
		case unix.NFTA_GEN_PROC_NAME:
			c.Program = name(value)
		}
	})
	if _, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", c.Author)); err == nil {
		return Change{}
	}
	return c
}

func subscribeFirewall() (*os.File, error) {
	file, err := subscribeTo(unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTABLES)
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		err = ErrNoNFTables
	}
	return file, cannot(err, "subscribe to what happens to the packet filter")
}
