package ruleset

import (
	"fmt"
	"net/netip"
	"strings"
)

const firewalldTable = "firewalld"

// remedy is the commands that let the packet pass the chain from which the place
// was reached. An accept at its top ends that chain only, so that whatever else
// is there to stop the packet still does.
func (p Place) remedy(packet Packet, sources []netip.Prefix) []string {
	from := prefixes(packet, sources)
	switch {
	case p.Table == "":
		return nil
	case p.Table == firewalldTable && p.engine == engineNFTables:
		return p.firewalldRemedy(packet, from)
	case p.owned:
		return []string{fmt.Sprintf("# Table %s %s can be changed only by the program that owns it: nft list table %[1]s %[2]s", p.Family, p.Table)}
	case p.engine == engineNFTables:
		return []string{fmt.Sprintf("nft insert rule %s %s %s %s accept", p.Family, p.Table, p.Base, nftMatch(packet, from))}
	}
	matches := iptablesMatches(packet, from)
	if p.Family == familyBridge.String() {
		matches = ebtablesMatches(packet, from)
	}
	var commands []string
	for _, match := range matches {
		table := ""
		if p.Table != "filter" {
			table = "-t " + p.Table + " "
		}
		commands = append(commands, fmt.Sprintf("%s %s-I %s %s -j ACCEPT", p.Tool, table, p.Base, match))
	}
	return commands
}

// prefixes are the sources to let pass: nil for a packet that may come from anywhere.
func prefixes(packet Packet, sources []netip.Prefix) []string {
	var list []string
	if packet.leaves() || packet.Protocol == protocolTCP || packet.Protocol == protocolUDP {
		return nil
	}
	for _, s := range sources {
		list = append(list, short(s))
	}
	if len(list) == 0 && packet.Src.IsValid() {
		list = append(list, packet.Src.String())
	}
	return list
}

func short(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.Masked().String()
}

// transport is the name of a protocol that has ports; IPIP's name means another
// protocol to some programs, and so that is a number.
func transport(protocol uint8) string {
	switch protocol {
	case protocolTCP:
		return "tcp"
	case protocolUDP:
		return "udp"
	}
	return ""
}

func nftMatch(packet Packet, from []string) string {
	name := transport(packet.Protocol)
	side, addr, port := "d", packet.Dst, packet.DstPort
	if packet.leaves() {
		side, addr, port = "s", packet.Src, packet.SrcPort
	}
	switch {
	case name == "" && len(from) == 1:
		return fmt.Sprintf("ip protocol %d ip saddr %s", packet.Protocol, from[0])
	case name == "" && len(from) > 1:
		return fmt.Sprintf("ip protocol %d ip saddr { %s }", packet.Protocol, strings.Join(from, ", "))
	case name == "" || port == 0:
		return fmt.Sprintf("ip %saddr %s ip protocol %d", side, addr, packet.Protocol)
	}
	return fmt.Sprintf("ip %saddr %s %s %sport %d", side, addr, name, side, port)
}

func iptablesMatches(packet Packet, from []string) []string {
	if len(from) > 0 {
		var matches []string
		for _, f := range from {
			matches = append(matches, fmt.Sprintf("-p %d -s %s", packet.Protocol, f))
		}
		return matches
	}
	side, addr, port := "d", packet.Dst, packet.DstPort
	if packet.leaves() {
		side, addr, port = "s", packet.Src, packet.SrcPort
	}
	name := transport(packet.Protocol)
	if name == "" || port == 0 {
		return []string{fmt.Sprintf("-p %d -%s %s", packet.Protocol, side, addr)}
	}
	return []string{fmt.Sprintf("-p %s -%s %s --%sport %d", name, side, addr, side, port)}
}

// ebtablesMatches are iptablesMatches in the words of ebtables.
func ebtablesMatches(packet Packet, from []string) []string {
	start := fmt.Sprintf("-p IPv4 --ip-proto %d ", packet.Protocol)
	var matches []string
	for _, f := range from {
		matches = append(matches, start+"--ip-src "+f)
	}
	if len(from) > 0 {
		return matches
	}
	side, addr, port := "dst", packet.Dst, packet.DstPort
	if packet.leaves() {
		side, addr, port = "src", packet.Src, packet.SrcPort
	}
	match := fmt.Sprintf("%s--ip-%s %s", start, side, addr)
	if transport(packet.Protocol) != "" && port != 0 {
		match += fmt.Sprintf(" --ip-%cport %d", side[0], port)
	}
	return []string{match}
}

// firewalldRemedy goes by firewalld's own tool: it makes its table anew at every
// reload, and newer ones own it.
func (p Place) firewalldRemedy(packet Packet, from []string) []string {
	const reload = "firewall-cmd --reload"
	if strings.Contains(p.Rule, "ct state invalid") {
		var commands []string
		for _, match := range iptablesMatches(packet, from) {
			commands = append(commands, "firewall-cmd --permanent --direct --add-rule ipv4 raw PREROUTING 0 "+match+" -j NOTRACK")
		}
		return append(commands, reload)
	}
	if p.hook != hookInput {
		return []string{"# firewalld stops this with a policy or a direct rule of yours: firewall-cmd --list-all-policies; firewall-cmd --direct --get-all-rules"}
	}
	zone := ""
	if p.firewall != "" {
		zone = " --zone=" + p.firewall
	}
	if name := transport(packet.Protocol); name != "" && packet.DstPort != 0 {
		return []string{fmt.Sprintf("firewall-cmd --permanent%s --add-port=%d/%s", zone, packet.DstPort, name), reload}
	}
	var commands []string
	for _, f := range from {
		commands = append(commands, fmt.Sprintf(`firewall-cmd --permanent%s --add-rich-rule='rule family="ipv4" source address="%s" protocol value="%d" accept'`, zone, f, packet.Protocol))
	}
	return append(commands, reload)
}
