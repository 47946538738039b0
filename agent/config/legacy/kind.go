package legacy

import (
	"path"
	"regexp"
	"strings"
)

type kind int

const (
	unknownFile kind = iota
	lvsFile
	sysctlFile
	ifcfgFile
)

// What a line of each kind looks like, and of no other; and one of a file that would
// pass for lvs.cf by its braces.
var (
	lvsLine    = regexp.MustCompile(`^(virtual|server|failover)\s+[^=]*\{?$|^[{}]|^(serial.no|primary|backup|service|network|address|port|scheduler|protocol|active|weight)\s*=`)
	sysctlLine = regexp.MustCompile(`^-?[a-z0-9_-]+[./][^=]*=`)
	foreign    = regexp.MustCompile(`(?m)^\s*(virtual_server|real_server|vrrp_instance|global_defs)\b`) // keepalived's
	ifcfgLine  = regexp.MustCompile(`^(export\s+)?[A-Z][A-Z0-9_]*=`)
)

// kindOf tells what kind of file a text is: the one that most of its lines look
// like, or where they do not tell, the one that it is named like.
func kindOf(text, name string) kind {
	if strings.Contains(text, "\x00") || foreign.MatchString(text) {
		return unknownFile
	}
	counts := map[kind]int{}
	for line := range strings.Lines(text) {
		switch line = strings.TrimSpace(line); {
		case lvsLine.MatchString(line):
			counts[lvsFile]++
		case sysctlLine.MatchString(line):
			counts[sysctlFile]++
		case ifcfgLine.MatchString(line):
			counts[ifcfgFile]++
		}
	}
	best := unknownFile
	for _, k := range []kind{lvsFile, sysctlFile, ifcfgFile} {
		if counts[k] > counts[best] {
			best = k
		}
	}
	switch base := path.Base(name); {
	case best != unknownFile:
		return best
	case strings.HasPrefix(base, "ifcfg-"):
		return ifcfgFile
	case strings.HasSuffix(base, ".cf"):
		return lvsFile
	case strings.Contains(base, "sysctl"):
		return sysctlFile
	}
	return unknownFile
}
