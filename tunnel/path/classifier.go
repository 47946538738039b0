package path

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Attributes of linux/rtnetlink.h and linux/pkt_cls.h that x/sys does not have.
const (
	tcaKind, tcaOptions, tcaStats2, tcaInvisible, tcaChain = 1, 2, 7, 10, 11
	ingressMinor, egressMinor                              = 0xfffffff2, 0xfffffff3
	rootParent                                             = 0xffffffff
	protocolIP, protocolAll                                = unix.ETH_P_IP, unix.ETH_P_ALL
)

// classifier is one filter of tc.
type classifier struct {
	link           Link
	kind           string
	parent         uint32
	pref, protocol uint16
	chain          uint32
	handle         uint32
	actions        []action
	program        uint32 // of kind bpf, if it acts by itself
	direct         bool
	selector       []byte // of u32: struct tc_u32_sel
	linked         uint32 // of u32: the table that it leads to
	keys           map[uint16][]byte
	foreign        bool // has conditions that are not understood
}

type action struct {
	kind    string
	control int32
	to      int // of mirred: the link
	eaction int32
}

// classifiers finds the filters that take packets of the legs: on the way in of
// the links that face the directors and of the device, and on the way out of
// the former. The hooks are those of the links, as queues lists them.
func classifiers(links []Link, hooks []Queue, q Question, s samples) ([]Stop, error) {
	var stops []Stop
	for _, at := range hooks {
		l := linkOf(links, func(l Link) bool { return l.Index == at.index })
		facing := q.passes(at.index)
		if !at.ingress && !at.clsact || !facing && l.Name != q.Device {
			continue
		}
		leg := Inner
		if facing {
			leg = Outer
		}
		in, err := filters(*l, parentOf(at))
		if err != nil {
			return nil, err
		}
		stops = append(stops, judge(in, leg, s[leg], links)...)
		if !at.clsact || !facing {
			continue
		}
		out, err := filters(*l, egressMinor)
		if err != nil {
			return nil, err
		}
		stops = append(stops, judge(out, Answer, s[Answer], links)...)
	}
	return stops, nil
}

func parentOf(q Queue) uint32 {
	if q.clsact {
		return ingressMinor
	}
	return 0xffff0000
}

// filters lists those of one hook: RTM_GETTFILTER, struct tcmsg.
func filters(l Link, parent uint32) ([]classifier, error) {
	body := make([]byte, 20)
	binary.NativeEndian.PutUint32(body[4:], uint32(l.Index))
	binary.NativeEndian.PutUint32(body[12:], parent)
	list, err := dump(unix.RTM_GETTFILTER, unix.RTM_NEWTFILTER, body)
	if err != nil {
		return nil, fmt.Errorf("cannot list the filters of tc on %s: %w", l.Name, err)
	}
	var all []classifier
	for _, b := range list {
		c, err := parseClassifier(b)
		if err != nil {
			return nil, err
		}
		// The first of each pref stands for the kind itself (tfilter_notify of a
		// tcf_proto, net/sched/cls_api.c), and takes nothing.
		if c.handle != 0 {
			c.link, c.parent = l, parent
			all = append(all, c)
		}
	}
	return all, nil
}

func parseClassifier(b []byte) (classifier, error) {
	if len(b) < 20 {
		return classifier{}, fmt.Errorf("the kernel describes a filter of tc in %d bytes", len(b))
	}
	info := binary.NativeEndian.Uint32(b[16:])
	c := classifier{handle: binary.NativeEndian.Uint32(b[8:]), pref: uint16(info >> 16), keys: map[uint16][]byte{}}
	c.protocol = uint16(info)<<8 | uint16(info)>>8&0xff
	var options []byte
	err := attributes(b[20:], func(kind uint16, v []byte) error {
		switch kind {
		case tcaKind:
			c.kind = text(v)
		case tcaOptions:
			options = v
		case tcaChain:
			c.chain = number(v)
		}
		return nil
	})
	if err != nil {
		return c, err
	}
	return c, attributes(options, func(kind uint16, v []byte) error { return c.option(kind, v) })
}

// option takes in one attribute of the filter's kind: linux/pkt_cls.h.
func (c *classifier) option(kind uint16, v []byte) error {
	acts := map[string]uint16{"u32": 7, "matchall": 2, "flower": 3, "bpf": 1}[c.kind]
	if acts != 0 && kind == acts {
		return c.act(v)
	}
	switch c.kind {
	case "u32":
		switch kind {
		case 3:
			c.linked = number(v)
		case 5:
			c.selector = v
		case 8, 10: // a link and a mark
			c.foreign = true
		}
	case "flower":
		if !slices.Contains([]uint16{1, 22, 86, 87}, kind) { // class, flags, hardware
			c.keys[kind] = v
		}
	case "bpf":
		switch kind {
		case 8:
			c.direct = number(v)&1 != 0
		case 11:
			c.program = number(v)
		}
	case "matchall":
	default:
		c.foreign = true
	}
	return nil
}

func (c *classifier) act(b []byte) error {
	return attributes(b, func(_ uint16, one []byte) error {
		a := action{}
		var options []byte
		err := attributes(one, func(kind uint16, v []byte) error {
			switch kind {
			case 1:
				a.kind = text(v)
			case 2:
				options = v
			}
			return nil
		})
		if err != nil {
			return err
		}
		a.control = actPipe
		err = attributes(options, func(kind uint16, v []byte) error {
			// struct tc_gact and tc_mirred begin alike.
			if kind == 2 && len(v) >= 20 && (a.kind == "gact" || a.kind == "mirred") {
				a.control = int32(binary.NativeEndian.Uint32(v[8:]))
				if a.kind == "mirred" && len(v) >= 28 {
					a.eaction, a.to = int32(binary.NativeEndian.Uint32(v[20:])), int(binary.NativeEndian.Uint32(v[24:]))
				}
			}
			return nil
		})
		c.actions = append(c.actions, a)
		return err
	})
}

// What an action says, and a program: TC_ACT_... in linux/pkt_cls.h.
const (
	actUnspec, actOK, actReclassify, actShot, actPipe, actStolen, actQueued = -1, 0, 1, 2, 3, 4, 5
	actTrap                                                                 = 8
)

// judge runs the packets through the filters in their order, as
// tcf_classify does (net/sched/cls_api.c). Where it cannot be known whether a
// filter takes one, nothing is said of the packet.
func judge(filters []classifier, leg Leg, packets [][]byte, links []Link) []Stop {
	slices.SortStableFunc(filters, func(a, b classifier) int { return int(a.pref) - int(b.pref) })
	tables := map[uint32]bool{}
	for _, c := range filters {
		if c.linked != 0 {
			tables[c.linked] = true
		}
	}
	var stops []Stop
	for _, p := range packets {
		for _, c := range filters {
			if c.chain != 0 || c.protocol != protocolIP && c.protocol != protocolAll {
				continue
			}
			hit, known := c.matches(p, tables)
			if !known {
				break
			}
			if !hit {
				continue
			}
			why, end := c.does(p, links)
			if why != "" {
				stop := c.stop(leg, why)
				if !slices.Contains(stops, stop) {
					stops = append(stops, stop)
				}
			}
			if end {
				break
			}
		}
	}
	return stops
}

func (c classifier) stop(leg Leg, why string) Stop {
	hook := "ingress"
	if c.parent == egressMinor {
		hook = "egress"
	}
	return Stop{Leg: leg, Where: fmt.Sprintf("a filter of tc (%s, pref %d) on %s of %s", c.kind, c.pref, hook, c.link.Name),
		Why: why, Remedy: fmt.Sprintf("tc filter del dev %s %s pref %d", c.link.Name, hook, c.pref)}
}

// does says what becomes of a packet that the filter takes: why is empty if it
// goes on, end says that no later filter sees it.
func (c classifier) does(p []byte, links []Link) (why string, end bool) {
	if c.kind == "bpf" && c.direct {
		return c.runs(p)
	}
	for _, a := range c.actions {
		if a.kind == "mirred" && (a.eaction == 1 || a.eaction == 3) { // redirect; the others mirror
			return redirected(a.to, links), true
		}
		switch a.control {
		case actShot:
			return "drops them", true
		case actStolen, actQueued, actTrap:
			return "takes them away", true
		case actOK, actReclassify:
			return "", true
		case actUnspec:
			return "", false
		}
	}
	return "", true
}

// redirected is empty for an intermediate device that is up: that is how
// what comes in is shaped.
func redirected(to int, links []Link) string {
	l := linkOf(links, func(l Link) bool { return l.Index == to })
	switch {
	case l == nil:
		return "sends them to a link that is gone"
	case !l.Up:
		return fmt.Sprintf("sends them to %s, which is down", l.Name)
	case l.Kind == "ifb":
		return ""
	}
	return fmt.Sprintf("sends them to %s instead", l.Name)
}

func (c classifier) runs(p []byte) (why string, end bool) {
	if c.link.Type != unix.ARPHRD_ETHER {
		return "", true // it wants another header than a trial run has
	}
	did, err := runProgram(c.program, c.link, p)
	switch {
	case err != nil:
		return "", true
	case did == actShot:
		return "is a program that drops them", true
	case did == actStolen || did == actQueued || did == actTrap:
		return "is a program that takes them away", true
	}
	return "", did != ^uint32(0) // TC_ACT_UNSPEC goes on
}
