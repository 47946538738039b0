package sysctl

import "strings"

// Removed says in words why this kernel may lack a key, or "" if nothing is
// known. It does not know about interfaces that do not exist.
func Removed(k Key) string {
	switch {
	case k == "net/ipv4/tcp_tw_recycle":
		return "removed in Linux 4.12" // 4396e46187ca
	case k == "net/ipv4/ip_conntrack_max", strings.HasPrefix(string(k), "net/ipv4/netfilter/ip_conntrack_"):
		return "removed in Linux 4.9; use the nf_conntrack keys in net.netfilter" // adf0516845bc
	case k == "net/netfilter/nf_conntrack_helper":
		return "removed in Linux 6.0"
	case k == "net/nf_conntrack_max", strings.HasPrefix(string(k), "net/netfilter/nf_conntrack_"):
		return "exists only while the module nf_conntrack is loaded"
	case strings.HasPrefix(string(k), "net/bridge/bridge-nf-"):
		return "exists only while the module br_netfilter is loaded"
	case strings.HasPrefix(string(k), "net/ipv6/"):
		return "exists only where the kernel has IPv6"
	case k == "kernel/sysrq":
		return "not in kernels built without CONFIG_MAGIC_SYSRQ"
	case k == "kernel/core_uses_pid":
		return "not in kernels built without CONFIG_COREDUMP"
	case k == "net/ipv4/tcp_syncookies":
		return "not in kernels built without CONFIG_SYN_COOKIES"
	case k == "vm/percpu_pagelist_fraction":
		return "removed in Linux 5.14; vm.percpu_pagelist_high_fraction took its place" // bbbecb35a41c
	case isMovedToDebugfs(k):
		return "moved to /sys/kernel/debug/sched in Linux 5.13"
	}
	return ""
}

// isMovedToDebugfs knows the scheduler's keys that were never documented and
// left sysctl with 8a99b6833c88.
func isMovedToDebugfs(k Key) bool {
	switch k {
	case "kernel/sched_latency_ns", "kernel/sched_migration_cost_ns",
		"kernel/sched_min_granularity_ns", "kernel/sched_nr_migrate",
		"kernel/sched_tunable_scaling", "kernel/sched_wakeup_granularity_ns",
		"kernel/numa_balancing_scan_delay_ms", "kernel/numa_balancing_scan_period_max_ms",
		"kernel/numa_balancing_scan_period_min_ms", "kernel/numa_balancing_scan_size_mb":
		return true
	}
	return false
}

// What a value must be so that the kernel takes it, and what it does with it
// where it takes anything.
const (
	anyNumber = "a number; the kernel does not check it"
	onOff     = "0 or 1; the kernel does not check it"
	onOffByte = "0 or 1; the kernel takes 0 to 255"
	byteRange = "0 to 255"
	seconds   = "whole seconds from 0 to 2147483"
	intRange  = "0 to 2147483647"
	longRange = "0 to 18446744073709551615"
)

// Range says in words which values a key takes, for well-known keys, or "" if
// that is not known. What is said of the kernel holds for Linux 5.13 and later;
// earlier ones check less (net/ipv4/sysctl_net_ipv4.c, net/ipv4/devinet.c,
// net/core/sysctl_net_core.c, ipc/ipc_sysctl.c, fs/coredump.c).
func Range(k Key) string {
	dir, name := "", string(k)
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		dir, name = name[:i], name[i+1:]
	}
	switch {
	case strings.HasPrefix(dir, "net/ipv4/conf/"):
		return rangeOfConf(name)
	case dir == "net/ipv4":
		return rangeOfIPv4(name)
	case dir == "kernel":
		return rangeOfKernel(name)
	case k == "net/core/somaxconn":
		return "0 to 2147483647; a listener's backlog is cut to it"
	}
	return ""
}

func rangeOfConf(name string) string {
	switch name {
	case "rp_filter":
		return "0 (off), 1 (strict) or 2 (loose); the kernel does not check it"
	case "arp_ignore":
		return "0 to 3 or 8; the kernel does not check it"
	case "arp_announce":
		return "0, 1 or 2; the kernel does not check it"
	}
	switch ruleOf(name) {
	case ruleOr, ruleAnd, ruleRedirects:
		return onOff
	}
	if name == "forwarding" || name == "arp_notify" {
		return onOff
	}
	return ""
}

func rangeOfIPv4(name string) string {
	switch name {
	case "ip_local_port_range":
		return "two ports from 1 to 65535, the first not above the second " +
			"and not below net.ipv4.ip_unprivileged_port_start (normally 1024)"
	case "ip_unprivileged_port_start":
		return "0 to 65535, not above the first of net.ipv4.ip_local_port_range"
	case "tcp_tw_reuse":
		return "0, 1 or 2"
	case "tcp_synack_retries", "tcp_retries1", "tcp_retries2", "tcp_orphan_retries", "tcp_keepalive_probes":
		return byteRange
	case "tcp_syn_retries":
		return "1 to 127"
	case "ip_default_ttl":
		return "1 to 255"
	case "tcp_syncookies":
		return "0, 1 or 2; the kernel takes 0 to 255"
	case "tcp_fin_timeout", "tcp_keepalive_time", "tcp_keepalive_intvl":
		return seconds
	case "tcp_max_syn_backlog", "tcp_max_tw_buckets":
		return anyNumber
	case "ip_forward":
		return onOff
	case "tcp_sack", "tcp_window_scaling", "tcp_rfc1337", "tcp_abort_on_overflow",
		"tcp_slow_start_after_idle", "ip_nonlocal_bind":
		return onOffByte
	}
	return ""
}

func rangeOfKernel(name string) string {
	switch name {
	case "msgmax", "msgmnb":
		return intRange
	case "shmmax", "shmall":
		return longRange
	case "core_uses_pid":
		return onOff
	case "sysrq":
		return "0, 1 or a sum of 2, 4, 8, 16, 32, 64, 128 and 256"
	}
	return ""
}
