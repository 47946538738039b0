package ruleset_test

import (
	"fmt"
	"net/netip"

	"rsagent/tunnel/ruleset"
)

func Example() {
	rules, err := ruleset.Read()
	if err != nil {
		fmt.Println(err)
		return
	}
	fate := rules.Trace(ruleset.Packet{
		In:       ruleset.Link{Index: 2, Name: "eth0", Type: 1},
		Src:      netip.MustParseAddr("10.9.0.21"),
		Dst:      netip.MustParseAddr("10.9.0.31"),
		Protocol: 4,
	})
	if fate.Outcome == ruleset.Dropped {
		fmt.Println("dropped by", fate.By)
		for _, command := range fate.Remedies(netip.MustParsePrefix("10.9.0.21/32"), netip.MustParsePrefix("10.9.0.22/32")) {
			fmt.Println(command)
		}
	}
}
