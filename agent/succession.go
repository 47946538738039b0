package agent

import (
	"fmt"
	"net"
	"os"
	"time"

	"rsagent/agent/handover"
)

// succession is how the node stays in service while one daemon takes the place
// of another.
type succession struct {
	directory string   // for what is remembered of the pools; empty: nowhere
	socket    *os.File // outlives the listener when another daemon follows; nil: none does
}

// Resume starts the probes from what the daemon before knew, if it handed over
// just now in this directory (see RuntimeDirectory), and has Run hand over there
// in turn. Call it before Run.
func (a *Agent) Resume(directory string) {
	a.succession.directory = directory
	known, err := recall(directory, a.config, time.Now())
	if err != nil {
		a.log.Warn().Err(err).Msg("the pools are probed anew")
	}
	for pool, result := range known {
		a.pools.set(pool, result)
	}
	a.resumeDrains(directory)
	a.resumeWeight(directory)
}

// keep holds the socket open beyond the end of the listener, so that who asks
// from then on waits for the next daemon.
func (a *Agent) keep(listener net.Listener) {
	err := fmt.Errorf("cannot hand over a listener of type %T", listener)
	if tcp, ok := listener.(*net.TCPListener); ok {
		a.succession.socket, err = tcp.File()
	}
	if err != nil {
		a.log.Warn().Err(err).Msg("nobody answers until the next daemon listens")
	}
}

// handOver leaves to the next daemon what keep kept, and what is known of the
// pools. Where systemd does not take the socket, the port is closed until the
// next daemon listens.
func (a *Agent) handOver() {
	if a.succession.socket == nil {
		return
	}
	defer a.succession.socket.Close()
	if a.succession.directory != "" {
		if err := remember(a.succession.directory, a.config, a.pools.all(), time.Now()); err != nil {
			a.log.Warn().Err(err).Msg("the next daemon probes the pools anew")
		}
	}
	if err := handover.Give(a.succession.socket); err != nil {
		a.log.Warn().Err(err).Msg("nobody answers until the next daemon listens")
	}
}

// lastAnswers is how long at most the end of the daemon waits for questions on
// connections that it has accepted.
const lastAnswers = 500 * time.Millisecond
