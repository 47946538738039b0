package sysctl

import (
	"errors"
	"io/fs"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// conf is what all and eth0 hold for a setting; forwarding is eth0's.
func conf(name, all, own, forwarding string) Values {
	v := Values{}
	for key, text := range map[Key]string{
		ConfKey("all", name):          all,
		ConfKey("eth0", name):         own,
		ConfKey("eth0", "forwarding"): forwarding,
	} {
		if text != "" {
			v[key] = Value{Text: text}
		}
	}
	return v
}

func TestEffective(t *testing.T) {
	tests := map[string]struct {
		name, all, own, forwarding string
		want                       int
	}{
		"rp_filter: strict everywhere, off here":        {"rp_filter", "1", "0", "", 1},
		"rp_filter: strict everywhere, loose here":      {"rp_filter", "1", "2", "", 2},
		"rp_filter: loose everywhere beats strict here": {"rp_filter", "2", "1", "", 2},
		"rp_filter: off": {"rp_filter", "0", "0", "", 0},
		"arp_ignore: the interface alone is enough":       {"arp_ignore", "0", "1", "", 1},
		"arp_ignore: values beyond the known":             {"arp_ignore", "9", "1", "", 9},
		"arp_announce: the greater":                       {"arp_announce", "2", "1", "", 2},
		"arp_notify: the greater":                         {"arp_notify", "0", "1", "", 1},
		"arp_accept: the greater":                         {"arp_accept", "2", "1", "", 2},
		"accept_local: either":                            {"accept_local", "0", "1", "", 1},
		"accept_local: neither":                           {"accept_local", "0", "0", "", 0},
		"log_martians: truth is one":                      {"log_martians", "7", "0", "", 1},
		"send_redirects: off here is not enough":          {"send_redirects", "1", "0", "", 1},
		"route_localnet: negative is true":                {"route_localnet", "-1", "0", "", 1},
		"src_valid_mark: either":                          {"src_valid_mark", "1", "0", "", 1},
		"accept_source_route: both":                       {"accept_source_route", "1", "1", "", 1},
		"accept_source_route: one of them":                {"accept_source_route", "1", "0", "", 0},
		"mc_forwarding: both":                             {"mc_forwarding", "0", "1", "", 0},
		"forwarding: the interface's own":                 {"forwarding", "1", "0", "", 0},
		"proxy_arp_pvlan: the interface's own":            {"proxy_arp_pvlan", "0", "1", "", 1},
		"accept_redirects: a host takes them from either": {"accept_redirects", "0", "1", "0", 1},
		"accept_redirects: a host with neither":           {"accept_redirects", "0", "0", "0", 0},
		"accept_redirects: a router needs both":           {"accept_redirects", "0", "1", "1", 0},
		"accept_redirects: a router with both":            {"accept_redirects", "1", "1", "1", 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			v := conf(test.name, test.all, test.own, test.forwarding)
			if test.name == "forwarding" {
				v[ConfKey("eth0", "forwarding")] = Value{Text: test.own}
			}
			got, err := Effective(v, "eth0", test.name)
			if err != nil {
				t.Fatal(err)
			}
			if got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

func TestEffectiveIsUnknownRatherThanWrong(t *testing.T) {
	unreadable := conf("rp_filter", "1", "", "")
	unreadable[ConfKey("eth0", "rp_filter")] = Value{Err: fs.ErrPermission}
	tests := map[string]struct {
		values      Values
		iface, name string
		want        string
	}{
		"all was not read":              {conf("rp_filter", "", "1", ""), "eth0", "rp_filter", "cannot tell the effective rp_filter of eth0: net.ipv4.conf.all.rp_filter was not read"},
		"the interface was not read":    {conf("rp_filter", "1", "", ""), "eth0", "rp_filter", "cannot tell the effective rp_filter of eth0: net.ipv4.conf.eth0.rp_filter was not read"},
		"the interface was not allowed": {unreadable, "eth0", "rp_filter", "cannot tell the effective rp_filter of eth0: permission denied"},
		"forwarding was not read":       {conf("accept_redirects", "1", "1", ""), "eth0", "accept_redirects", "cannot tell the effective accept_redirects of eth0: net.ipv4.conf.eth0.forwarding was not read"},
		"not a number":                  {conf("rp_filter", "1", "loose", ""), "eth0", "rp_filter", `cannot tell the effective rp_filter of eth0: net.ipv4.conf.eth0.rp_filter is "loose", not a number`},
		"empty":                         {Values{ConfKey("eth0", "rp_filter"): {}}, "eth0", "rp_filter", `cannot tell the effective rp_filter of eth0: net.ipv4.conf.eth0.rp_filter is "", not a number`},
		"no such rule":                  {conf("arp_magic", "1", "1", ""), "eth0", "arp_magic", "cannot tell the effective arp_magic of eth0: its rule is not known"},
		"all is not an interface":       {conf("rp_filter", "1", "1", ""), "all", "rp_filter", `cannot tell the effective rp_filter of "all": it is not an interface`},
		"default is not an interface":   {conf("rp_filter", "1", "1", ""), "default", "rp_filter", `cannot tell the effective rp_filter of "default": it is not an interface`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Effective(test.values, test.iface, test.name)
			if err == nil {
				t.Fatalf("got %d, want an error", got)
			}
			if err.Error() != test.want {
				t.Errorf("got  %s\nwant %s", err, test.want)
			}
		})
	}
	if _, err := Effective(unreadable, "eth0", "rp_filter"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("%v is not fs.ErrPermission", err)
	}
}

func TestEffectiveHoldsForEveryPairOfValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all, own := rapid.IntRange(-1, 9).Draw(t, "all"), rapid.IntRange(-1, 9).Draw(t, "own")
		for name, want := range map[string]int{
			"rp_filter":           max(all, own),
			"accept_local":        truth(all != 0 || own != 0),
			"accept_source_route": truth(all != 0 && own != 0),
			"proxy_arp_pvlan":     own,
		} {
			got, err := Effective(conf(name, strconv.Itoa(all), strconv.Itoa(own), ""), "eth0", name)
			if err != nil || got != want {
				t.Fatalf("%s: got %d, %v, want %d", name, got, err, want)
			}
		}
	})
}
