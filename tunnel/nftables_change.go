package tunnel

import (
	"errors"
	"slices"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// elementsAtOnce is how many elements go into one message: the length of what
// holds them has 16 bits, and each takes up to 28 bytes.
const elementsAtOnce = 2000

// replace makes the table what is wanted, in one change.
//
// What a packet meets is decided in two steps: it takes the list of hooks, and
// then each chain in that list picks the rules of the old or the new generation
// (nft_do_chain, net/netfilter/nf_tables_core.c). Between the steps a chain that
// is deleted loses its rules, and one that is new had none when the packet came
// by, or is not in the list. So chains stay, and only what is in them changes. Sets are made anew: in one that
// stays, an element that goes can be missing for those who look while the
// generation changes, and it keeps its size.
//
// A table that somebody tampered with may not take this: a chain has another
// hook, or something in it is of a kind that rsagent does not use. That one is
// deleted and made anew, and a packet on its way may get through.
func (s *nftSocket) replace(want Firewall) error {
	state, err := s.observe()
	if err != nil {
		return err
	}
	flowtables, err := s.flowtables()
	if err != nil {
		return err
	}
	counters := map[string]Counter{
		notDirectorCounter: state.NotDirector, notVIPCounter: state.NotVIP, clampedCounter: state.Clamped,
	}
	s.changes.AddTable(ourTable()) // wakes it up, too
	s.empty(state.table, want.table(), flowtables)
	err = s.fill(want, counters)
	if err != nil && state.there {
		s.changes.AddTable(ourTable()) // or there may be nothing to delete
		s.changes.DelTable(ourTable())
		s.changes.AddTable(ourTable())
		err = s.fill(want, counters)
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return ErrNoNFTables // all that the change names is in it but the kernel's own parts
	}
	return err
}

// empty gives the changes that leave of the table no more than the chains and
// counters that are wanted. Nothing may refer to what is deleted, hence the
// order.
func (s *nftSocket) empty(there, want table, flowtables []string) {
	ours := ourTable()
	s.changes.FlushTable(ours) // all rules
	for name, found := range there.sets {
		if found.flags&unix.NFT_SET_ANONYMOUS == 0 { // or it has gone with its rule
			s.changes.DelSet(&nftables.Set{Table: ours, Name: name})
		}
	}
	for name := range there.chains {
		if _, ok := want.chains[name]; !ok {
			s.changes.DelChain(&nftables.Chain{Table: ours, Name: name})
		}
	}
	for _, name := range there.counters {
		if !slices.Contains(want.counters, name) {
			s.changes.DeleteObject(&nftables.CounterObj{Table: ours, Name: name})
		}
	}
	for _, name := range flowtables {
		s.changes.DelFlowtable(&nftables.Flowtable{Table: ours, Name: name})
	}
}

// fill adds what is wanted to the changes and commits them. Chains and counters
// that are there already stay as they are; only the policy is set.
func (s *nftSocket) fill(want Firewall, counters map[string]Counter) error {
	ours, t := ourTable(), want.table()
	for _, name := range t.counters {
		c := counters[name]
		s.changes.AddObj(&nftables.CounterObj{Table: ours, Name: name, Packets: c.Packets, Bytes: c.Bytes})
	}
	for name, content := range t.sets {
		if err := s.addSet(ours, name, content); err != nil {
			return err
		}
	}
	for _, c := range want.chains() {
		accept := nftables.ChainPolicyAccept
		chain := s.changes.AddChain(&nftables.Chain{
			Table: ours, Name: c.chain, Type: nftables.ChainTypeFilter,
			Hooknum: &c.hook, Priority: &c.priority, Policy: &accept,
		})
		for _, r := range c.list {
			s.changes.AddRule(&nftables.Rule{Table: ours, Chain: chain, Exprs: r})
		}
	}
	return s.commit()
}

// flowtables is the names of the table's flowtables, which rsagent has none of.
func (s *nftSocket) flowtables() (names []string, err error) {
	answers, err := s.all(unix.NFT_MSG_GETFLOWTABLE, nftables.NFTA_FLOWTABLE_TABLE)
	if err != nil {
		return nil, err
	}
	err = each(answers, nftables.NFTA_FLOWTABLE_TABLE, func(attrs map[uint16][]byte) error {
		names = append(names, name(attrs[nftables.NFTA_FLOWTABLE_NAME]))
		return nil
	})
	return names, err
}

func ourTable() *nftables.Table {
	return &nftables.Table{Name: tableName, Family: nftables.TableFamilyIPv4}
}

func (s *nftSocket) addSet(ours *nftables.Table, name string, content set) error {
	// With a size the kernel takes a hash that does not grow. One that grows
	// does so a while after the change, and a list that is taken meanwhile lacks
	// elements and has others twice, without a mark (nft_rhash_walk,
	// net/netfilter/nft_set_hash.c).
	named := &nftables.Set{Table: ours, Name: name, KeyType: nftables.TypeIPAddr, Size: uint32(len(content.elements))}
	if content.flags&unix.NFT_SET_INTERVAL != 0 {
		named.Interval, named.Size = true, 0 // a tree
	}
	if err := s.changes.AddSet(named, nil); err != nil {
		return err
	}
	for some := range slices.Chunk(setElements(content.elements), elementsAtOnce) {
		if err := s.changes.SetAddElements(named, some); err != nil {
			return err
		}
	}
	return nil
}

func setElements(elements []element) []nftables.SetElement {
	list := make([]nftables.SetElement, 0, len(elements))
	for i := range elements {
		e := &elements[i]
		list = append(list, nftables.SetElement{
			Key: e.key[:], IntervalEnd: e.flags&unix.NFT_SET_ELEM_INTERVAL_END != 0,
		})
	}
	return list
}

// remove takes the table away. If it is not there, nobody is told of a change.
func (s *nftSocket) remove() error {
	if _, err := s.generation(); err != nil {
		return err
	}
	s.changes.DelTable(ourTable())
	err := s.commit()
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// commit sends all that was given to the library as one change.
func (s *nftSocket) commit() error {
	// The kernel has answered when the request has been sent. Should it answer
	// less than the library waits for, this ends it.
	if err := s.conn.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
		return err
	}
	err := s.changes.Flush()
	if err != nil {
		s.discard()
		return s.kernelError(err)
	}
	return nil
}
