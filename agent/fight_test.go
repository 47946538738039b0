package agent

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/sysctl"
)

// contested are settings that conditions of rsagent's own write too, or that
// the kernel changes together with others. Interfaces are those of goodNode.
func contested(interfaces ...string) []sysctl.Key {
	keys := []sysctl.Key{recycleKey, synackKey, "net/ipv4/ip_forward"}
	for _, iface := range append(interfaces, "all", "default") {
		for _, name := range []string{"arp_ignore", "arp_announce", "rp_filter", "accept_redirects", "send_redirects"} {
			keys = append(keys, sysctl.ConfKey(iface, name))
		}
	}
	return keys
}

// drawConfig draws a configuration with any of the keys under [sysctl]. What
// config refuses is left out.
func drawConfig(t *rapid.T, keys []sysctl.Key) config.Config {
	text := plainNode + "[tunnel]\nguard = false\nclamp_mss = \"off\"\n[sysctl]\n"
	c, err := config.Parse("f.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if !rapid.Bool().Draw(t, "configured") {
			continue
		}
		name := rapid.SampledFrom([]string{string(key), key.String()}).Draw(t, "spelling")
		more := fmt.Sprintf("%s%q = %q\n", text, name, rapid.SampledFrom([]string{"0", "1", "2", "5", "8", " 1 ", "\t0"}).Draw(t, name))
		if with, err := config.Parse("f.toml", []byte(more)); err == nil {
			text, c = more, with
		}
	}
	return c
}

// Whatever is configured, and whatever a node is like, no two conditions would
// give a setting different values.
func TestNoTwoConditionsFightOverASetting(t *testing.T) {
	keys := contested("lo", "eth0", "tunl0", "eth0.100")
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfig(t, keys)
		conditions := Conditions(c)
		n := goodNode()
		n.conf("default", "rp_filter=0")
		for _, key := range keys {
			n.set(string(key) + "=" + rapid.SampledFrom([]string{"0", "1", "2", "3", "8", "9"}).Draw(t, string(key)))
		}
		var steps []Step
		for i, f := range evaluate(conditions, n) {
			if f.Status == health.Failed && conditions[i].Repair != nil {
				steps = append(steps, conditions[i].Repair(n)...)
			}
		}
		if what := fight(steps); what != "" {
			t.Fatalf("a fight over %s:\n%sconfigured is %+v", what, inWordsOfSteps(steps), c.Sysctl)
		}
	})
}

// fight names what two of the steps give different values.
func fight(steps []Step) string {
	written := make(map[string]string)
	for _, s := range steps {
		if before, twice := written[s.What]; twice && !sysctl.Equal(before, s.New) {
			return s.What
		}
		written[s.What] = s.New
	}
	return ""
}

func inWordsOfSteps(steps []Step) string {
	var b strings.Builder
	for _, s := range steps {
		fmt.Fprintf(&b, "  %s: %q -> %q\n", s.What, s.Old, s.New)
	}
	return b.String()
}

// The same with a real kernel, which changes some settings by itself: whatever
// is configured, and whatever somebody has written before, the node is as
// wanted and at rest after two rounds.
func TestARealKernelComesToRest(t *testing.T) {
	inNamespace(t, func(Host) {
		log := zerolog.New(io.Discard)
		rapid.Check(t, func(t *rapid.T) {
			// A new one each time: interfaces follow conf/default until they are written.
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				t.Fatal(err)
			}
			host, err := OpenHost()
			if err != nil {
				t.Fatal(err)
			}
			defer host.Close()
			if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth0.100"}); err != nil {
				t.Fatal(err)
			}
			keys := contested("lo", "eth0", "eth0.100")
			c := drawConfig(t, keys)
			a, err := New(c, host, log, "test")
			if err != nil {
				t.Fatal(err)
			}
			for _, key := range keys {
				if rapid.Bool().Draw(t, "written before") {
					// Not every one is there, or takes every value.
					value := rapid.SampledFrom([]string{"0", "1", "2", "3", "9"}).Draw(t, string(key))
					_ = os.WriteFile("/proc/sys/"+string(key), []byte(value), 0)
				}
			}
			first := a.converge()
			last := a.converge()
			if len(last.steps) > 0 {
				last = a.converge()
			}
			if what := fight(first.steps); what != "" || len(last.steps) > 0 {
				t.Fatalf("a fight over %q, or no rest: the first round did\n%sthe last\n%sconfigured is %+v", what,
					inWordsOfSteps(first.steps), inWordsOfSteps(last.steps), c.Sysctl)
			}
			for _, f := range last.report.Findings {
				if strings.HasPrefix(f.ID, "sysctl/") && f.Status == health.Failed && !excused(c, f) {
					t.Fatalf("%s: %s, want %s, %s; configured is %+v", f.ID, f.Got, f.Want, f.Cause, c.Sysctl)
				}
			}
		})
	})
}

// excused are findings of a setting that this kernel does not have, and of one
// that is configured to be no good.
func excused(c config.Config, f health.Finding) bool {
	return f.ID == settingID(recycleKey) || f.ID == "sysctl/tcp_synack_retries" && configuredIn(c)[synackKey] != ""
}
