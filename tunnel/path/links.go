package path

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Link is a network interface as far as packets can get lost on it.
type Link struct {
	Index, Master int // Master is the index of what it is a part of; 0: of nothing
	Name, Kind    string
	MasterKind    string // such as "vrf", "bridge" or "bond"
	Type          uint16 // ARPHRD_...
	Up, Carrier   bool
	Loopback      bool
	NoARP         bool
	MTU           int
	MAC           [6]byte

	RxPackets, RxErrors, RxDropped uint64
	RxFrame, RxMissed              uint64
	TxPackets, TxErrors, TxDropped uint64
	XDP                            []XDP
	tunnel                         outer
	lower                          int // what a VLAN stands on
}

// XDP is a program that sees every packet before the rest of the kernel.
type XDP struct {
	Mode string // "xdpdrv", "xdpgeneric" or "xdpoffload", as ip(8) says to take it off
	ID   uint32
}

// outer is where a tunnel takes packets from: struct ip_tunnel_parm.
type outer struct {
	known, external bool
	local, remote   [4]byte
	link            uint32
	protocol        byte
	encapsulation   uint16
}

// links lists all interfaces, with their statistics.
func links() ([]Link, error) {
	list, err := dump(unix.RTM_GETLINK, unix.RTM_NEWLINK, make([]byte, unix.SizeofIfInfomsg))
	if err != nil {
		return nil, fmt.Errorf("cannot list the links: %w", err)
	}
	var all []Link
	kinds := map[int]string{}
	for _, b := range list {
		l, err := parseLink(b)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
		kinds[l.Index] = l.Kind
	}
	for i := range all {
		all[i].MasterKind = kinds[all[i].Master]
	}
	return all, nil
}

func parseLink(b []byte) (Link, error) {
	if len(b) < unix.SizeofIfInfomsg {
		return Link{}, fmt.Errorf("the kernel describes a link in %d bytes", len(b))
	}
	flags := binary.NativeEndian.Uint32(b[8:])
	l := Link{
		Type:     binary.NativeEndian.Uint16(b[2:]),
		Index:    int(int32(binary.NativeEndian.Uint32(b[4:]))),
		Up:       flags&unix.IFF_UP != 0,
		Carrier:  flags&unix.IFF_LOWER_UP != 0,
		Loopback: flags&unix.IFF_LOOPBACK != 0,
		NoARP:    flags&unix.IFF_NOARP != 0,
	}
	err := attributes(b[unix.SizeofIfInfomsg:], func(kind uint16, v []byte) error {
		switch kind {
		case unix.IFLA_IFNAME:
			l.Name = text(v)
		case unix.IFLA_MTU:
			l.MTU = int(number(v))
		case unix.IFLA_LINK:
			l.lower = int(number(v))
		case unix.IFLA_MASTER:
			l.Master = int(number(v))
		case unix.IFLA_ADDRESS:
			copy(l.MAC[:], v)
		case unix.IFLA_STATS64:
			l.statistics(v)
		case unix.IFLA_XDP:
			return l.programs(v)
		case unix.IFLA_LINKINFO:
			return l.info(v)
		}
		return nil
	})
	return l, err
}

// statistics is a struct rtnl_link_stats64, of which newer kernels have more.
func (l *Link) statistics(b []byte) {
	for i, to := range []*uint64{
		&l.RxPackets, &l.TxPackets, nil, nil, &l.RxErrors, &l.TxErrors, &l.RxDropped, &l.TxDropped,
		nil, nil, nil, nil, nil, &l.RxFrame, nil, &l.RxMissed,
	} {
		if to != nil && len(b) >= 8*(i+1) {
			*to = binary.NativeEndian.Uint64(b[8*i:])
		}
	}
}

func (l *Link) programs(b []byte) error {
	return attributes(b, func(kind uint16, v []byte) error {
		mode := map[uint16]string{
			unix.IFLA_XDP_DRV_PROG_ID: "xdpdrv", unix.IFLA_XDP_SKB_PROG_ID: "xdpgeneric", unix.IFLA_XDP_HW_PROG_ID: "xdpoffload",
		}[kind]
		if mode != "" && number(v) != 0 {
			l.XDP = append(l.XDP, XDP{Mode: mode, ID: number(v)})
		}
		return nil
	})
}

func (l *Link) info(b []byte) error {
	var data []byte
	err := attributes(b, func(kind uint16, v []byte) error {
		switch kind {
		case unix.IFLA_INFO_KIND:
			l.Kind = text(v)
		case unix.IFLA_INFO_DATA:
			data = v
		}
		return nil
	})
	if err != nil || l.Kind != "ipip" {
		return err
	}
	l.tunnel.known = true
	return attributes(data, func(kind uint16, v []byte) error {
		t := &l.tunnel
		switch kind {
		case nl.IFLA_IPTUN_LINK:
			t.link = number(v)
		case nl.IFLA_IPTUN_LOCAL:
			copy(t.local[:], v)
		case nl.IFLA_IPTUN_REMOTE:
			copy(t.remote[:], v)
		case nl.IFLA_IPTUN_PROTO:
			t.protocol = byte(number(v))
		case nl.IFLA_IPTUN_COLLECT_METADATA:
			t.external = true
		case nl.IFLA_IPTUN_ENCAP_TYPE:
			t.encapsulation = uint16(number(v))
		}
		return nil
	})
}

// dump asks for a list. A list that a change interrupted is taken again.
func dump(request, kind uint16, body []byte) ([][]byte, error) {
	var list [][]byte
	var err error
	for range 3 {
		r := nl.NewNetlinkRequest(int(request), unix.NLM_F_DUMP)
		r.AddRawData(body)
		list, err = r.Execute(unix.NETLINK_ROUTE, kind)
		if err != nl.ErrDumpInterrupted {
			break
		}
	}
	return list, err
}

// attributes calls visit for each attribute in b: rtnetlink(7).
func attributes(b []byte, visit func(kind uint16, v []byte) error) error {
	for len(b) >= unix.SizeofRtAttr {
		length := int(binary.NativeEndian.Uint16(b))
		if length < unix.SizeofRtAttr || length > len(b) {
			return fmt.Errorf("the kernel's answer has an attribute of %d bytes in %d", length, len(b))
		}
		const flags = unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER
		if err := visit(binary.NativeEndian.Uint16(b[2:])&^flags, b[unix.SizeofRtAttr:length]); err != nil {
			return err
		}
		b = b[min(len(b), (length+unix.RTA_ALIGNTO-1)&^(unix.RTA_ALIGNTO-1)):]
	}
	return nil
}

func text(b []byte) string { return strings.TrimRight(string(b), "\x00") }

// number is an attribute's unsigned value of 1, 2 or 4 bytes; 0 for others.
func number(b []byte) uint32 {
	switch len(b) {
	case 1:
		return uint32(b[0])
	case 2:
		return uint32(binary.NativeEndian.Uint16(b))
	case 4:
		return binary.NativeEndian.Uint32(b)
	}
	return 0
}
