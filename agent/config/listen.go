package config

import (
	"net"
	"net/netip"
	"strconv"
)

// listenAddress tells whether a text is host:port or :port.
func listenAddress(t string) bool {
	host, port, err := net.SplitHostPort(t)
	if err != nil {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return false
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host == "" || serverName.MatchString(host)
}

// sameSocket tells whether two good listen addresses would take the same port
// from each other.
func sameSocket(a, b string) bool {
	hostA, portA, _ := net.SplitHostPort(a)
	hostB, portB, _ := net.SplitHostPort(b)
	return portA == portB && (hostA == hostB || everywhere(hostA) || everywhere(hostB))
}

// everywhere tells whether a host means every address of the node.
func everywhere(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "" || err == nil && a.IsUnspecified()
}
