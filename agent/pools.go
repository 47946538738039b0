package agent

import (
	"fmt"
	"net/netip"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/probe"
)

func poolConditions(c config.Config) []Condition {
	var list []Condition
	for _, p := range c.Pools {
		list = append(list, poolAnswers(c, p))
	}
	return list
}

// poolAnswers wants the service behind a pool to pass its probe. It needs the
// VIP: while that is not on this node, the address is somebody else's.
func poolAnswers(c config.Config, p config.Pool) Condition {
	var needs []string
	if c.Tunnel.Mode == config.ModeIPIP {
		needs = []string{vipID(p.Address.Addr())}
	}
	want := fmt.Sprintf("%s on %s passes", p.Probe.Type, p.Address)
	if p.Probe.Type == config.ProbeExec {
		want = p.Probe.Command[0] + " exits with 0"
	}
	return Condition{
		ID:       health.PoolID(p.Name),
		Title:    fmt.Sprintf("The service of pool %s answers", p.Name),
		Effect:   "Requests to this pool that a director sends to this node fail.",
		VIP:      vipOf(c, p),
		Severity: health.Required,
		Needs:    needs,
		Evaluate: func(n Node) Verdict {
			r := n.Pools[p.Name]
			switch r.State {
			case probe.Up:
				return Verdict{Status: health.OK, Want: want, Got: "it passes"}
			case probe.Down:
				return Verdict{Status: health.Failed, Want: want, Got: r.Detail,
					Remedy: "look at the service: its log, and: ss -ltnp"}
			}
			return Verdict{Status: health.Unknown, Want: want, Got: "not probed yet"}
		},
	}
}

// vipOf is the VIP of a pool; invalid on a node without a tunnel.
func vipOf(c config.Config, p config.Pool) netip.Addr {
	if c.Tunnel.Mode == config.ModeIPIP {
		return p.Address.Addr()
	}
	return netip.Addr{}
}

// target is what the probe of a pool does. Its source is the VIP itself, so
// that it can never leave the node when the VIP is missing: there it would
// reach a director, and through it another node.
func target(c config.Config, p config.Pool) probe.Target {
	t := probe.Target{
		Kind: probe.Kind(p.Probe.Type), Addr: p.Address,
		Path: p.Probe.Path, Host: p.Probe.Host,
		ServerName: p.Probe.ServerName, Verify: p.Probe.Verify, CAFile: p.Probe.CAFile,
		Command:  p.Probe.Command,
		Interval: p.Probe.Interval, Timeout: p.Probe.Timeout,
		Rise: p.Probe.Rise, Fall: p.Probe.Fall,
	}
	for _, s := range p.Probe.Status {
		t.Status = append(t.Status, probe.StatusRange(s))
	}
	if c.Tunnel.Mode == config.ModeIPIP {
		t.Source = p.Address.Addr()
	}
	return t
}
