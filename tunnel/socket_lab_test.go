//go:build lab

package tunnel

import (
	"os/exec"
	"testing"
	"time"
)

// This test needs a kernel that has netem: the lab's. Over a path that is longer than
// a tick of the kernel's clock, nobody needs to have seen the connection before.
func TestAFarClientsConnectionIsIdleOnlyWhenItsLastQuestionWasAnswered(t *testing.T) {
	const idle = time.Second
	for name, want := range map[string]Connections{
		"answered": {Idle: 1},
		"waiting":  {Established: 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			if out, err := exec.Command("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "15ms").CombinedOutput(); err != nil {
				t.Fatalf("cannot lengthen the path: %v: %s", err, out)
			}
			l := s.listen("tcp", "[::]:0", nil)
			c := s.dial(client, vip1, portOf(l))
			k := talk{question: 200, exchanges: 3, waits: want.Established > 0}
			answered := make(chan error, 1)
			server := s.accept(l)
			must(t, keepAlive(server))
			go func() { answered <- k.answer(server) }()
			must(t, k.ask(c))
			must(t, <-answered)
			time.Sleep(2 * idle)
			got, err := s.vip1Census(idle).Count()
			if err != nil || got != want {
				t.Errorf("got %+v, %v, want %+v", got, err, want)
			}
		})
	}
}
