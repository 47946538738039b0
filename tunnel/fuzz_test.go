package tunnel

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	nfnetlink "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// What the seeds hold is what the kernel says in a namespace with links,
// addresses, routes and rsagent's table.

// inSeedNamespace runs f where there is something to list.
func inSeedNamespace(f *testing.F, do func(h *Handle) error) {
	f.Helper()
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends here
		failed <- seeded(do)
	}()
	if err := <-failed; err != nil {
		f.Fatalf("cannot have the kernel make seeds (this needs root): %v", err)
	}
}

func seeded(do func(h *Handle) error) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	h, err := Open()
	if err != nil {
		return err
	}
	defer h.Close()
	vip := netip.MustParsePrefix("203.0.113.10/32")
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "seed.100"}, PeerName: "seed.peer"}
	if err := netlink.LinkAdd(link); err != nil {
		return err
	}
	at := Address{LinkIndex: link.Attrs().Index, Link: "seed.100", Prefix: vip, HostScope: true}
	return errors.Join(
		netlink.LinkSetUp(link),
		errors.Join(h.AddAddresses([]Address{at})...),
		h.ApplyFirewall(Firewall{Guard: true, Directors: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/28")},
			VIPs: []netip.Addr{vip.Addr()}, Device: "tunl0", MSS: 1440}),
		do(h))
}

// routeLists is what the kernel answers to each request for a list, as it comes.
func routeLists(h *Handle) ([][]byte, error) {
	var answers [][]byte
	for kind, body := range map[uint16][]byte{
		unix.RTM_GETLINK: linksRequest(), unix.RTM_GETADDR: addressesRequest(), unix.RTM_GETROUTE: localRoutesRequest(),
	} {
		b := append(h.ask.request(nil, kind, unix.NLM_F_DUMP), body...)
		if err := h.ask.send(seal(b, 0)); err != nil {
			return nil, err
		}
		for ended := false; !ended; {
			datagram, err := h.ask.receive()
			if err != nil {
				return nil, err
			}
			answers = append(answers, bytes.Clone(datagram))
			for rest := datagram; len(rest) > 0 && !ended; {
				var m message
				if m, rest, err = nextMessage(rest); err != nil {
					return nil, err
				}
				ended = m.kind == unix.NLMSG_DONE || m.kind == unix.NLMSG_ERROR
			}
		}
	}
	return answers, nil
}

func addRouteLists(f *testing.F) {
	f.Helper()
	inSeedNamespace(f, func(h *Handle) error {
		answers, err := routeLists(h)
		for _, a := range answers {
			f.Add(a)
		}
		return err
	})
	f.Add(join(established(), done(0)))
	f.Add(done(unix.ENOENT))
}

// Messages that come out of a datagram are those that went into it, and each
// takes something off it.
func FuzzMessages(f *testing.F) {
	addRouteLists(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			m, rest, err := nextMessage(b)
			if err != nil {
				return
			}
			took := b[:len(b)-len(rest)]
			if len(took) < unix.SizeofNlMsghdr+len(m.body) || len(took) > unix.SizeofNlMsghdr+len(m.body)+unix.NLMSG_ALIGNTO {
				t.Fatalf("a message with a body of %d bytes took %d bytes", len(m.body), len(took))
			}
			again := netlinkMessage(m.kind, m.flags, m.seq, m.body)
			binary.NativeEndian.PutUint32(again[12:], m.port)
			if !bytes.Equal(again[:unix.SizeofNlMsghdr+len(m.body)], took[:unix.SizeofNlMsghdr+len(m.body)]) {
				t.Fatalf("read %+v of %x", m, took)
			}
			_, _ = m.errno(), m.refusal()
			b = rest
		}
	})
}

// What the attributes say can be written again, and is the same then.
func FuzzAttributes(f *testing.F) {
	f.Add(attribute32(attribute(nil, unix.IFLA_IFNAME, []byte("eth0.100\x00")), unix.IFLA_MTU, 1500))
	f.Add([]byte{4, 0, 1, 0x80, 5, 0, 2, 0x40, 9})
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		visited := 0
		if err := eachAttribute(b, func(kind uint16, value []byte) {
			visited++
			again = attribute(again, kind, value)
		}); err != nil {
			return
		}
		seen := 0
		if err := eachAttribute(again, func(uint16, []byte) { seen++ }); err != nil || seen != visited {
			t.Fatalf("%d attributes were written again as %d: %v", visited, seen, err)
		}
		if len(again) > len(b)+unix.RTA_ALIGNTO {
			t.Fatalf("%d bytes hold attributes of %d", len(b), len(again))
		}
	})
}

// A list that is told twice makes the same state, and nothing is left of it when
// every link has gone.
func FuzzState(f *testing.F) {
	addRouteLists(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		var told []message
		for rest := b; len(rest) > 0; {
			m, next, err := nextMessage(rest)
			if err != nil {
				break
			}
			told, rest = append(told, m), next
		}
		s := newState()
		for _, m := range told {
			_, _ = s.apply(m)
		}
		everything := func(string, netip.Addr) bool { return true }
		node := s.node(everything)
		for addr, at := range node.Addresses {
			for _, a := range at {
				if !addr.Is4() || a.Prefix.Addr() != addr || a.Prefix.Bits() < 0 || a.Prefix.Bits() > 32 {
					t.Fatalf("%v is listed as %+v", addr, a)
				}
			}
		}
		for index := range s.links {
			s.forget(index)
		}
		if len(s.links) > 0 {
			t.Fatalf("links stay when all have gone: %v", s.links)
		}
	})
}

// Whatever the kernel answers, in any number of datagrams, the reader comes to an
// end.
func FuzzAnswers(f *testing.F) {
	addRouteLists(f)
	f.Add(netlinkMessage(unix.RTM_NEWROUTE, 0, askedSeq, make([]byte, 12)))
	f.Fuzz(func(t *testing.T, b []byte) {
		half := len(b) / 2 &^ 3
		for _, ask := range []func(r *requests) error{
			func(r *requests) error { return r.list(unix.RTM_NEWLINK, func(message) error { return nil }) },
			func(r *requests) error { return r.answers(askedSeq, make([]error, 3)) },
			func(r *requests) error {
				return r.list(unix.SOCK_DIAG_BY_FAMILY, visitSockets(unix.AF_INET6, func(socket) {}))
			},
		} {
			r := answering(t, b, b[:half], b[half:])
			_ = ask(r)
			r.close()
		}
	})
}

// answering is a socket from which these datagrams come, and then none.
func answering(t *testing.T, datagrams ...[]byte) *requests {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(pair[1])
	for _, d := range datagrams {
		if len(d) > 0 {
			must(t, unix.Send(pair[1], d, 0))
		}
	}
	return &requests{fd: pair[0], seq: askedSeq, buffer: make([]byte, answerBuffer)}
}

// A socket that is read is of the family that was asked for, and all of it stood
// in the answer.
func FuzzSocket(f *testing.F) {
	f.Add(uint8(unix.AF_INET), established()[unix.SizeofNlMsghdr:])
	f.Add(uint8(unix.AF_INET6), append([]byte{unix.AF_INET6, tcpEstablished}, make([]byte, 70)...))
	f.Fuzz(func(t *testing.T, family uint8, b []byte) {
		s, err := parseSocket(family, b)
		if err != nil {
			return
		}
		if b[0] != family || s.state != b[1] || s.local.Port() != binary.BigEndian.Uint16(b[4:]) {
			t.Fatalf("%x is read as %+v", b, s)
		}
		if family == unix.AF_INET && (!s.local.Addr().Is4() || !s.remote.Is4()) {
			t.Fatalf("an IPv4 socket at %v from %v", s.local, s.remote)
		}
	})
}

// packetFilterLists are the kinds of lists that make a table.
var packetFilterLists = []struct {
	request, table uint16
	parse          func([]nfnetlink.Message) error
}{
	{unix.NFT_MSG_GETTABLE, unix.NFTA_TABLE_NAME, func(m []nfnetlink.Message) error { _, err := parseTableFlags(m); return err }},
	{unix.NFT_MSG_GETCHAIN, unix.NFTA_CHAIN_TABLE, func(m []nfnetlink.Message) error { _, err := parseChains(m); return err }},
	{unix.NFT_MSG_GETRULE, unix.NFTA_RULE_TABLE, func(m []nfnetlink.Message) error { return parseRules(m, map[string]chain{}) }},
	{unix.NFT_MSG_GETSET, unix.NFTA_SET_TABLE, func(m []nfnetlink.Message) error { _, err := parseSets(m); return err }},
	{unix.NFT_MSG_GETSETELEM, unix.NFTA_SET_ELEM_LIST_TABLE, func(m []nfnetlink.Message) error { _, err := parseElements(m); return err }},
	{unix.NFT_MSG_GETOBJ, unix.NFTA_OBJ_TABLE, func(m []nfnetlink.Message) error { _, err := parseCounters(m); return err }},
}

// A list of the packet filter is read the same each time, and one that is read
// holds no more rules than the answer has room for.
func FuzzPacketFilter(f *testing.F) {
	inSeedNamespace(f, func(h *Handle) error {
		for i, l := range packetFilterLists {
			attributes := []nfnetlink.Attribute{nameAttribute(l.table, tableName)}
			if l.request == unix.NFT_MSG_GETSETELEM {
				attributes = append(attributes, nameAttribute(unix.NFTA_SET_ELEM_LIST_SET, "directors"))
			}
			answers, err := h.firewall.ask(l.request, nfnetlink.Dump, attributes...)
			if err != nil {
				return err
			}
			for _, m := range answers {
				f.Add(uint8(i), m.Data)
			}
		}
		return nil
	})
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		l := packetFilterLists[int(which)%len(packetFilterLists)]
		answers := []nfnetlink.Message{{Data: b}, {Data: b}}
		first := l.parse(answers)
		if second := l.parse(answers); (first == nil) != (second == nil) {
			t.Fatalf("read once with %v, once with %v", first, second)
		}
		if text, err := expressionText(b); err == nil && len(text) > 1000+100*len(b) {
			t.Fatalf("an expression of %d bytes became %d", len(b), len(text))
		}
		if e, err := parseElement(b); err == nil && e.compare(e) != 0 {
			t.Fatalf("%+v is not equal to itself", e)
		}
	})
}

// Of changes to the packet filter only those to rsagent's table are told of.
func FuzzPacketFilterChanges(f *testing.F) {
	table := attribute([]byte{unix.NFPROTO_IPV4, 0, 0, 0}, unix.NFTA_TABLE_NAME, []byte(tableName+"\x00"))
	author := attribute(make([]byte, 4), unix.NFTA_GEN_PROC_NAME, []byte("nft\x00"))
	author = attribute(author, unix.NFTA_GEN_PROC_PID, []byte{0, 0, 7, 7})
	f.Add(uint16(unix.NFT_MSG_NEWRULE), table, author)
	f.Add(uint16(unix.NFT_MSG_DELTABLE), []byte{2, 0, 0, 0, 4, 0, 1, 0}, []byte{})
	f.Fuzz(func(t *testing.T, kind uint16, change, generation []byte) {
		told := 0
		w := &FirewallWatch{told: func(Change) { told++ }}
		const subsystem = unix.NFNL_SUBSYS_NFTABLES << 8
		w.take(message{kind: subsystem | kind&0xff, body: change})
		w.take(message{kind: subsystem | unix.NFT_MSG_NEWGEN, body: generation})
		if told > 0 && !bytes.Contains(change, []byte(tableName)) {
			t.Fatalf("a change of another table was told of: %x", change)
		}
	})
}

// Whatever stands in the files about modules, what is said of them is a line
// that a person can read, with a remedy if it is certain.
func FuzzModuleFiles(f *testing.F) {
	const dep = "kernel/net/ipv4/ipip.ko.xz: kernel/net/ipv4/ip_tunnel.ko.xz kernel/net/ipv4/tunnel4.ko.xz\n"
	f.Add("ipip 20480 0 - Live 0x0\n", dep, "install ipip /bin/false\n", "quiet module_blacklist=a,ipip", "CONFIG_NET_IPIP=m\n")
	f.Add("", "", "blacklist ipip\\\n\n", "", "# CONFIG_NET_IPIP is not set\n")
	f.Add("nf_tables 1 0 - Live", ":", "install tunnel4", "=", "CONFIG_NET_IPIP=")
	f.Fuzz(func(t *testing.T, modules, dep, conf, cmdline, config string) {
		root := t.TempDir()
		var zipped bytes.Buffer
		z := gzip.NewWriter(&zipped)
		_, err := z.Write([]byte(config))
		must(t, errors.Join(err, z.Close()))
		var uts unix.Utsname
		must(t, unix.Uname(&uts))
		release := unix.ByteSliceToString(uts.Release[:])
		for name, text := range map[string]string{
			"proc/modules": modules, "proc/cmdline": cmdline, "proc/config.gz": zipped.String(),
			"proc/sys/kernel/modprobe": conf, "etc/modprobe.d/x.conf": conf,
			"lib/modules/" + release + "/modules.dep":     dep,
			"lib/modules/" + release + "/modules.builtin": dep,
		} {
			file := filepath.Join(root, name)
			must(t, os.MkdirAll(filepath.Dir(file), 0o755))
			must(t, os.WriteFile(file, []byte(text), 0o644))
		}
		o := MissingIPIP(root)
		if o.Certain && (o.Cause == "" || o.Remedy == "") {
			t.Fatalf("certain, and no reason or remedy: %+v", o)
		}
		if strings.ContainsAny(o.Cause, "\n\x00") || strings.ContainsAny(o.Remedy, "\x00") {
			t.Fatalf("this is no line: %q", o.Cause)
		}
	})
}
