package through

import (
	"fmt"
	"net/netip"
	"time"
)

// judge says how the real server is, and what is likely if it is not well.
func (a *attempt) judge(q Question, said *readiness) Result {
	r := Result{Real: a.real, State: Good, Weight: 100}
	if a.outcome == granted {
		r.Took = a.took
	}
	r.Why, r.Likely = a.explain(q.Timeout)
	if said != nil {
		r.State, r.Weight, r.Ready = said.state, said.weight, said.text
	}
	switch {
	case r.Why != "":
		r.State, r.Weight = Failed, 0
		r.Likely = append(besides(said), r.Likely...)
	case r.State == Failed:
		r.Why = "it is not ready: " + said.text
		if said.deaf {
			r.Why = "whether it is ready cannot be learned: " + said.text
			r.Likely = []string{"rsagent does not run on the node, or listens elsewhere", "the node's packet filter keeps this host from asking, or health.allow does"}
		}
	}
	return r
}

// besides is what the node's own word adds to what was seen of the tunnel.
func besides(said *readiness) []string {
	switch {
	case said == nil:
		return nil
	case said.deaf:
		return []string{"the node as a whole is down or cut off: its health port does not answer either (" + said.text + ")"}
	case said.state != Good:
		return []string{"what the node says of itself: " + said.text}
	}
	return nil
}

// explain says what went wrong on the way, and what is likely; "" if nothing did.
func (a *attempt) explain(timeout time.Duration) (why string, likely []string) {
	switch {
	case a.outcome == granted && a.as == a.to:
		return "", nil
	case a.outcome == unsent:
		return a.err.Error(), nil
	case a.outcome == silence:
		return a.explainSilence(timeout)
	case a.outcome == rejected && a.inner:
		return a.explainInner()
	case a.outcome == rejected:
		return a.explainOuter()
	case a.as != a.to:
		return fmt.Sprintf("the answer comes from %s, not from the VIP, so no client takes it", a.as),
			[]string{"the node, or a router behind it, rewrites what the VIP sends (masquerade, SNAT)"}
	}
	return "it refuses the connection", []string{
		fmt.Sprintf("nothing on the node listens on port %d for the VIP: the service is down, or bound to another address", a.to.Port()),
		"the node's packet filter rejects with a reset",
	}
}

func (a *attempt) explainSilence(timeout time.Duration) (why string, likely []string) {
	why = fmt.Sprintf("no SYN-ACK from the VIP within %v", timeout)
	if a.strays > 0 {
		why += fmt.Sprintf(", and %d with a wrong number", a.strays)
		likely = append(likely, "somebody else answers in the VIP's name")
	}
	if unresolved(a.real) {
		return why, append(likely, "the node is down, or in another network: it does not answer ARP for "+a.real.String())
	}
	return why, append(likely,
		fmt.Sprintf("protocol 4 from %s is dropped, on the way or by the node's packet filter; rsagent's guard does so if that is not among its directors", a.outer),
		"on the node tunl0 lacks the VIP, or rp_filter is strict for tunl0",
		fmt.Sprintf("the node's answers do not find back to %s: its routes, its packet filter, or a router that drops packets from the VIP", a.from.Addr()),
		"the service's queue of connections is full",
	)
}

// The codes of ICMP's type 3 that matter: RFC 792, RFC 1122 section 3.2.2.1 and
// RFC 1812 section 5.2.7.1.
const (
	codeHost     = 1
	codeProtocol = 2
	codePort     = 3
)

// prohibited tells a packet filter, or a router with a rule, from the rest.
func prohibited(code byte) bool { return code == 9 || code == 10 || code == 13 }

func (a *attempt) explainOuter() (why string, likely []string) {
	node := a.reporter == a.real
	why = "it answers IPIP by " + errorName(a.icmp)
	if !node {
		why = fmt.Sprintf("%s answers IPIP to it by %s", a.reporter, errorName(a.icmp))
	}
	switch code := a.icmp[1]; {
	case a.icmp[0] == icmpExceeded:
		likely = []string{"the packet goes round in a loop between routers"}
	case node && code == codeProtocol:
		likely = []string{"the node's kernel unwraps no IPIP: ipip is not loaded there (modprobe ipip)"}
	case node && code == codePort:
		likely = []string{
			"tunl0 is down on the node, or is not there (ip link set tunl0 up)",
			"the node's packet filter rejects protocol 4",
		}
	case prohibited(code):
		likely = []string{"a packet filter rejects protocol 4, on the node or before it (firewalld: --add-protocol=ipip)"}
	case code == codeHost && a.reporter == a.outer:
		likely = []string{"the node is down, or in another network: it does not answer ARP"}
	default:
		likely = []string{"there is no way to the node behind " + a.reporter.String()}
	}
	return why, likely
}

func (a *attempt) explainInner() (why string, likely []string) {
	why = "it unwraps the SYN and answers by " + errorName(a.icmp)
	if a.reporter != a.real && a.reporter != a.to.Addr() {
		why = fmt.Sprintf("it unwraps the SYN, and %s answers by %s", a.reporter, errorName(a.icmp))
	}
	switch code := a.icmp[1]; {
	case a.icmp[0] == icmpExceeded:
		likely = []string{"the node forwards what it unwraps: it lacks the VIP"}
	case prohibited(code) || code == codePort:
		likely = []string{"the node's packet filter rejects what comes out of the tunnel"}
	default:
		likely = []string{"the node lacks the VIP, or a rule of its routing rejects packets for it"}
	}
	return why, likely
}

// errorName is what people call an ICMP error.
func errorName(icmp [2]byte) string {
	if icmp[0] == icmpExceeded {
		return "ICMP time exceeded"
	}
	names := map[byte]string{
		0: "network unreachable", codeHost: "host unreachable", codeProtocol: "protocol unreachable", codePort: "port unreachable",
		9: "network prohibited", 10: "host prohibited", 13: "administratively prohibited",
	}
	if name, ok := names[icmp[1]]; ok {
		return "ICMP " + name
	}
	return fmt.Sprintf("ICMP unreachable, code %d", icmp[1])
}

// ExitCode is what keepalived's MISC_CHECK with misc_dynamic takes (check_misc.c):
// 0 is good at the weight that the director is configured with, 1 failed, and N is
// good at weight N-2, so 2 is up at weight 0. Weight is the configured one, 1 to
// 253, of which the node may want a part.
func (r Result) ExitCode(weight int) int {
	switch {
	case r.State == Failed:
		return 1
	case r.State == Draining:
		return 2
	case r.Weight >= 100:
		return 0
	}
	return 2 + max(1, (weight*r.Weight+50)/100)
}

// PlainCode is 0 for a real server that may have new connections, 1 for any other.
func (r Result) PlainCode() int {
	if r.State == Good {
		return 0
	}
	return 1
}

// unresolved tells whether the kernel has asked for the address by ARP, in vain.
func unresolved(a netip.Addr) bool { return neighbours()[a] == asking }
