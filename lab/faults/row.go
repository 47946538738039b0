package main

import "slices"

// row is one fault: what somebody does, what clients see of it, and what
// `rsagent check` must say first. The node was set up by the daemon, which is
// dead while the fault is looked at.
type row struct {
	name   string
	inject string // shell, as root, on the node unless at says where
	at     place
	from   place // where somebody runs check, and its remedy

	sees sight
	// with measures what clients see in another way than by plain requests.
	with func(*site) (string, error)

	id   string // the first finding that fails
	says string // words that its want, got or cause must have

	// words are those of a remedy that is no command: that nothing on the node
	// mends the fault, or what a person has to decide. undo then is what that
	// person does.
	words, undo string
	// clean takes away what the fault leaves on a node that serves again.
	clean string

	busy  bool   // clients keep asking while check looks
	owned bool   // the daemon mends it unaided
	conf  string // more of the configuration, where the fault takes some
	hand  bool   // the node was set up by hand: there is no configuration
}

// place is where a fault is done.
type place string

const (
	node     place = ""
	director place = "dir1"
	client   place = "client"
	other    place = "web2" // another host of the network
)

// sight is what clients see: a word of what is measured.
type sight string

const (
	fine    sight = "all answered"
	timeout sight = "timeout"
	refused sight = "refused"
	reset   sight = "reset"
	badTLS  sight = "TLS"
	missing sight = "404 Not Found"
	failing sight = "503 Service"
	taken   sight = "the node answers ARP for the VIP"
	leaked  sight = "the client sends to the node past the director"
	hangs   sight = "uploads hang"
	some    sight = "of" // some requests fail
)

// group is what a part of the table is about.
type group struct {
	name string
	rows []row
}

// table is every fault, from the wire to the service.
func table() []group {
	return []group{
		{"The tunnel", tunnelRows()},
		{"ARP", arpRows()},
		{"Settings of the kernel", settingRows()},
		{"rsagent's own packet filter", guardRows()},
		{"Packet filters of others", filterRows()},
		{"Below and beside packet filters", hookRows()},
		{"Routes, rules and neighbours", routeRows()},
		{"The network around the node", slices.Concat(aroundRows(), gueRows())},
		{"The service", serviceRows()},
		{"A service by UDP", udpRows()},
		{"SELinux", selinuxRows()},
		{"Limits", limitRows()},
		{"rsagent itself", ownRows()},
		{"Set up by hand, without a configuration", handRows()},
	}
}

// pair is two faults at once, by their names. Neither follows from the other.
type pair struct{ first, second string }

func find(name string) (row, bool) {
	for _, g := range table() {
		for _, r := range g.rows {
			if r.name == name {
				return r, true
			}
		}
	}
	return row{}, false
}
