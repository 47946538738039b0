package sysctl

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseKey(t *testing.T) {
	tests := map[string]struct{ in, want, printed string }{
		"dots separate":                          {"net.ipv4.ip_forward", "net/ipv4/ip_forward", "net.ipv4.ip_forward"},
		"slashes separate":                       {"net/ipv4/ip_forward", "net/ipv4/ip_forward", "net.ipv4.ip_forward"},
		"a slash among dots is a dot":            {"net.ipv4.conf.eth0/100.rp_filter", "net/ipv4/conf/eth0.100/rp_filter", "net.ipv4.conf.eth0/100.rp_filter"},
		"a dot among slashes is a dot":           {"net/ipv4/conf/eth0.100/rp_filter", "net/ipv4/conf/eth0.100/rp_filter", "net.ipv4.conf.eth0/100.rp_filter"},
		"a dot that was meant as part of a name": {"net.ipv4.conf.eth0.100.rp_filter", "net/ipv4/conf/eth0/100/rp_filter", "net.ipv4.conf.eth0.100.rp_filter"},
		"other characters are kept":              {"net.ipv4.conf.veth-a@b_1.tag", "net/ipv4/conf/veth-a@b_1/tag", "net.ipv4.conf.veth-a@b_1.tag"},
		"two parts are enough":                   {"kernel.sysrq", "kernel/sysrq", "kernel.sysrq"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseKey(test.in)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != test.want || got.String() != test.printed {
				t.Errorf("got %q printed %q, want %q printed %q", string(got), got, test.want, test.printed)
			}
		})
	}
}

func TestParseKeySaysWhatIsWrong(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"nothing":                     {"", `cannot use "" as a sysctl key: it is empty`},
		"one part":                    {"ip_forward", `cannot use "ip_forward" as a sysctl key: it has one part only; write it in full, as in net.ipv4.ip_forward`},
		"absolute path":               {"/proc/sys/net/ipv4/ip_forward", `cannot use "/proc/sys/net/ipv4/ip_forward" as a sysctl key: it must not begin with a separator`},
		"leading dot":                 {".net.ipv4", `cannot use ".net.ipv4" as a sysctl key: it must not begin with a separator`},
		"trailing dot":                {"net.ipv4.", `cannot use "net.ipv4." as a sysctl key: a part of it is empty`},
		"two dots in a row":           {"net..ipv4", `cannot use "net..ipv4" as a sysctl key: a part of it is empty`},
		"up with slashes":             {"net/../kernel/sysrq", `cannot use "net/../kernel/sysrq" as a sysctl key: ".." is not a name`},
		"up with dots":                {"net.//.kernel", `cannot use "net.//.kernel" as a sysctl key: ".." is not a name`},
		"here":                        {"net/./ipv4", `cannot use "net/./ipv4" as a sysctl key: "." is not a name`},
		"up at the end":               {"net/ipv4/..", `cannot use "net/ipv4/.." as a sysctl key: ".." is not a name`},
		"zero byte":                   {"net.ipv4\x00.x", `cannot use "net.ipv4\x00.x" as a sysctl key: it contains white space or a control character`},
		"white space":                 {"net.ipv4 .ip_forward", `cannot use "net.ipv4 .ip_forward" as a sysctl key: it contains white space or a control character`},
		"line break":                  {"net.ipv4\n.x", `cannot use "net.ipv4\n.x" as a sysctl key: it contains white space or a control character`},
		"a pattern as in sysctl.d(5)": {"net.ipv4.conf.*.rp_filter", `cannot use "net.ipv4.conf.*.rp_filter" as a sysctl key: it is a pattern; write out each key`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseKey(test.in)
			if err == nil {
				t.Fatalf("got %q, want an error", string(got))
			}
			if err.Error() != test.want {
				t.Errorf("got  %s\nwant %s", err, test.want)
			}
		})
	}
}

func TestParseKeyTakesWhatStringPrints(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key, err := ParseKey(rapid.StringOfN(rapid.SampledFrom([]rune("ab/.._0 *")), 0, 12, -1).Draw(t, "key"))
		if err != nil {
			return
		}
		again, err := ParseKey(key.String())
		if err != nil || again != key {
			t.Fatalf("%q prints as %q, which reads as %q, %v", string(key), key, string(again), err)
		}
	})
}

func TestParseKeyNeverLeavesTheRoot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.OneOf(rapid.String(), rapid.StringOfN(rapid.SampledFrom([]rune("a/.\x00")), 0, 12, -1)).Draw(t, "key")
		key, err := ParseKey(in)
		if err != nil {
			return
		}
		for part := range strings.SplitSeq(string(key), "/") {
			if part == "" || part == "." || part == ".." || strings.Contains(part, "\x00") {
				t.Fatalf("%q became %q", in, string(key))
			}
		}
	})
}
