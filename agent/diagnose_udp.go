package agent

import (
	"fmt"

	"rsagent/agent/health"
)

// udpAnswersAsAsked wants who is asked by UDP at a VIP to answer from it. The kernel
// gives an answer of a socket that is bound to every address the source of the route
// to the client, unless the service says which (IP_PKTINFO, ip(7)). Whether it does
// stands nowhere, so it is seen on the wire or not at all. One such answer is no
// chance: it goes to the address and port that asked, from the port that was asked.
func udpAnswersAsAsked() Condition {
	return Condition{
		ID: "path/udp", Title: "Answers by UDP leave from the VIP that was asked", Severity: health.Advisory,
		Effect: "Clients drop the answers: they come from an address that was not asked.",
		Evaluate: func(n Node) Verdict {
			f := &n.Examined.Path
			v := Verdict{Status: health.OK, Want: "from the VIP", Got: "as far as anything came"}
			if f.WireErr != nil {
				return unknown(v.Want, f.WireErr)
			}
			for service, count := range f.Wire.Misnamed {
				v.Status, v.Got = health.Failed, fmt.Sprintf("answers to what was asked of %s left from %s: %d", service, f.Node, count)
				v.Cause = "the service is bound to every address, and lets the kernel choose the one to answer from"
				v.Remedy = fmt.Sprintf("let it listen on %s itself, in its own configuration, and restart it; see whose it is: ss -ulnp 'sport = :%d'", service, service.Port())
				return v
			}
			return v
		},
	}
}
