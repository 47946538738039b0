package sysctl

import (
	"errors"
	"fmt"
	"strings"
)

// Key names a kernel setting by its path below /proc/sys, with slashes:
// "net/ipv4/conf/eth0.100/rp_filter". A slash is the only separator that is
// never part of an interface's name, so a Key is never ambiguous.
type Key string

// ParseKey reads a key as people write it, by the rule of sysctl(8) and
// sysctl.d(5): the first separator in s decides. If it is a dot, dots separate
// and a slash stands for a dot within a name; if it is a slash, slashes
// separate and dots are literal. So "net.ipv4.conf.eth0/100.rp_filter" and
// "net/ipv4/conf/eth0.100/rp_filter" are the same key.
//
// Keys that are empty, absolute, of a single part, that contain an empty, "."
// or ".." part, white space or control characters, or that are patterns, are
// errors.
func ParseKey(s string) (Key, error) {
	path := s
	if i := strings.IndexAny(s, "./"); i >= 0 && s[i] == '.' {
		path = swapSeparators(s)
	}
	err := checkWritten(path)
	if err == nil {
		err = checkPath(path)
	}
	if err != nil {
		return "", fmt.Errorf("cannot use %q as a sysctl key: %v", s, err)
	}
	return Key(path), nil
}

// ConfKey returns the key of an IPv4 setting of one interface, or of "all" or
// "default": net/ipv4/conf/IFACE/NAME.
func ConfKey(iface, name string) Key {
	return Key("net/ipv4/conf/" + iface + "/" + name)
}

// String returns the key as sysctl(8) prints it: with dots, and with a slash
// for each dot within a name: "net.ipv4.conf.eth0/100.rp_filter".
func (k Key) String() string { return swapSeparators(string(k)) }

func swapSeparators(s string) string {
	swapped := []byte(s)
	for i, c := range swapped {
		switch c {
		case '.':
			swapped[i] = '/'
		case '/':
			swapped[i] = '.'
		}
	}
	return string(swapped)
}

// checkWritten says why people cannot have meant a key, or nil. The names that
// the kernel gives out know no such rules: an interface may be called "v[1]".
func checkWritten(path string) error {
	for i := range len(path) {
		switch c := path[i]; {
		case c <= ' ' || c == 0x7f:
			return errors.New("it contains white space or a control character")
		case c == '*' || c == '?' || c == '[':
			return errors.New("it is a pattern; write out each key")
		}
	}
	return nil
}

// checkPath says why a path must not be looked up below the root, or nil.
func checkPath(path string) error {
	if path == "" {
		return errors.New("it is empty")
	}
	if path[0] == '/' {
		return errors.New("it must not begin with a separator")
	}
	parts := 0
	for part := range strings.SplitSeq(path, "/") {
		switch part {
		case "":
			return errors.New("a part of it is empty")
		case ".", "..":
			return fmt.Errorf("%q is not a name", part)
		}
		parts++
	}
	if parts < 2 {
		return errors.New("it has one part only; write it in full, as in net.ipv4.ip_forward")
	}
	return nil
}
