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

// replace puts the table that is wanted in the place of the one there is.
func (s *nftSocket) replace(want Firewall) error {
	if _, err := s.generation(); err != nil {
		return err
	}
	counters, err := s.counters()
	if err != nil {
		return err
	}
	ours := ourTable()
	s.changes.AddTable(ours) // or there is nothing to delete
	s.changes.DelTable(ours)
	s.changes.AddTable(ours)
	t := want.table()
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
	err = s.commit()
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return ErrNoNFTables // all that the change names is in it but the kernel's own parts
	}
	return err
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
