// Package through asks real servers for a connection as a director's clients do:
// through the tunnel. It runs on a director, or on any host whose IPIP the real
// servers take.
//
// A director sends a client's packet wrapped in IPIP (RFC 2003), and the real
// server answers the client itself. So does the question: a SYN (RFC 9293) from
// this host to the VIP, in a packet from this host to the real server. The answer
// comes from the VIP. That proves that the real server unwraps, has the VIP, lets
// the packet in, listens, and finds the way back.
package through

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"sync"
	"time"
)

// Question is what to ask.
type Question struct {
	VIP   netip.AddrPort // of the service that all real servers have
	Reals []netip.Addr   // the real servers' own addresses

	// Source is the client's address in the SYN, one of this host. The zero Addr
	// stands for the one from which this host sends to the real server. The outer
	// packet always has that.
	Source netip.Addr

	// Ready is asked of each real server by HTTP besides; if it has no host, at the
	// real server's own address. nil: not asked.
	Ready *url.URL

	// Timeout is how long all of it may take; 0 stands for 2 s. A SYN that is not
	// answered is sent again.
	Timeout time.Duration
}

// State is how a real server is.
type State string

// How a real server is.
const (
	Good     State = "good"     // it serves
	Draining State = "draining" // it serves those that it has, and wants no more
	Failed   State = "failed"   // it does not serve
)

// Result is what one real server answered.
type Result struct {
	Real   netip.Addr
	State  State
	Weight int           // percent of its full weight that it wants: 1 to 100 if it is good, else 0
	Took   time.Duration // until the SYN-ACK was there; 0: there was none
	Ready  string        // what it said of itself; "" if it was not asked
	Why    string        // what is wrong; "" if nothing is
	Likely []string      // what may have caused that, the likeliest first
}

// most is how many real servers can be asked at once: each takes a port of this
// host.
const most = 4096

// Ask asks all real servers at once. The results are in the order of the
// question. An error says that nothing could be asked; what keeps one real server
// from being asked stands in its result. It needs CAP_NET_RAW. If ctx ends first,
// Ask ends at once, and returns the cause. Either way no connection is left half
// open on a real server.
func Ask(ctx context.Context, q Question) ([]Result, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	if q.Timeout == 0 {
		q.Timeout = 2 * time.Second
	}
	w, err := openWire(q.VIP)
	if err != nil {
		return nil, err
	}
	defer w.close()
	limited, cancel := context.WithTimeout(ctx, q.Timeout)
	defer cancel()
	said := make([]*readiness, len(q.Reals))
	var asking sync.WaitGroup
	if q.Ready != nil {
		for i, real := range q.Reals {
			asking.Go(func() { said[i] = askReady(limited, at(q.Ready, real)) })
		}
	}
	answers, err := w.try(limited, q)
	asking.Wait()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	results := make([]Result, len(answers))
	for i, a := range answers {
		results[i] = a.judge(q, said[i])
	}
	return results, nil
}

// check finds what makes no sense.
func (q Question) check() error {
	if !q.VIP.Addr().Is4() || q.VIP.Port() == 0 {
		return fmt.Errorf("cannot ask for %s: want an IPv4 address and a port", q.VIP)
	}
	if len(q.Reals) == 0 || len(q.Reals) > most {
		return fmt.Errorf("cannot ask %d real servers: want 1 to %d", len(q.Reals), most)
	}
	seen := map[netip.Addr]bool{}
	for _, r := range q.Reals {
		switch {
		case !r.Is4() || r.IsUnspecified() || r.IsMulticast():
			return fmt.Errorf("cannot ask the real server %s: want the IPv4 address of one", r)
		case r == q.VIP.Addr():
			return fmt.Errorf("cannot ask the real server %s: that is the VIP, want the node's own address", r)
		case seen[r]:
			return fmt.Errorf("cannot ask the real server %s twice", r)
		}
		seen[r] = true
	}
	switch {
	case q.Source.IsValid() && !q.Source.Is4():
		return fmt.Errorf("cannot ask from %s: want an IPv4 address of this host", q.Source)
	case q.Source == q.VIP.Addr():
		return fmt.Errorf("cannot ask from %s: that is the VIP, and a real server takes nothing from itself", q.Source)
	case q.Ready != nil && q.Ready.Scheme != "http":
		return fmt.Errorf("cannot ask %s: want a URL such as http://:9380/ready", q.Ready)
	case q.Timeout < 0:
		return fmt.Errorf("cannot ask within %v", q.Timeout)
	}
	return nil
}
