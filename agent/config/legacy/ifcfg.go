package legacy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"rsagent/agent/config"
)

// variable is one KEY=VALUE of an ifcfg file.
type variable struct {
	place
	key, value string
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// parseIfcfg reads what initscripts have the shell read: KEY=VALUE without space
// around "=", a value perhaps in quotes, and "#" before comments.
func (in input) parseIfcfg() []variable {
	var all []variable
	in.eachLine(func(line int, text string) {
		if text == "" || text[0] == '#' {
			return
		}
		key, rest, found := strings.Cut(strings.TrimSpace(strings.TrimPrefix(text, "export ")), "=")
		if !found {
			in.problem(line, text, "expected KEY=VALUE")
			return
		}
		// The shell would take spaces for a command; people mean the variable.
		key = strings.TrimSpace(key)
		if !variableName.MatchString(key) {
			in.problem(line, text, fmt.Sprintf("%q is no name of a variable, expected KEY=VALUE", cut(key)))
			return
		}
		value, err := shellWord(strings.TrimSpace(rest))
		if err != "" {
			in.problem(line, text, err)
			return
		}
		all = append(all, variable{place{in.name, line, cut(text)}, key, value})
	})
	return all
}

// shellWord reads one word of a shell: its quotes are taken off, and what stands
// behind it must be a comment.
func shellWord(s string) (word, err string) {
	var b strings.Builder
	for s != "" {
		switch c := s[0]; {
		case c == '\'' || c == '"':
			end := strings.IndexByte(s[1:], c)
			if end < 0 {
				return "", "a quote is never closed"
			}
			b.WriteString(s[1 : 1+end])
			s = s[end+2:]
		case strings.IndexByte("$`\\;&|<>()", c) >= 0:
			return "", fmt.Sprintf("%q is for a shell to work out: write the value itself", c)
		case c == ' ' || c == '\t':
			if s = strings.TrimSpace(s); s == "" || s[0] == '#' {
				return b.String(), ""
			}
			return "", "expected one value, in quotes if it has spaces"
		default:
			b.WriteByte(c)
			s = s[1:]
		}
	}
	return b.String(), ""
}

// IPADDR, or IPADDR0 and on, as ifup-eth of initscripts reads them.
var addressVariable = regexp.MustCompile(`^(IPADDR|NETMASK|PREFIX)([0-9]*)$`)

// takeIfcfg takes the VIPs and the device.
func (in input) takeIfcfg(all []variable) {
	all = in.lastOfEach(all)
	first := true
	for _, v := range all {
		if m := addressVariable.FindStringSubmatch(v.key); m != nil {
			if m[1] != "IPADDR" {
				in.takeMask(v)
				continue
			}
			in.takeVIP(v, first)
			first = false
			continue
		}
		in.takeVariable(v)
	}
}

// lastOfEach leaves out the variables that a later line sets again.
func (in input) lastOfEach(all []variable) []variable {
	var kept []variable
	for i, v := range all {
		again := slices.IndexFunc(all[i+1:], func(w variable) bool { return w.key == v.key })
		if again < 0 {
			kept = append(kept, v)
			continue
		}
		next := all[i+1+again]
		why := fmt.Sprintf("%s is set again on line %d, and the last one counts", v.key, next.line)
		if v.key == "IPADDR" && v.value != next.value {
			why = fmt.Sprintf("a file has one IPADDR: line %d sets it again (%s), and the last one counts, so this one never was on the node; "+
				"add it to vips if it is a VIP of this site", next.line, next.value)
		}
		in.leave(v.line, v.text, why)
	}
	return kept
}

func (in input) takeVIP(v variable, first bool) {
	a, ok := in.address(v.line, v.text, v.value, "the VIP")
	if !ok {
		return
	}
	if !first {
		in.leave(v.line, v.text, "a second VIP on one interface has no variable of its own here: it is in vips, like the first; take it out if it is no VIP of this site")
	}
	in.draft.addVIP(a, v.place)
}

func (in input) takeMask(v variable) {
	if v.value != "255.255.255.255" && v.value != "32" {
		in.leave(v.line, v.text, "a VIP is a /32 on the tunnel device: with a network around it, the node would look for its neighbours there")
	}
}

func (in input) takeVariable(v variable) {
	switch value := strings.ToLower(v.value); v.key {
	case "DEVICE":
		in.takeDevice(v)
	case "TYPE":
		switch value {
		case "ipip", "tunnel", "ethernet":
		default:
			in.problem(v.line, v.text, "the directors send IPIP; expected TYPE=ipip")
		}
	case "ONBOOT":
		if value != "yes" && value != "true" && value != "1" {
			in.leave(v.line, v.text, "rsagent sets the device up whenever it runs: systemctl enable says whether it does from boot on")
		}
	case "BOOTPROTO":
		if value != "none" && value != "static" && value != "" {
			in.leave(v.line, v.text, "a VIP comes from nowhere but the configuration")
		}
	case "MY_OUTER_IPADDR", "PEER_OUTER_IPADDR", "MY_INNER_IPADDR", "PEER_INNER_IPADDR":
		in.leave(v.line, v.text, "the device takes packets for any address of the node, from all in directors")
	default:
		in.leave(v.line, v.text, "the network scripts' business, and they are to leave the device alone: remove this file once rsagent runs")
	}
}

// takeDevice takes the name of the tunnel device. An alias such as tunl0:1 is a
// label on one of its addresses.
func (in input) takeDevice(v variable) {
	device, alias, isAlias := strings.Cut(v.value, ":")
	switch {
	case device == "lo":
		in.leave(v.line, v.text, "a VIP on lo is for direct routing: here it goes to "+config.DefaultDevice)
		return
	case strings.HasPrefix(device, "eth"), strings.HasPrefix(device, "en"), strings.HasPrefix(device, "bond"), device == "":
		in.problem(v.line, v.text, "this is not the file of a tunnel device: expected DEVICE="+config.DefaultDevice)
		return
	case isAlias:
		in.leave(v.line, v.text, fmt.Sprintf("the label :%s has no use: all VIPs are addresses of the device itself", alias))
	}
	if old := in.draft.device.value; old != "" && old != device {
		in.problem(v.line, v.text, fmt.Sprintf("another file has the VIPs on %s, expected one device for all", old))
		return
	}
	in.draft.device = placed[string]{device, v.place}
}
