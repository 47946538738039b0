package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"rsagent/lab/network"
	"rsagent/packet"
)

// probed is how long a director waits for `rsagent probe`, from exec to exit.
type probed struct {
	One     spread `json:"one"`     // of one node, in a process of its own each time
	Refused spread `json:"refused"` // where the node resets what it unwrapped
}

const probes = 100

// probed runs the probe on a director again and again. Where the kernel has no IPIP a
// stand-in answers in the node's place: the figure is of the program that asks.
func (b *bench) probed() (*probed, error) {
	b.say("probing a node, %d times", 2*probes)
	site, err := network.New()
	if err != nil {
		return nil, err
	}
	defer site.Close()
	var p probed
	for _, c := range []struct {
		flags  byte
		status int
		to     *spread
	}{{packet.SYN | packet.ACK, 0, &p.One}, {packet.RST | packet.ACK, 1, &p.Refused}} {
		node, err := site.Web1.Start(exec.Command(b.self, "stand-in", fmt.Sprint(c.flags)))
		if err != nil {
			return nil, err
		}
		if err := node.WaitLog(waiting, patience); err != nil {
			return nil, err
		}
		var took []time.Duration
		for range probes {
			t, err := probeOnce(site, c.status)
			if err != nil {
				return nil, err
			}
			took = append(took, t)
		}
		*c.to = spreadOf(took)
		if err := node.Kill(); err != nil {
			return nil, err
		}
	}
	return &p, nil
}

func probeOnce(site *network.Site, status int) (time.Duration, error) {
	p, err := site.Dir1.Start(exec.Command("rsagent", "probe",
		"--real", site.Web1.Addr.String(), "--vip", network.VIP.String()+":80"))
	if err != nil {
		return 0, err
	}
	got, err := p.Wait(patience)
	took := time.Since(p.Started)
	if err == nil && got != status {
		err = fmt.Errorf("cannot probe: exit status %d, not %d: %s", got, status, p.Log())
	}
	return took, err
}

// standIn answers each SYN that comes wrapped in IPIP, as the node that it is for
// would, by a segment with these flags.
func standIn(flags byte) error {
	in, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_IPIP)
	if err != nil {
		return err
	}
	out, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, waiting)
	buffer := make([]byte, 2048)
	for {
		n, _, err := unix.Recvfrom(in, buffer, 0)
		if err != nil {
			return err
		}
		outer, ok := packet.Parse(buffer[:n])
		if !ok {
			continue
		}
		asked, ok := packet.Parse(outer.Body)
		if !ok || asked.Protocol != unix.IPPROTO_TCP || asked.Flags != packet.SYN {
			continue // the reset that ends it
		}
		answer := packet.Segment{
			From: netip.AddrPortFrom(asked.To, asked.Ports[1]), To: netip.AddrPortFrom(asked.From, asked.Ports[0]),
			Flags: flags, Seq: 1, Ack: asked.Seq + 1,
		}
		if err := unix.Sendto(out, answer.Packet(), 0, &unix.SockaddrInet4{Addr: asked.From.As4()}); err != nil {
			return err
		}
	}
}
