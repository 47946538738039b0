package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/probe"
	"rsagent/probe/sockets"
)

// accepts wants the service to take the connections that the kernel keeps for
// it. It tells why a pool fails, so a pool that answers is not looked at.
func accepts(c config.Config, p config.Pool) Condition {
	want := "a process that accepts connections to " + p.Address.String()
	return Condition{
		ID:       acceptsID + p.Name,
		Title:    fmt.Sprintf("The service of pool %s accepts connections", p.Name),
		Effect:   "Connections to this pool that a director sends to this node open, and hang.",
		Severity: health.Required,
		Needs:    []string{listensID + p.Name},
		Evaluate: func(n Node) Verdict {
			v := Verdict{Status: health.OK, Want: want, Got: "as wanted"}
			takers := takersOf(c, n, p.Address)
			if len(takers) == 0 || n.Pools[p.Name].State != probe.Down {
				return v
			}
			s := n.Examined.Services
			owners := ownersOf(s, takers)
			got, cause, remedy := whyNoAccept(owners, takers)
			switch {
			case got != "":
				v.Status, v.Got, v.Cause, v.Remedy = health.Failed, got, cause, remedy
			case len(owners) == 0 && s.OwnersErr != nil:
				return unknown(want, s.OwnersErr)
			}
			return v
		},
	}
}

func ownersOf(s *Services, listeners []sockets.Listener) []sockets.Process {
	var list []sockets.Process
	for _, l := range listeners {
		for _, p := range s.owners(l) {
			if !slices.Contains(list, p) {
				list = append(list, p)
			}
		}
	}
	return list
}

// whyNoAccept says why no process accepts; got is empty if that is not to be
// seen.
func whyNoAccept(owners []sockets.Process, takers []sockets.Listener) (got, cause, remedy string) {
	var stopped, frozen, stuck, full []sockets.Process
	for _, o := range owners {
		switch {
		case o.Group.Frozen:
			frozen = append(frozen, o)
		case o.Stopped():
			stopped = append(stopped, o)
		case o.State == 'D':
			stuck = append(stuck, o)
		case o.FileLimit > 0 && o.Files >= o.FileLimit:
			full = append(full, o)
		}
	}
	queued := slices.IndexFunc(takers, sockets.Listener.Full)
	switch {
	// One process that goes on, such as a master that only looks after its
	// workers, may be none that accepts.
	case len(stopped) > 0:
		return commas(stopped) + plural(stopped, " is stopped", " are stopped"),
			"somebody stopped it by a signal (SIGSTOP), or a debugger holds it", "kill -CONT " + pids(stopped)
	case len(frozen) > 0:
		return commas(frozen) + plural(frozen, " is frozen", " are frozen"),
			"somebody froze its control group, " + printable(frozen[0].Group.Path), thaw(frozen[0].Group)
	case len(full) > 0:
		f := full[0]
		return fmt.Sprintf("%s has %d files open and may have no more than %d", f, f.Files, f.FileLimit),
			"without a free file descriptor it cannot accept a connection",
			fmt.Sprintf("prlimit --pid %d --nofile=%d   # now; for good: LimitNOFILE= of its unit", f.PID, 65536)
	case len(stuck) > 0 && len(stuck) == len(owners):
		return commas(stuck) + plural(stuck, " waits", " wait") + " for the kernel (state D)",
			"a disk or a network file system does not answer", fmt.Sprintf("look what for: cat /proc/%d/stack; dmesg | tail", stuck[0].PID)
	case queued >= 0:
		l := takers[queued]
		return fmt.Sprintf("%d connections wait to be accepted, and the queue holds %d", l.Queue, l.Limit),
			"the service runs and does not accept, or too slowly",
			"restart the service" + byUnit(owners)
	}
	return "", "", ""
}

// thaw lets what is in a group run again.
func thaw(g sockets.Group) string {
	if unit := g.Unit(); unit != "" {
		return "systemctl thaw " + printable(unit)
	}
	return fmt.Sprintf("echo 0 >/sys/fs/cgroup%s/cgroup.freeze", printable(g.Path))
}

func byUnit(owners []sockets.Process) string {
	if len(owners) == 0 {
		return "; who it is: ss -ltnp"
	}
	return fmt.Sprintf(": systemctl restart $(ps -o unit= -p %d)", owners[0].PID)
}

func plural[T any](list []T, one, many string) string {
	if len(list) == 1 {
		return one
	}
	return many
}

func pids(list []sockets.Process) string {
	words := make([]string, len(list))
	for i, p := range list {
		words[i] = fmt.Sprint(p.PID)
	}
	return strings.Join(words, " ")
}

// queueHasRoom wants room in the accept queue of a pool that answers all the
// same.
func queueHasRoom(c config.Config, p config.Pool) Condition {
	const want = "room in the queue of connections to accept"
	return Condition{
		ID:       queueID + p.Name,
		Title:    fmt.Sprintf("The service of pool %s keeps up with its connections", p.Name),
		Effect:   "Some connections to this pool open only after a second or more.",
		Severity: health.Advisory,
		Needs:    []string{listensID + p.Name, acceptsID + p.Name},
		Evaluate: func(n Node) Verdict {
			for _, l := range takersOf(c, n, p.Address) {
				if l.Full() {
					return Verdict{Status: health.Failed, Want: want,
						Got:    fmt.Sprintf("%d wait, the queue of %s holds %d", l.Queue, where(l), l.Limit),
						Cause:  "the service accepts more slowly than clients come, or its backlog is small",
						Remedy: "raise the backlog of the service, and its limit: sysctl -w net.core.somaxconn=4096"}
				}
			}
			return Verdict{Status: health.OK, Want: want, Got: "as wanted"}
		},
	}
}

// fewClients is how many clients at least must be cut off for more than their
// own lines to be at fault.
const fewClients = 3

// unanswered are the clients whose SYN-ACK was sent again at least twice, which
// is 3 s after the first.
func unanswered(hung []sockets.Hanging, service netip.AddrPort) map[netip.Addr]bool {
	clients := make(map[netip.Addr]bool)
	for _, h := range hung {
		if h.HalfOpen && h.Resent >= 2 && h.Local == service {
			clients[h.Remote.Addr()] = true
		}
	}
	return clients
}

// handshakesEnd wants some client to answer a SYN-ACK. Where none of several
// does, the answers of this node do not reach them, or nobody is there: the two
// look the same from here, so it is an advice.
func handshakesEnd(c config.Config, p config.Pool) Condition {
	const want = "clients that answer the SYN-ACK"
	return Condition{
		ID:       answeredID + p.Name,
		Title:    fmt.Sprintf("Answers of pool %s reach the clients", p.Name),
		Effect:   "Connections to this pool that a director sends to this node time out.",
		Severity: health.Advisory,
		Needs:    []string{listensID + p.Name},
		Evaluate: func(n Node) Verdict {
			s := n.Examined.Services
			if s.HungErr != nil {
				return unknown(want, s.HungErr)
			}
			cut := unanswered(s.Hung, p.Address)
			if len(cut) < fewClients {
				return Verdict{Status: health.OK, Want: want, Got: "as wanted"}
			}
			open, looked := s.Open[p.Address]
			served := slices.ContainsFunc(open, func(client netip.AddrPort) bool {
				_, own := n.Net.Addresses[client.Addr()]
				return !own
			})
			if served || !looked {
				return Verdict{Status: health.OK, Want: want, Got: "some do"}
			}
			return Verdict{Status: health.Failed, Want: want,
				Got:    fmt.Sprintf("none of %d clients answered theirs, sent two times again or more", len(cut)),
				Cause:  "a router on the way drops what comes from the VIP (uRPF, anti-spoofing), or the SYNs are a flood from addresses that are forged",
				Remedy: fmt.Sprintf("nothing on this node can mend this: have the network let packets from %s out of this node's port", p.Address.Addr())}
		},
	}
}

// manyUnclosed is how many connections a service may be about to close.
const manyUnclosed = 256

// connectionsEnd wants the service to close what its clients have closed.
func connectionsEnd(c config.Config, p config.Pool) Condition {
	want := fmt.Sprintf("fewer than %d connections in CLOSE_WAIT", manyUnclosed)
	return Condition{
		ID:       closesID + p.Name,
		Title:    fmt.Sprintf("The service of pool %s closes its connections", p.Name),
		Effect:   "Nothing yet; later the service runs out of file descriptors and hangs.",
		Severity: health.Advisory,
		Needs:    []string{listensID + p.Name, acceptsID + p.Name},
		Evaluate: func(n Node) Verdict {
			s, count := n.Examined.Services, 0
			if s.HungErr != nil {
				return unknown(want, s.HungErr)
			}
			for _, h := range s.Hung {
				if !h.HalfOpen && h.Local == p.Address {
					count++
				}
			}
			v := Verdict{Status: health.OK, Want: want, Got: fmt.Sprint(count)}
			if count >= manyUnclosed {
				v.Status = health.Failed
				v.Cause = "their clients have ended them, and the service does not: it is stuck, or forgets them"
				v.Remedy = "restart the service" + byUnit(ownersOf(s, takersOf(c, n, p.Address)))
			}
			return v
		},
	}
}
