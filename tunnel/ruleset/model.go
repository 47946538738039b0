// Package ruleset reads every packet filter of a network namespace, of nf_tables,
// iptables-nft and ip_tables, and tells what becomes of a packet in it: which rule
// of which table and chain stops it, and the command that lets it pass. It changes
// nothing. What it does not know, such as a limit that may be over, an ipset or an
// expression of a newer kernel, it does not guess: it follows both ways, and says
// that it cannot tell if they end differently.
package ruleset

// Hooks of enum nf_inet_hooks, include/uapi/linux/netfilter.h, which egress of
// a link is added to, and the hooks of bridges, which have the same numbers there
// (include/uapi/linux/netfilter_bridge.h).
const (
	hookPrerouting = iota
	hookInput
	hookForward
	hookOutput
	hookPostrouting
	hookIngress
	hookEgress
	hookBridge // and one of the above, up to postrouting
)

// family is one of nf_tables, NFPROTO_ in include/uapi/linux/netfilter.h.
type family uint8

const (
	familyInet   family = 1
	familyIP     family = 2
	familyNetdev family = 5
	familyBridge family = 7
)

func (f family) String() string {
	switch f {
	case familyInet:
		return "inet"
	case familyIP:
		return "ip"
	case familyNetdev:
		return "netdev"
	case familyBridge:
		return "bridge"
	}
	return "unknown"
}

// engine is what keeps a table and the tool to change it.
type engine uint8

const (
	engineNFTables engine = iota
	engineCompat          // nf_tables, written by iptables-nft or ebtables-nft
	engineLegacy          // ip_tables
)

type table struct {
	engine engine
	family family
	name   string
	handle uint64
	flags  uint32
	owner  uint32 // the netlink port of the program that alone may change it, 0 for none
	chains map[string]*chain
	sets   map[string]*set
}

type chain struct {
	table *table
	name  string
	base  *base // nil for one that is only jumped to
	rules []rule
}

// base is what makes a chain one that the kernel calls.
type base struct {
	hook     int
	priority int32
	kind     string // filter, nat, route
	drops    bool   // its policy
	devices  []string
	prefixes []string // of names of devices
	order    uint64   // of two, the one that was made later has the higher one
}

// on tells a chain that sees what passes the link.
func (b *base) on(link string) bool {
	for _, d := range b.devices {
		if d == link {
			return true
		}
	}
	for _, p := range b.prefixes {
		if len(link) >= len(p) && link[:len(p)] == p {
			return true
		}
	}
	return false
}

type rule struct {
	handle      uint64 // of nf_tables, 0 for ip_tables
	number      int    // from 1, within its chain
	expressions []expression
}

// expression is one step of a rule.
type expression interface {
	// eval does the step with the packet of the run.
	eval(*run) step
	// write says what the step is.
	write(*printer)
}

// step is what comes of an expression.
type step uint8

const (
	goOn    step = iota // the next expression
	skip                // the rule does not match
	unsure              // it may match; the run has why
	decided             // the run has the verdict
	several             // the run has the verdicts that are possible, of which none may be
)

// verdict says where a packet goes on.
type verdict struct {
	kind  verdictKind
	chain string // of jumpTo and goTo
}

type verdictKind uint8

const (
	nextRule verdictKind = iota
	accept
	drop
	reject
	jumpTo
	goTo
	goBack
	rewrite // the run has to what
	foreign // something else decides: the run has what
)

func (v verdict) String() string {
	switch v.kind {
	case nextRule:
		return "continue"
	case accept:
		return "accept"
	case drop:
		return "drop"
	case reject:
		return "reject"
	case jumpTo:
		return "jump " + v.chain
	case goTo:
		return "goto " + v.chain
	case goBack:
		return "return"
	}
	return ""
}

// Ruleset is every rule of a network namespace that IPv4 packets meet.
type Ruleset struct {
	tables []*table
	// legacyTool is what this machine calls the iptables that changes ip_tables.
	legacyTool string
}

// Rules is how many rules there are.
func (r *Ruleset) Rules() int {
	n := 0
	for _, t := range r.tables {
		for _, c := range t.chains {
			n += len(c.rules)
		}
	}
	return n
}
