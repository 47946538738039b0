package ruleset

import (
	"fmt"
	"net/netip"
)

// Outcome is what becomes of a packet.
type Outcome uint8

const (
	Passes     Outcome = iota
	Dropped            // and nobody is told, or as Fate.Rejected says
	Rewritten          // it goes on with another address or port, as Fate.Why says
	CannotTell         // it depends on what nobody can know beforehand: Fate.Why
)

func (o Outcome) String() string {
	return [...]string{"passes", "dropped", "rewritten", "cannot tell"}[o]
}

// Fate is what becomes of a packet, and what decides it.
type Fate struct {
	Outcome  Outcome
	Rejected bool // dropped, and the sender is told
	By       Place
	// Why is to what a packet is rewritten, or the expression that has no answer.
	Why string
	// If is what becomes of a packet of which it cannot be told, if it does not
	// pass; nil if that is not known either.
	If *Fate
	// Then is what becomes of a packet that is dropped or rewritten if that is
	// mended: nil if it passes.
	Then *Fate

	packet Packet
}

// Place is a rule, or the policy of a chain.
type Place struct {
	Family, Table, Chain string
	// Base is the chain that the kernel called, from which Chain was reached.
	Base   string
	Policy bool   // not a rule: the policy of Chain
	Handle uint64 // of the rule, in nf_tables
	Number int    // of the rule, from 1
	Rule   string // in the words of nft or iptables
	Tool   string // that changes the table: nft, iptables-nft, ebtables-nft, iptables-legacy or iptables

	engine   engine
	hook     int
	owned    bool
	firewall string // the zone of firewalld
}

// String says where it is in words.
func (p Place) String() string {
	if p.Table == "" {
		return "the packet filter"
	}
	where := fmt.Sprintf("chain %s of table %s %s", p.Chain, p.Family, p.Table)
	if p.engine == engineLegacy {
		where = fmt.Sprintf("chain %s of table %s of %s", p.Chain, p.Table, p.Tool)
	}
	if p.Policy {
		return "the policy of " + where
	}
	handle := ""
	if p.engine == engineNFTables {
		handle = fmt.Sprintf(", handle %d", p.Handle)
	}
	return fmt.Sprintf("rule %d of %s%s (%s)", p.Number, where, handle, p.Rule)
}

func (r *run) place() Place {
	t := r.chain.table
	p := Place{
		Family: t.family.String(), Table: t.name, Chain: r.chain.name, Base: r.base().name,
		Tool: "nft", engine: t.engine, hook: r.base().base.hook, owned: t.owner != 0, firewall: r.firewalld,
	}
	switch t.engine {
	case engineCompat:
		p.Tool = "iptables-nft"
		if t.family == familyBridge {
			p.Tool = "ebtables-nft"
		}
	case engineLegacy:
		p.Tool = r.rules.legacyTool
	}
	if r.rule >= len(r.chain.rules) {
		p.Chain, p.Policy = r.base().name, true
		return p
	}
	at := r.chain.rules[r.rule]
	p.Handle, p.Number, p.Rule = at.handle, at.number, at.text()
	return p
}

// dropped is the fate of a packet that the rule, or the policy, does not let go on
// as it is; it goes on to see what else would stop it.
func (r *run) dropped(kind verdictKind, policy bool) Fate {
	f := Fate{Outcome: Dropped, Rejected: kind == reject, By: r.place(), packet: r.packet}
	if kind == rewrite {
		f.Outcome, f.Why = Rewritten, r.what
	}
	r.leave()
	if then := r.resume(); then.Outcome != Passes {
		f.Then = &then
	}
	return f
}

func (r *run) cannotTell(f *Fate) Fate {
	return Fate{Outcome: CannotTell, By: r.place(), Why: r.what, If: f, packet: r.packet}
}

func (r *run) giveUp(why string) Fate {
	return Fate{Outcome: CannotTell, Why: why, packet: r.packet}
}

// together is the fate of a packet of which the expression i at a rule decides
// which of two ways it goes.
func (r *run) together(at state, i int, with, without Fate) Fate {
	if with.Outcome == without.Outcome && (with.Outcome != Rewritten || with.Why == without.Why) {
		return without
	}
	bad := with
	if bad.Outcome == Passes {
		bad = without
	}
	if bad.Outcome == CannotTell {
		return bad
	}
	r.state = at
	return Fate{Outcome: CannotTell, By: r.place(), Why: r.because(i), If: &bad, packet: bad.packet}
}

// Remedies are the commands that let the packet pass, one for each chain that
// stops it, to be run as root. What is let pass of protocol 4 is what comes from
// the sources, or from the packet's own if there are none. A remedy that is no
// command begins with "#".
func (f Fate) Remedies(sources ...netip.Prefix) []string {
	if f.Outcome == CannotTell && f.If != nil {
		return f.If.Remedies(sources...)
	}
	if f.Outcome != Dropped && f.Outcome != Rewritten {
		return nil
	}
	commands := f.By.remedy(f.packet, sources)
	if f.Then != nil {
		commands = append(commands, f.Then.Remedies(sources...)...)
	}
	return commands
}
