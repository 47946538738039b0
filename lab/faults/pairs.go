package main

func (p pair) name() string { return p.first + " + " + p.second }

// pairs are faults of different layers: what is broken by one is not what the
// other breaks.
func pairs() []pair {
	return []pair{
		{"tunl0 is down", "arp_ignore is off"},
		{"the VIP is deleted", "the web server is dead"},
		{"rp_filter is strict on tunl0", "the guard lacks the director"},
		{"arp_ignore is off", "arp_announce is off"},
		{"the clamp of the MSS is gone", "the certificate has expired"},
		{"rp_filter is strict on tunl0", "nobody listens on port 443"},
		{"nftables drops protocol 4 in input", "the web server is dead"},
		{"iptables-legacy drops protocol 4", "the answers are dropped in output"},
		{"tc drops what comes in by eth0", "it listens on localhost only"},
		{"nftables drops protocol 4 in input", "arp_announce is off"},
		{"there is no default route", "the web server is dead"},
		{"an IPsec policy blocks what clients send", "the path of the probe is not there"},
	}
}
