package sysctl

import "testing"

func TestRemoved(t *testing.T) {
	tests := map[string]string{
		"net.ipv4.tcp_tw_recycle":             "removed in Linux 4.12",
		"net.ipv4.netfilter.ip_conntrack_max": "removed in Linux 4.9; use the nf_conntrack keys in net.netfilter",
		"net.ipv4.ip_conntrack_max":           "removed in Linux 4.9; use the nf_conntrack keys in net.netfilter",
		"net.nf_conntrack_max":                "exists only while the module nf_conntrack is loaded",
		"net.netfilter.nf_conntrack_helper":   "removed in Linux 6.0",
		"net.bridge.bridge-nf-call-iptables":  "exists only while the module br_netfilter is loaded",
		"net.ipv6.conf.all.disable_ipv6":      "exists only where the kernel has IPv6",
		"kernel.sched_min_granularity_ns":     "moved to /sys/kernel/debug/sched in Linux 5.13",
		"kernel.sysrq":                        "not in kernels built without CONFIG_MAGIC_SYSRQ",
		"net.ipv4.conf.tunl0.rp_filter":       "",
		"net.ipv4.tcp_fack":                   "",
		"net.ipv4.no_such_key":                "",
	}
	for in, want := range tests {
		t.Run(in, func(t *testing.T) {
			key, err := ParseKey(in)
			if err != nil {
				t.Fatal(err)
			}
			if got := Removed(key); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// The web nodes of 2010 set these keys.
func TestRangeKnowsTheKeysOfAnOldWebNode(t *testing.T) {
	tests := map[string]string{
		"net.ipv4.ip_forward":                       "0 or 1; the kernel does not check it",
		"net.ipv4.conf.default.rp_filter":           "0 (off), 1 (strict) or 2 (loose); the kernel does not check it",
		"net.ipv4.conf.default.accept_source_route": "0 or 1; the kernel does not check it",
		"kernel.sysrq":                              "0, 1 or a sum of 2, 4, 8, 16, 32, 64, 128 and 256",
		"kernel.core_uses_pid":                      "0 or 1; the kernel does not check it",
		"net.ipv4.tcp_syncookies":                   "0, 1 or 2; the kernel takes 0 to 255",
		"kernel.msgmnb":                             "0 to 2147483647",
		"kernel.msgmax":                             "0 to 2147483647",
		"kernel.shmmax":                             "0 to 18446744073709551615",
		"kernel.shmall":                             "0 to 18446744073709551615",
		"net.ipv4.conf.lo.arp_ignore":               "0 to 3 or 8; the kernel does not check it",
		"net.ipv4.conf.all.arp_announce":            "0, 1 or 2; the kernel does not check it",
		"net.ipv4.tcp_tw_reuse":                     "0, 1 or 2",
		"net.ipv4.tcp_fin_timeout":                  "whole seconds from 0 to 2147483",
		"net.ipv4.ip_local_port_range":              "two ports from 1 to 65535, the first not above the second and not below net.ipv4.ip_unprivileged_port_start (normally 1024)",
		"net.ipv4.tcp_synack_retries":               "0 to 255",
		"net.ipv4.tcp_max_syn_backlog":              "a number; the kernel does not check it",
		"net.ipv4.tcp_tw_recycle":                   "",
		"net.ipv4.no_such_key":                      "",
		"net.ipv4.conf.eth0/100.rp_filter":          "0 (off), 1 (strict) or 2 (loose); the kernel does not check it",
	}
	for in, want := range tests {
		t.Run(in, func(t *testing.T) {
			key, err := ParseKey(in)
			if err != nil {
				t.Fatal(err)
			}
			if got := Range(key); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}
