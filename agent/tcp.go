package agent

import (
	"fmt"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/sysctl"
)

const (
	recycleKey = sysctl.Key("net/ipv4/tcp_tw_recycle")
	synackKey  = sysctl.Key("net/ipv4/tcp_synack_retries")
)

func tcpConditions(c config.Config) []Condition {
	return []Condition{
		tcpSetting{
			id: "sysctl/tcp_tw_recycle", key: recycleKey,
			title:    "No client behind NAT is refused for the time stamps of its neighbours",
			effect:   "Connections of clients that share an address time out now and then.",
			severity: health.Required,
			good:     func(value int) bool { return value == 0 },
			want:     "0, or no such setting",
			written:  "0",
			cause:    "the kernel drops the SYN of a client whose time stamp is older than that of another one behind the same address",
		}.condition(configuredIn(c)),
		tcpSetting{
			id: "sysctl/tcp_synack_retries", key: synackKey,
			title:    "A SYN-ACK that is lost is sent again",
			effect:   "Now and then a connection takes a second or more to open.",
			severity: health.Advisory,
			good:     func(value int) bool { return value != 0 },
			want:     "not 0",
			written:  "5", // the kernel's default, TCP_SYNACK_RETRIES in include/net/tcp.h
			cause:    "with 0 retries, a connection whose first answer is lost stalls until the client asks again",
		}.condition(configuredIn(c)),
	}
}

// tcpSetting is a setting of TCP by which a node serves some clients and not
// others.
type tcpSetting struct {
	id, title string
	effect    string // for clients, if it is not good
	key       sysctl.Key
	severity  health.Severity
	good      func(value int) bool
	want      string
	written   string // what a repair writes
	cause     string
}

// condition is mended only if the setting does not stand under [sysctl], which
// is put in force otherwise. If what stands there is no good, that is reported
// and does not gate: somebody wants the node to serve like that.
func (s tcpSetting) condition(own configured) Condition {
	c := Condition{ID: s.id, Title: s.title, Effect: s.effect, Severity: s.severity, Looks: atOtherSettings}
	remedy := fmt.Sprintf("sysctl -w %s=%s", s.key, s.written)
	value, err := own.number(s.key)
	switch {
	case !own.has(s.key):
		c.Repair = func(n Node) []Step { return []Step{setSysctl(n, s.key, s.written)} }
	case err == nil && s.good(value):
		remedy = fmt.Sprintf("sysctl -w %s=%d", s.key, value)
	default:
		c.Severity = health.Advisory
		s.cause += "; it stands under [sysctl]"
		remedy = fmt.Sprintf("take %s out of [sysctl], or give it another value there", s.key)
	}
	c.Evaluate = func(n Node) Verdict {
		value, err := number(n, s.key)
		switch {
		case gone(err):
			return Verdict{Status: health.OK, Want: s.want, Got: "not in this kernel"}
		case err != nil:
			return unknown(s.want, err)
		case s.good(value):
			return Verdict{Status: health.OK, Want: s.want, Got: n.Sysctl[s.key].Text}
		}
		return Verdict{Status: health.Failed, Want: s.want, Got: n.Sysctl[s.key].Text, Cause: s.cause, Remedy: remedy}
	}
	return c
}
