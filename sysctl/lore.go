package sysctl

// Removed says why this kernel may lack a key, or "" if nothing is known.
func Removed(k Key) string {
	switch k {
	case "net/ipv4/tcp_tw_recycle":
		return "removed in Linux 4.12"
	}
	return ""
}

// Range says in words which values the kernel takes for a key, or "" if that
// is not known.
func Range(k Key) string {
	switch k {
	case "net/ipv4/ip_local_port_range":
		return "two ports from 1 to 65535, the first not above the second"
	}
	return ""
}
