package path

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"rsagent/packet"
)

// Trial is a packet as a director would send it, from this node to itself: a
// client's request for a connection in IPIP. It loops over lo into the tunnel, so
// it shows all but the link that the directors' packets come in by. Whatever a
// service answers is for the client, which is a director, or an address that
// nobody has: both drop it. A reset follows, so that no half-open connection
// stays, and no service ever sees one.
type Trial struct {
	Service netip.AddrPort
	Client  netip.AddrPort
	Sender  netip.Addr // of the outer packet

	Looped    bool   // it came in by lo
	Unwrapped string // the link by which it came out of a tunnel
	Half      bool   // a socket has taken it and waits for the client

	Granted  bool           // the service answered with a SYN-ACK
	Refused  bool           // or with a reset: nobody listens there
	Rejected [2]byte        // or the node by ICMP, of this type and code
	Reject   bool           // it did
	By       string         // the link by which the answer left
	As       netip.AddrPort // its sender: the service, unless somebody has changed it
	sequence uint32
}

// Answered tells that something left the node for the client.
func (t Trial) Answered() bool { return t.Granted || t.Refused || t.Reject }

// try sends a trial packet for each service and each of a few clients.
func (w *watcher) try() {
	if w.device == 0 || !w.facts.Node.IsValid() {
		w.rawErr = fmt.Errorf("cannot try the tunnel: there is no %s, or no address to send to", w.question.Device)
		return
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW)
	if err != nil {
		w.rawErr = fmt.Errorf("cannot try the tunnel without CAP_NET_RAW: %w", err)
		return
	}
	w.raw = fd
	const mostServices = 12
	port := uint16(20000 + rand.IntN(40000))
	for i, service := range w.question.Services {
		if i == mostServices {
			break
		}
		for _, client := range w.clients() {
			port++
			sender := client
			if !slices.Contains(w.question.Directors, client) {
				sender = w.sender()
			}
			t := Trial{Service: service, Client: netip.AddrPortFrom(client, port), Sender: sender, sequence: rand.Uint32()}
			if err := w.send(t, flagSYN, t.sequence); err != nil {
				w.rawErr = fmt.Errorf("cannot try the tunnel: %w", err)
				return
			}
			w.trials = append(w.trials, t)
		}
	}
}

// clients are two directors, and an address of nobody if there is a way to it.
func (w *watcher) clients() []netip.Addr {
	list := w.question.others()
	list = list[:min(2, len(list))]
	if w.facts.Gateway.Link != 0 && w.facts.Gateway.Link != w.device {
		list = append(list, anywhere)
	}
	return list
}

func (w *watcher) sender() netip.Addr {
	if others := w.question.others(); len(others) > 0 {
		return others[0]
	}
	return w.facts.Node
}

func (w *watcher) send(t Trial, flags byte, sequence uint32) error {
	whole := wrapped(t.Sender, w.facts.Node, segment(t.Client, t.Service, flags, sequence, 0))
	return unix.Sendto(w.raw, whole, 0, &unix.SockaddrInet4{Addr: w.facts.Node.As4()})
}

// seeTrial notes a packet of a trial, on its way or back.
func (w *watcher) seeTrial(h packet.Header, index int, out bool) bool {
	inner := h
	if h.Protocol == unix.IPPROTO_IPIP {
		inner, _ = packet.Parse(h.Body)
	}
	for i := range w.trials {
		t := &w.trials[i]
		switch {
		case inner.Protocol == unix.IPPROTO_TCP && source(inner) == t.Client && destination(inner) == t.Service:
			l := w.facts.Link(index)
			switch {
			case h.Protocol == unix.IPPROTO_IPIP:
				t.Looped = t.Looped || !out
			case !out && l != nil:
				t.Unwrapped = l.Name
			}
			return true
		case h.Protocol == unix.IPPROTO_TCP && destination(h) == t.Client && h.Ack == t.sequence+1 && h.Flags&flagACK != 0:
			if out {
				t.answered(h, w.facts.Link(index))
			}
			if out && t.Client.Addr() == anywhere { // directors have routes of their own
				w.wire.MSS = max(w.wire.MSS, h.MSS())
			}
			return true
		case h.Protocol == unix.IPPROTO_ICMP && h.ICMP[0] == 3 && out && len(h.Body) >= 8 && t.quoted(h.Body[8:]):
			t.Reject, t.Rejected = true, h.ICMP
			return true
		}
	}
	return false
}

func (t *Trial) answered(h packet.Header, l *Link) {
	t.Granted = t.Granted || h.Flags&flagSYN != 0
	t.Refused = t.Refused || h.Flags&flagRST != 0
	t.As = source(h)
	if l != nil {
		t.By = l.Name
	}
}

// quoted tells whether an ICMP error is about the trial, unwrapped or not.
func (t *Trial) quoted(b []byte) bool {
	h, ok := packet.Parse(b)
	if ok && h.Protocol == unix.IPPROTO_IPIP {
		h, ok = packet.Parse(h.Body)
	}
	return ok && source(h) == t.Client && destination(h) == t.Service
}

// halfOpen looks for the half-open connections of trials. It is asked only if
// it matters, as the kernel's list may be long.
func (w *watcher) halfOpen() bool {
	half, any := halfOpen(), false
	for i := range w.trials {
		t := &w.trials[i]
		t.Half = half[t.Client]
		any = any || t.Half && !t.Answered()
	}
	return any
}

// conclude ends what the trials have begun.
func (w *watcher) conclude() {
	for _, t := range w.trials {
		_ = w.send(t, flagRST, t.sequence+1) // a lost one leaves it to the kernel's own time
	}
}

// halfOpen lists the clients of connections in state SYN_RECV: /proc/net/tcp.
func halfOpen() map[netip.AddrPort]bool {
	found := map[netip.AddrPort]bool{}
	for _, file := range []string{"tcp", "tcp6"} {
		b, err := os.ReadFile(procNet + file)
		if err != nil {
			continue
		}
		for line := range bytes.Lines(b) {
			f := strings.Fields(string(line))
			if len(f) > 3 && f[3] == "03" {
				if a, ok := parseEnd(f[2]); ok {
					found[a] = true
				}
			}
		}
	}
	return found
}

// parseEnd reads an address as /proc/net/tcp has it: the last 4 bytes, in the
// processor's order, and a port, in hexadecimal.
func parseEnd(s string) (netip.AddrPort, bool) {
	address, port, ok := strings.Cut(s, ":")
	if !ok || len(address) < 8 {
		return netip.AddrPort{}, false
	}
	a, err1 := strconv.ParseUint(address[len(address)-8:], 16, 32)
	p, err2 := strconv.ParseUint(port, 16, 16)
	if err1 != nil || err2 != nil {
		return netip.AddrPort{}, false
	}
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], uint32(a))
	return netip.AddrPortFrom(netip.AddrFrom4(b), uint16(p)), true
}
