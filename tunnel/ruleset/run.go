package ruleset

import (
	"slices"
	"strings"
)

// frame is where a chain was left for another. Equal ones are the same pointer.
type frame struct {
	under *frame
	chain *chain
	rule  int
	depth int
}

// tracking is what conntrack has done so far.
type tracking uint8

const (
	untold    tracking = iota // conntrack has not seen the packet
	untracked                 // and is not to
	tracked                   // the packet is of the state that it was described to have
)

// state is all that decides what becomes of a packet from here on.
type state struct {
	stop        int // of the path
	chain       *chain
	rule        int
	frames      *frame
	tracking    tracking
	mark        word
	ctMark      word
	headers     headers
	touched     *set   // a rule adds to this set
	manyTouched bool   // and to others
	firewalld   string // the zone of firewalld that took the packet
}

// run follows one packet.
type run struct {
	state
	rules  *Ruleset
	packet Packet
	path   []stop
	regs   registers

	verdict  verdict
	verdicts []verdict
	what     string // how the packet is rewritten, or what decides instead

	interned map[frame]*frame
	fates    map[state]Fate
	budget   int
}

// The most rules that are looked at for one packet, beside fifty times those that
// there are, and the most chains that are left for others: no ruleset that the kernel accepts gets there, but for one
// with a thousand rules that may match or not.
const (
	spareRules = 20_000
	frameLimit = 512
	forkLimit  = 20_000
)

func (r *run) base() *chain { return r.path[r.stop].chain }

// atPort tells a place that sees the port of a bridge.
func (r *run) atPort() bool { return r.path[r.stop].port }

// fate follows the packet from where it is to its end.
func (r *run) fate() Fate {
	for r.stop < len(r.path) {
		at := r.path[r.stop]
		switch {
		case at.conntrack:
			if r.tracking == untold {
				r.tracking = tracked
				if r.packet.State == Untracked {
					r.tracking = untracked
				}
			}
			r.stop++
		case at.chain.base.kind == "nat" && !r.natted():
			r.stop++
		default:
			if r.chain == nil {
				r.chain, r.rule = at.chain, 0
			}
			if f, ended := r.walk(); ended {
				return f
			}
		}
	}
	return Fate{Outcome: Passes}
}

// natted tells a packet that the nat chains see: the first of a connection.
func (r *run) natted() bool {
	return r.tracking == tracked && (r.packet.State == New || r.packet.State == Related)
}

// leave goes on to the next stop of the path.
func (r *run) leave() {
	r.stop++
	r.chain, r.state.frames = nil, nil
}

// walk follows the packet through the chains of one stop.
func (r *run) walk() (Fate, bool) {
	for {
		if r.budget--; r.budget < 0 {
			return r.giveUp("it has too many rules that may match or not"), true
		}
		if r.rule >= len(r.chain.rules) {
			if r.state.frames != nil {
				r.back()
				continue
			}
			if r.base().base.drops {
				return r.dropped(drop, true), true
			}
			r.leave()
			return Fate{}, false
		}
		if f, ended := r.match(0); ended {
			return f, true
		}
		if r.chain == nil { // this stop is done
			return Fate{}, false
		}
	}
}

func (r *run) back() {
	r.chain, r.rule = r.state.frames.chain, r.state.frames.rule
	r.state.frames = r.state.frames.under
}

// match does the expressions of the rule from one on, and goes where they send
// the packet.
func (r *run) match(from int) (Fate, bool) {
	now := &r.chain.rules[r.rule]
	if from == 0 {
		r.regs.clear()
	}
	for i := from; i < len(now.expressions); i++ {
		switch now.expressions[i].eval(r) {
		case skip:
			r.rule++
			return Fate{}, false
		case unsure:
			return r.either(i), true
		case decided:
			return r.turn(r.verdict)
		case several:
			return r.anyOf(i, slices.Clone(r.verdicts)), true
		}
	}
	r.rule++
	return Fate{}, false
}

// turn goes where a verdict sends the packet.
func (r *run) turn(v verdict) (Fate, bool) {
	switch v.kind {
	case nextRule:
		r.rule++
	case accept:
		r.leave()
	case goBack:
		if r.state.frames == nil {
			r.rule = len(r.chain.rules)
			return Fate{}, false
		}
		r.back()
	case jumpTo, goTo:
		return r.jump(v)
	case foreign:
		return r.cannotTell(nil), true
	default:
		return r.dropped(v.kind, false), true
	}
	return Fate{}, false
}

func (r *run) jump(v verdict) (Fate, bool) {
	to := r.chain.table.chains[v.chain]
	if to == nil {
		r.what = "a jump to the chain " + v.chain + ", which is not there"
		return r.cannotTell(nil), true
	}
	if v.kind == jumpTo {
		f := frame{under: r.state.frames, chain: r.chain, rule: r.rule + 1, depth: 1}
		if f.under != nil {
			f.depth = f.under.depth + 1
		}
		if f.depth > frameLimit {
			return r.giveUp("its chains jump too deep"), true
		}
		if r.interned[f] == nil {
			r.interned[f] = &f
		}
		r.state.frames = r.interned[f]
	}
	r.chain, r.rule = to, 0
	if zone, ok := strings.CutPrefix(to.name, "filter_IN_"); ok && to.table.name == firewalldTable && !strings.ContainsAny(zone, "_") {
		r.firewalld = zone
	}
	return Fate{}, false
}

// either follows the packet twice: with the rule going on after its expression
// i, and with the rule not matching.
func (r *run) either(i int) Fate {
	here, regs := r.state, r.regs
	r.rule++
	without := r.resume()
	r.state, r.regs = here, regs
	with, ended := r.match(i + 1)
	if !ended {
		with = r.resume()
	}
	return r.together(here, i, with, without)
}

// anyOf follows the packet once for each verdict, and once with the rule not
// matching.
func (r *run) anyOf(i int, verdicts []verdict) Fate {
	here := r.state
	r.rule++
	all := r.resume()
	for _, v := range verdicts {
		r.state = here
		f, ended := r.turn(v)
		if !ended {
			f = r.resume()
		}
		all = r.together(here, i, f, all)
	}
	return all
}

// resume is the fate of the packet from here, which is found out once.
func (r *run) resume() Fate {
	at := r.state
	if f, ok := r.fates[at]; ok {
		return f
	}
	if len(r.fates) >= forkLimit {
		return r.giveUp("it has too many rules that may match or not")
	}
	f := r.fate()
	r.fates[at] = f
	return f
}

// because is the expression i of the rule in words.
func (r *run) because(i int) string {
	var p printer
	for _, e := range r.chain.rules[r.rule].expressions[:i+1] {
		p.last = ""
		e.write(&p)
	}
	return p.last
}
