package legacy

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"rsagent/agent/config"
)

const (
	directorsOwn  = "the directors' own business: nothing of it is on the node"
	directorsAsk  = "how a director asks its nodes; here the pool's probe has keys of its own: interval, timeout, rise and fall"
	directorsPick = "which node a client goes to, and whether it stays there, is the directors' business"
)

// globalReasons says why a setting at the top of lvs.cf does not carry over.
var globalReasons = map[string]string{
	"serial_no":  "it counts the changes of lvs.cf",
	"nat_router": "with tunnelling there is no NAT router", "nat_nmask": "with tunnelling there is no NAT router",
}

// virtualReasons does for a virtual. What is in neither is the directors' own.
var virtualReasons = map[string]string{
	"vip_nmask":       "a VIP is a /32 on the tunnel device, always",
	"persistent":      "a director's business: it keeps a client with one node",
	"pmask":           "a director's business: it keeps a client with one node",
	"scheduler":       directorsPick,
	"load_monitor":    directorsPick,
	"fwmark":          "a mark that packets have on a director; the node sees none",
	"sorry_server":    directorsPick,
	"use_regex":       directorsAsk,
	"timeout":         directorsAsk,
	"reentry":         directorsAsk,
	"quiesce_server":  "a director's business: what it does with a node that fails; a drain counts on 1",
	"send_program":    `it runs on a director; on the node: probe = { type = "exec", command = ["/the/program"] }`,
	"expect_program":  `it runs on a director; on the node: probe = { type = "exec", command = ["/the/program"] }`,
	"server_selector": directorsPick,
}

// takeLVS takes the VIPs, the directors and the pools.
func (in input) takeLVS(file *block) {
	in.takeGlobals(file)
	nodes := in.servers(file)
	in.takeDirector(file, "primary", nodes)
	in.takeDirector(file, "backup", nodes)
	for _, b := range file.blocks {
		switch {
		case b.kind == "virtual" && b.get("active").value == "0":
			in.leave(b.line, b.text, fmt.Sprintf("%s, to line %d, is not in use: active = 0 on line %d", b, b.end, b.get("active").line))
		case b.kind == "virtual":
			in.takeVirtual(b)
		default:
			in.leave(b.line, b.text, fmt.Sprintf("%s, to line %d: %s", b, b.end, directorsOwn))
		}
	}
}

func (in input) takeGlobals(file *block) {
	for _, s := range file.settings {
		switch s.key {
		case "primary", "primary_private", "backup", "backup_private":
			// takeDirector has them.
		case "service":
			if s.value != "lvs" {
				in.problem(s.line, s.text, "expected service = lvs: a node of another service has nothing to do here")
			}
		case "network":
			if s.value != "tunnel" {
				in.problem(s.line, s.text, "rsagent looks after nodes that are reached by a tunnel: expected network = tunnel, on the directors first")
			}
		default:
			reason, known := globalReasons[s.key]
			if !known {
				reason = directorsOwn
			}
			in.leave(s.line, s.text, reason)
		}
	}
	if file.get("network").key == "" {
		in.leave(1, "no network", "piranha takes nat then: before a node becomes one of rsagent's, write network = tunnel on the directors")
	}
}

// servers are the addresses of all nodes that are not elided.
func (in input) servers(file *block) []netip.Addr {
	var all []netip.Addr
	for _, v := range file.blocks {
		for _, s := range v.blocks {
			if a, err := netip.ParseAddr(s.get("address").value); err == nil {
				all = append(all, a)
			}
		}
	}
	return all
}

// takeDirector takes the address that a director sends from: its private one, if
// it has one and the nodes are not all on public addresses.
func (in input) takeDirector(file *block, key string, nodes []netip.Addr) {
	chosen, other := file.get(key+"_private"), file.get(key)
	why := "it is assumed that the director sends to its nodes from its private address, " + chosen.value + "; add this one to directors if not"
	public := len(nodes) > 0 && !slices.ContainsFunc(nodes, netip.Addr.IsPrivate)
	if chosen.key == "" || public && other.key != "" {
		chosen, other = other, chosen
		why = "it is assumed that the director sends to its nodes, which have public addresses, from " + chosen.value + "; add this one to directors if not"
	}
	for _, s := range file.settings {
		if (s.key == key || s.key == key+"_private") && s.place != chosen.place && s.place != other.place {
			in.leave(s.line, s.text, "it is set again later, and the last one counts")
		}
	}
	if chosen.key == "" {
		return
	}
	if chosen.value == "0.0.0.0" || chosen.value == "" { // what piranha writes without a backup
		in.leave(chosen.line, chosen.text, "it is no director")
		return
	}
	if a, ok := in.address(chosen.line, chosen.text, chosen.value, "the director's own address"); ok {
		in.draft.addDirector(a, chosen.place)
	}
	if other.key != "" && other.value != chosen.value {
		in.leave(other.line, other.text, why)
	}
}

// takeVirtual takes the VIP and, if it has a TCP port, the pool of a virtual.
func (in input) takeVirtual(b *block) {
	at := b.get("address")
	words := append(strings.Fields(at.value), "", "")
	vip, ok := in.address(at.line, at.text, words[0], "the VIP of "+b.String())
	if device := words[1]; device != "" {
		in.leave(at.line, at.text, fmt.Sprintf("%s is the director's interface for the VIP; on a node no interface that speaks ARP may have it: it goes to the tunnel device", device))
	}
	for _, s := range b.blocks {
		in.leaveServer(s)
	}
	port, isPool := in.port(b)
	p := in.probe(b, port)
	if !ok {
		return
	}
	in.draft.addVIP(vip, at.place)
	if b.get("active").key == "" {
		in.leave(b.line, b.text, "piranha does not serve it without active = 1; here it is taken: take it out if it was not in use")
	}
	if !isPool {
		return
	}
	p.place, p.vip, p.port = b.place, vip, port
	if i := slices.IndexFunc(in.draft.pools, func(q pool) bool { return q.vip == vip && q.port == port }); i >= 0 {
		q := in.draft.pools[i]
		in.leave(b.line, b.text, fmt.Sprintf("pool %s, of line %d, has the same address and port", q.name, q.line))
		return
	}
	p.name = in.poolName(b)
	in.draft.pools = append(in.draft.pools, p)
}

// leaveServer names a node of a virtual. Its address is not used, but one that
// was left out shows that the file is not a site's own.
func (in input) leaveServer(s *block) {
	if a := s.get("address"); isElided(a.value) {
		in.address(a.line, a.text, a.value, "the address of "+s.String())
		return
	}
	in.leave(s.line, s.text, fmt.Sprintf("%s, to line %d: which nodes there are, and their weights, is the directors' business", s, s.end))
}

// port reads the port of a pool, 80 where there is none, as piranha has it
// (lvsInitVirtualServer in lvsconfig.c). With a mark there is no one port.
func (in input) port(b *block) (port int, isPool bool) {
	s := b.get("port")
	if protocol := b.get("protocol"); protocol.key != "" && protocol.value != "tcp" {
		in.leave(protocol.line, protocol.text, "a probe asks by TCP: the VIP is taken, but there is no pool for "+b.String())
		return 0, false
	}
	switch {
	case s.key == "" && b.get("fwmark").key != "":
		in.leave(b.line, b.text, "it has no port: the VIP is taken, but there is no pool to probe")
		return 0, false
	case s.key == "":
		in.leave(b.line, b.text, "it has no port, and piranha takes 80 then")
		return 80, true
	}
	port, err := strconv.Atoi(s.value)
	if err != nil || port < 1 || port > 65535 {
		in.problem(s.line, s.text, "expected a port from 1 to 65535")
		return 0, false
	}
	return port, true
}

var (
	httpRequest = regexp.MustCompile(`^(?:GET|HEAD) (/[!-~]*) HTTP/`)
	hostHeader  = regexp.MustCompile(`(?i)\r?\nHost:[ \t]*([A-Za-z0-9.:_-]+)`)
	httpStatus  = regexp.MustCompile(`^HTTP/[0-9.]+ ([1-5][0-9][0-9])`)
)

// probe works out how the service is asked from how a director asks it, and
// names what it does not take over.
func (in input) probe(b *block, port int) pool {
	send, expect := b.get("send"), b.get("expect")
	request := httpRequest.FindStringSubmatch(send.value)
	p := pool{keys: []string{`type = "tcp"`}}
	switch {
	case port == 443:
		p.keys[0] = `type = "https"`
		p.hint = `With server_name = "the name on the certificate", that is checked too.`
	case request != nil, port == 80 && send.key == "": // what nanny sends there by itself
		p.keys[0] = `type = "http"`
	}
	web := p.keys[0] != `type = "tcp"`
	if web {
		p.keys = append(p.keys, `path = "/"`)
	}
	if web && request != nil {
		p.keys[1] = "path = " + config.Quote(strings.SplitN(request[1], "#", 2)[0])
		if host := hostHeader.FindStringSubmatch(send.value); host != nil {
			p.keys = append(p.keys, "host = "+config.Quote(host[1]))
		}
	} else if send.key != "" {
		in.leave(send.line, send.text, `a probe sends no text of its own: the pool is asked for a connection; type = "exec" runs a program`)
	}
	if status := httpStatus.FindStringSubmatch(expect.value); web && status != nil {
		p.keys = append(p.keys, "status = "+config.Quote(status[1]))
	} else if expect.key != "" {
		in.leave(expect.line, expect.text, "what a director takes for an answer; a probe wants a status, 200 to 399 unless status says another")
	}
	in.leaveRest(b)
	return p
}

// leaveRest names the settings of a virtual that nothing takes.
func (in input) leaveRest(b *block) {
	for _, s := range b.settings {
		switch s.key {
		case "active", "address", "port", "protocol", "send", "expect":
			if last := b.get(s.key); last.place != s.place {
				in.leave(s.line, s.text, fmt.Sprintf("it is set again on line %d, and the last one counts", last.line))
			}
			continue
		case "vip_nmask":
			if s.value == "255.255.255.255" {
				continue
			}
		}
		reason, known := virtualReasons[s.key]
		if !known {
			reason = directorsOwn
		}
		in.leave(s.line, s.text, reason)
	}
}

var notPoolName = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// poolName makes a name that a pool can have, and that no other has.
func (in input) poolName(b *block) string {
	name := strings.Trim(notPoolName.ReplaceAllString(b.name, "-"), "-.")
	if name == "" {
		name = "pool"
	}
	taken := func(n string) bool {
		return slices.ContainsFunc(in.draft.pools, func(p pool) bool { return p.name == n })
	}
	for n, base := 2, name; taken(name); n++ {
		name = fmt.Sprintf("%s-%d", base, n)
	}
	if name != b.name {
		in.leave(b.line, b.text, fmt.Sprintf("the pool is named %s: a name has letters, digits, \".\", \"_\" and \"-\", and no other pool has it", name))
	}
	return name
}
