package agent

import (
	"fmt"
	"slices"
	"strings"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/tunnel/path"
)

// explainedPools are the conditions of the pools with what `check` knows of
// them: one that fails for a reason that was told before is skipped.
func explainedPools(c config.Config, before []Condition) []Condition {
	list := poolConditions(c)
	for i, p := range c.Pools {
		list[i] = explainedPool(list[i], c, p, before)
	}
	return list
}

// explainedPool does not need the reasons as other conditions need each other: a
// pool that passes its probe is good also if the kernel does not list sockets.
func explainedPool(pool Condition, c config.Config, p config.Pool, before []Condition) Condition {
	reasons, judge := []Condition{connectionsHaveRoom(), tcpHasMemory(), listens(c, p), accepts(c, p)}, pool.Evaluate
	pool.Evaluate = func(n Node) Verdict {
		v := judge(n)
		if v.Status != health.Failed {
			return v
		}
		for _, r := range reasons {
			if r.Evaluate(n).Status == health.Failed {
				return Verdict{Status: health.Skipped, Want: v.Want, Got: v.Got, Cause: r.ID + " is not ok"}
			}
		}
		if id := wayBroken(n, p, v.Got, before); id != "" {
			return Verdict{Status: health.Skipped, Want: v.Want, Got: v.Got, Cause: id + " is not ok"}
		}
		v.Cause = byOwnAddress(n, p, v.Got)
		if p.Probe.Type != config.ProbeExec {
			v.Remedy = remedyFor(p, v.Got)
		}
		return v
	}
	return pool
}

// wayBroken is the condition that fails of the way that the probe shares with
// clients, if the probe got no word of the service; empty: none does.
func wayBroken(n Node, p config.Pool, got string, before []Condition) string {
	if !strings.HasPrefix(got, "no answer") && !strings.Contains(got, "refused") {
		return ""
	}
	lost := slices.ContainsFunc(unserved(&n.Examined.Path), func(t path.Trial) bool { return t.Service == p.Address })
	for _, c := range before {
		all := c.ID == wayInID || c.ID == pathIPVSID
		if (all || lost && c.ID == pathInID) && c.Evaluate(n).Status == health.Failed {
			return c.ID
		}
	}
	return ""
}

// byOwnAddress compares what the service says by the VIP with what it says by
// the node's own address.
func byOwnAddress(n Node, p config.Pool, got string) string {
	s := n.Examined.Services
	err, tried := s.Own[p.Name]
	switch {
	case !tried:
		return ""
	case err == nil:
		return fmt.Sprintf("by the node's own address, %s, the same service passes: only the VIP fails", s.OwnAddress)
	case err.Error() == got:
		return fmt.Sprintf("by the node's own address, %s, it is the same: the service itself is at fault", s.OwnAddress)
	}
	return fmt.Sprintf("by the node's own address, %s, it says: %s", s.OwnAddress, err)
}

// remedyFor is what to do about what a probe says, in package probe's words.
func remedyFor(p config.Pool, got string) string {
	path := p.Probe.Path
	if path == "" {
		path = "/"
	}
	name := p.Probe.ServerName
	if name == "" {
		name = p.Probe.Host
	}
	show := fmt.Sprintf("openssl s_client -connect %s -servername %s </dev/null | openssl x509 -noout -subject -dates -ext subjectAltName", p.Address, name)
	if name == "" {
		show = strings.Replace(show, " -servername  ", " ", 1)
	}
	switch {
	case strings.HasPrefix(got, "certificate expired"):
		return "renew the certificate and reload the service; see what it shows: " + show
	case strings.HasPrefix(got, "certificate is not valid before"):
		return "the clock or the certificate is wrong: timedatectl; " + show
	case strings.HasPrefix(got, "certificate is for"):
		return "install the certificate for " + name + ", or correct server_name of the pool; see what it shows: " + show
	case strings.HasPrefix(got, "certificate"):
		return "install the whole chain of certificates and reload the service; see what it shows: " + show
	case strings.HasPrefix(got, "the answer is not TLS"):
		return fmt.Sprintf("turn TLS on for port %d in the configuration of the service (nginx: listen %d ssl), or use a pool of type http", p.Address.Port(), p.Address.Port())
	case strings.HasPrefix(got, "status "):
		return fmt.Sprintf("let the service answer %s with another status, or correct path, host or status of the pool; see: %s", path, curl(p, path))
	case strings.HasPrefix(got, "no answer within"):
		return "the service takes the connection and is too slow or stuck; see its log, and: ss -tnp 'sport = :" + fmt.Sprint(p.Address.Port()) + "'"
	}
	return "look at the service: its log, and: ss -ltnp"
}

// curl asks what the probe asks, from the VIP as it does.
func curl(p config.Pool, path string) string {
	host := p.Probe.Host
	if host == "" {
		host = p.Probe.ServerName
	}
	if host != "" {
		host = " -H 'Host: " + host + "'"
	}
	return fmt.Sprintf("curl -sk -o /dev/null -w '%%{http_code}\\n' --max-time 3%s '%s://%s%s'", host, p.Probe.Type, p.Address, path)
}
