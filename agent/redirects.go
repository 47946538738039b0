package agent

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/sysctl"
	"rsagent/tunnel"
)

// redirect is one of the two settings about ICMP redirects. By one that is
// forged, any host on the network takes over the way of a VIP's answers; those
// that the node sends tell others of ways around the directors.
type redirect struct {
	name       string
	does       string
	effect     string // for clients, if it does
	rule       string // how the kernel makes one value of conf/all and the interface's
	configured configured
}

func redirectConditions(c config.Config) []Condition {
	accept := redirect{
		name: "accept_redirects", does: "takes a route from an ICMP redirect",
		effect:     "Nothing, until a neighbour leads the answers to some clients astray.",
		rule:       "conf.all and the interface's own value: an interface that forwards needs both to be on, any other needs one",
		configured: configuredIn(c),
	}
	send := redirect{
		name: "send_redirects", does: "sends ICMP redirects",
		effect:     "Nothing, until a neighbour is told of a way that it must not take.",
		rule:       "conf.all and the interface's own value: one of them is enough",
		configured: accept.configured,
	}
	return []Condition{accept.inGeneral(), accept.onInterfaces(), send.inGeneral(), send.onInterfaces()}
}

func (r redirect) generalID() string { return "sysctl/" + r.name + "/all" }

// general are the settings of no one interface.
func (r redirect) general() []sysctl.Key {
	return []sysctl.Key{sysctl.ConfKey("all", r.name), sysctl.ConfKey("default", r.name)}
}

// inGeneral wants conf/all to be off, and conf/default, which an interface yet
// to come starts with. A write to the latter spreads to interfaces whose own
// value was never written and which never had an address (devinet_copy_dflt_conf
// in net/ipv4/devinet.c), so the interfaces are looked at after it.
func (r redirect) inGeneral() Condition {
	keys := slices.DeleteFunc(r.general(), r.configured.has)
	want := "as [sysctl] has it"
	if len(keys) > 0 {
		want = listed(keys, ", ", func(k sysctl.Key) string { return k.String() + " = 0" })
	}
	return Condition{
		ID:       r.generalID(),
		Title:    fmt.Sprintf("No interface to come %s", r.does),
		Effect:   r.effect,
		Severity: health.Advisory,
		Looks:    atOtherSettings,
		Evaluate: func(n Node) Verdict {
			on, err := switchedOn(n, keys)
			switch {
			case err != nil:
				return unknown(want, err)
			case len(on) == 0:
				return Verdict{Status: health.OK, Want: want, Got: "as wanted"}
			}
			return r.isOn(n, on, want)
		},
		Repair: func(n Node) []Step {
			on, _ := switchedOn(n, keys)
			return switchOff(n, on)
		},
	}
}

// onInterfaces wants the value that the kernel acts on to be off on every
// interface. If conf/all or conf/default is on under [sysctl], the interfaces
// are left to whoever wants that.
func (r redirect) onInterfaces() Condition {
	want := fmt.Sprintf("an effective %s of 0 on every interface", r.name)
	opened := r.opened()
	needs := []string{r.generalID()}
	for _, key := range r.general() {
		if r.configured.has(key) {
			needs = append(needs, settingID(key))
		}
	}
	return Condition{
		ID:       "sysctl/" + r.name + "/interfaces",
		Title:    fmt.Sprintf("No interface that is here %s", r.does),
		Effect:   r.effect,
		Severity: health.Advisory,
		Needs:    needs,
		Looks:    atLinks | atOtherSettings,
		Evaluate: func(n Node) Verdict {
			if opened != "" {
				return Verdict{Status: health.OK, Want: "as [sysctl] has it", Got: fmt.Sprintf("[sysctl] turns %s on", opened)}
			}
			on, err := r.effective(n)
			switch {
			case err != nil:
				return unknown(want, err)
			case len(on) == 0:
				return Verdict{Status: health.OK, Want: want, Got: "as wanted"}
			}
			return r.isOn(n, on, want)
		},
		Repair: func(n Node) []Step {
			on, _ := r.effective(n)
			return switchOff(n, on)
		},
	}
}

func (r redirect) isOn(n Node, on []sysctl.Key, want string) Verdict {
	return Verdict{
		Status: health.Failed, Want: want,
		Got:    listed(on, ", ", func(k sysctl.Key) string { return fmt.Sprintf("%s = %s", k, n.Sysctl[k].Text) }),
		Cause:  "the kernel acts on " + r.rule,
		Remedy: listed(on, "\n", func(k sysctl.Key) string { return fmt.Sprintf("sysctl -w %s=0", k) }),
	}
}

// opened returns the first of conf/all and conf/default that [sysctl] turns on.
func (r redirect) opened() sysctl.Key {
	for _, key := range r.general() {
		if value, err := r.configured.number(key); err == nil && value != 0 {
			return key
		}
	}
	return ""
}

// effective returns the keys of the interfaces for which the kernel takes the
// setting to be on, but for those under [sysctl].
func (r redirect) effective(n Node) ([]sysctl.Key, error) {
	if n.NetErr != nil {
		return nil, n.NetErr
	}
	var on []sysctl.Key
	for _, l := range n.Net.Links {
		key := sysctl.ConfKey(l.Name, r.name)
		if r.configured.has(key) {
			continue
		}
		value, err := sysctl.Effective(n.Sysctl, l.Name, r.name)
		switch {
		case gone(err):
			// The interface went while it was looked at, or has no IPv4.
		case err != nil:
			return nil, err
		case value != 0:
			on = append(on, key)
		}
	}
	return on, nil
}

// switchedOn returns which of the settings hold a number other than 0.
func switchedOn(n Node, keys []sysctl.Key) ([]sysctl.Key, error) {
	var on []sysctl.Key
	for _, key := range keys {
		value, err := number(n, key)
		if err != nil {
			return nil, err
		}
		if value != 0 {
			on = append(on, key)
		}
	}
	return on, nil
}

func number(n Node, key sysctl.Key) (int, error) {
	value, read := n.Sysctl[key]
	if !read {
		return 0, fmt.Errorf("%s was not read", key)
	}
	if value.Err != nil {
		return 0, value.Err
	}
	number, err := strconv.Atoi(value.Text)
	if err != nil {
		return 0, fmt.Errorf("%s is %q, not a number", key, value.Text)
	}
	return number, nil
}

func switchOff(n Node, keys []sysctl.Key) []Step {
	var steps []Step
	for _, key := range keys {
		steps = append(steps, setSysctl(n, key, "0"))
	}
	return steps
}

func listed(keys []sysctl.Key, between string, write func(sysctl.Key) string) string {
	words := make([]string, len(keys))
	for i, key := range keys {
		words[i] = write(key)
	}
	return strings.Join(words, between)
}

// hygieneKeys are the settings that a node serves without, but worse or less
// safely.
func hygieneKeys(net tunnel.Node) []sysctl.Key {
	keys := []sysctl.Key{
		sysctl.ConfKey("all", "accept_redirects"), sysctl.ConfKey("default", "accept_redirects"),
		sysctl.ConfKey("all", "send_redirects"), sysctl.ConfKey("default", "send_redirects"),
		recycleKey, synackKey,
	}
	for _, l := range net.Links {
		keys = append(keys, sysctl.ConfKey(l.Name, "accept_redirects"), sysctl.ConfKey(l.Name, "send_redirects"),
			sysctl.ConfKey(l.Name, "forwarding")) // the rule for accept_redirects asks for it
	}
	return keys
}
