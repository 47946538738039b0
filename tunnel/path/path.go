// Package path finds where packets stop between the wire and the socket of a
// real server, and on the way back. It asks the kernel what it would do with
// the packets of a director, of a client and of the server, it lets a packet of
// its own run through the tunnel, and it watches for a moment what comes and
// goes.
//
// It changes no setting. It decides nothing: what a node should have is said
// elsewhere. All of it works in the network namespace of the calling thread.
package path

import (
	"errors"
	"net/netip"
	"slices"
	"time"
)

// Leg is one part of the way of a connection.
type Leg int

const (
	Outer  Leg = iota // what a director sends, until the tunnel unwraps it
	Inner             // what was inside, until a socket has it
	Answer            // what the server sends to a client
)

func (l Leg) String() string {
	return [...]string{"what the directors send", "what comes out of the tunnel", "the answers"}[l]
}

// Stop is something that keeps packets of a leg from going on.
type Stop struct {
	Leg    Leg
	Where  string // such as "tc filter on ingress of eth0"
	Why    string // what it does with the packets
	Remedy string // a command that ends it
}

// Question is what to look at.
type Question struct {
	Device    string              // unwraps what the directors send
	VIPs      []netip.Addr        // all of them
	Directors []netip.Addr        // those that are single addresses
	Facing    []int               // the links by which the directors are reached; none: found by the default route
	Services  []netip.AddrPort    // what clients ask for: a VIP and a port each
	Own       map[netip.Addr]bool // the node's addresses, but for the VIPs
	Watch     time.Duration       // how long to watch the wire; 0: 120 ms

	beneath []int // what the packets of directors pass before they come to Facing
}

// Facts is what there was to see. Each part has its own error, for when it
// could not be looked at.
type Facts struct {
	Links    []Link
	LinksErr error
	Beneath  []int // what carries the packets of Facing, and of the link to the gateway

	Foreign    bool // this process is in another network namespace than process 1
	ForeignErr error

	Classifiers    []Stop // filters of tc, and programs of tcx, that take the packets
	ClassifiersErr error
	Programs       []Stop // XDP
	ProgramsErr    error
	Policies       []Stop // IPsec
	PoliciesErr    error
	Tunnels        []Stop // that take what is for the device
	Balancers      []Stop // services of IPVS on this node
	BalancersErr   error
	Queues         []Queue
	QueuesErr      error
	queuesAt       time.Time // when they were looked at first

	Node      netip.Addr // the address of this node that the directors send to
	Gateway   Gateway
	Resolved  map[netip.Addr]bool    // whose hardware address the kernel knows
	Unreached map[netip.Addr]bool    // whom the kernel has asked for by ARP, and got no answer
	Unheard   []netip.Addr           // whom the kernel asks for by ARP in vain, although they answer
	Claims    map[netip.Addr][]Claim // who answers ARP for an address
	ClaimsErr error

	Trials   []Trial
	TrialErr error
	Wire     Wire
	WireErr  error

	Before, After Counters
	Limits        []Limit
}

// Look gathers the facts. It takes as long as it watches the wire, as everything
// else happens meanwhile.
func Look(q Question) Facts {
	if q.Watch == 0 {
		q.Watch = 120 * time.Millisecond
	}
	var f Facts
	f.Links, f.LinksErr = links()
	f.Foreign, f.ForeignErr = foreign()
	f.Gateway = gateway(q)
	if len(q.Facing) == 0 && f.Gateway.Link != 0 {
		q.Facing = []int{f.Gateway.Link}
	}
	hops := append(slices.Clone(q.Directors), f.Gateway.Addr)
	bridges := Bridges{links: f.Links}
	q.beneath, _ = bridges.beneath(q.Facing, hops)
	under, tagged := bridges.beneath(append(slices.Clone(q.Facing), f.Gateway.Link), hops)
	f.Beneath = append(under, tagged...)
	f.Node = nodeAddress(q)
	f.Before = readCounters()
	w, err := startWatching(q, f)
	if err != nil {
		f.WireErr, f.TrialErr, f.ClaimsErr = err, err, err
	} else {
		defer w.close()
	}
	f.static(q)
	f.Balancers, f.BalancersErr = balancers(q)
	if w != nil {
		w.finish(&f)
	}
	f.lookAtQueuesAgain(q)
	f.neighbours()
	f.After = readCounters()
	f.Limits = limits(f.Before, f.After)
	return f
}

// static looks at all that stays as it is.
func (f *Facts) static(q Question) {
	if f.LinksErr != nil {
		f.ClassifiersErr, f.ProgramsErr, f.QueuesErr = f.LinksErr, f.LinksErr, f.LinksErr
		return
	}
	s := samplesOf(q, f.Node)
	f.Queues, f.QueuesErr = queues(f.Links)
	f.queuesAt = time.Now()
	if f.ClassifiersErr = f.QueuesErr; f.QueuesErr == nil {
		f.Classifiers, f.ClassifiersErr = classifiers(f.Links, f.Queues, q, s)
	}
	beside, err := express(f.Links, q, s)
	f.Classifiers, f.ClassifiersErr = append(f.Classifiers, beside...), errors.Join(f.ClassifiersErr, err)
	f.Programs, f.ProgramsErr = programs(f.Links, q, s)
	f.Policies, f.PoliciesErr = policies(q, s, f.Links)
	f.Tunnels = rivals(f.Links, q, f.Node)
}

// passes tells that what a director sends passes a link before it is unwrapped.
func (q Question) passes(link int) bool {
	return slices.Contains(q.Facing, link) || slices.Contains(q.beneath, link)
}

// Link returns the link with that index, or nil.
func (f *Facts) Link(index int) *Link {
	return linkOf(f.Links, func(l Link) bool { return l.Index == index })
}

// Named returns the link of that name, or nil.
func (f *Facts) Named(name string) *Link {
	return linkOf(f.Links, func(l Link) bool { return l.Name == name })
}

func linkOf(links []Link, is func(Link) bool) *Link {
	for i := range links {
		if is(links[i]) {
			return &links[i]
		}
	}
	return nil
}

// Anywhere stands for the clients of the Internet: an address of TEST-NET-2 (RFC
// 5737), which nobody has.
var anywhere = netip.AddrFrom4([4]byte{198, 51, 100, 1})

// samples are packets of each leg.
type samples [3][][]byte

func samplesOf(q Question, node netip.Addr) samples {
	var s samples
	services := q.Services
	if len(services) == 0 {
		for _, v := range q.VIPs {
			services = append(services, netip.AddrPortFrom(v, 80))
		}
	}
	const most = 16
	client := netip.AddrPortFrom(anywhere, 40000)
	for i, to := range services {
		if i == most {
			break
		}
		in := segment(client, to, flagSYN, 1, 0)
		s[Inner] = append(s[Inner], in)
		s[Answer] = append(s[Answer], segment(to, client, flagSYN|flagACK, 1, 2))
		for _, d := range q.Directors {
			if node.IsValid() {
				s[Outer] = append(s[Outer], wrapped(d, node, in))
			}
		}
	}
	return s
}
