package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"rsagent/lab/network"
)

// stateOf reads a message of the kernel about the interface with this index.
// known is false if it says nothing about the matter.
type stateOf func(m syscall.NetlinkMessage, index int) (good, known bool)

// upOrDown is good when the interface is up.
func upOrDown(m syscall.NetlinkMessage, index int) (good, known bool) {
	if m.Header.Type != unix.RTM_NEWLINK || len(m.Data) < unix.SizeofIfInfomsg {
		return false, false
	}
	link := nl.DeserializeIfInfomsg(m.Data)
	return link.Flags&unix.IFF_UP != 0, int(link.Index) == index
}

// vipThere is good when the interface has the VIP.
func vipThere(m syscall.NetlinkMessage, index int) (good, known bool) {
	if len(m.Data) < unix.SizeofIfAddrmsg ||
		m.Header.Type != unix.RTM_NEWADDR && m.Header.Type != unix.RTM_DELADDR {
		return false, false
	}
	local := attribute(m.Data[unix.SizeofIfAddrmsg:], unix.IFA_LOCAL)
	known = int(nl.DeserializeIfAddrmsg(m.Data).Index) == index && slices.Equal(local, network.VIP.AsSlice())
	return m.Header.Type == unix.RTM_NEWADDR, known
}

// From include/uapi/linux/netconf.h: struct netconfmsg, which is one byte, fills
// up four.
const (
	netconfHead     = 4
	netconfIfindex  = 1
	netconfRPFilter = 3
)

// notStrict is good when the interface does not filter strictly
// (rp_filter in Documentation/networking/ip-sysctl.rst).
func notStrict(m syscall.NetlinkMessage, index int) (good, known bool) {
	if m.Header.Type != unix.RTM_NEWNETCONF || len(m.Data) < netconfHead {
		return false, false
	}
	of := attribute(m.Data[netconfHead:], netconfIfindex)
	filter := attribute(m.Data[netconfHead:], netconfRPFilter)
	if len(of) < 4 || len(filter) < 4 {
		return false, false
	}
	return nl.NativeEndian().Uint32(filter) != 1, int(nl.NativeEndian().Uint32(of)) == index
}

// attribute is the value of an attribute, nil if it is not there.
func attribute(data []byte, kind uint16) []byte {
	attributes, err := nl.ParseRouteAttr(data)
	if err != nil {
		return nil
	}
	for _, a := range attributes {
		if a.Attr.Type == kind {
			return a.Value
		}
	}
	return nil
}

// watch waits for an interface to turn bad, and good again.
type watch struct {
	socket *nl.NetlinkSocket
	done   chan struct{}
	broken bool
	good   time.Time // again, after it was broken
	err    error
}

// watchTunnel watches tunl0 of a node, from before it returns.
func watchTunnel(node *network.Host, state stateOf) (*watch, error) {
	w := &watch{done: make(chan struct{})}
	var index int
	err := node.Do(func() error {
		tunl0, err := net.InterfaceByName("tunl0")
		if err != nil {
			return err
		}
		index = tunl0.Index
		w.socket, err = nl.Subscribe(unix.NETLINK_ROUTE,
			unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_NETCONF)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot watch tunl0 of %s: %v", node.Name, err)
	}
	go func() {
		defer close(w.done)
		w.err = w.follow(index, state)
	}()
	return w, nil
}

func (w *watch) follow(index int, state stateOf) error {
	for {
		messages, _, err := w.socket.Receive()
		if err != nil {
			return err
		}
		for _, m := range messages {
			good, known := state(m, index)
			switch {
			case !known:
			case !good:
				w.broken = true
			case w.broken:
				w.good = time.Now()
				return nil
			}
		}
	}
}

// mended waits for the end of the damage, and says when it was.
func (w *watch) mended() (time.Time, error) {
	const wait = 5 * time.Second
	select {
	case <-w.done:
	case <-time.After(wait):
	}
	w.stop()
	switch {
	case !w.broken:
		return time.Time{}, errors.New("cannot break the node: nothing changed")
	case w.good.IsZero():
		return time.Time{}, fmt.Errorf("tunl0 was not mended within %v", wait)
	}
	return w.good, w.err
}

func (w *watch) stop() {
	w.socket.Close()
	<-w.done
}
