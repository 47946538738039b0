package health

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// startAgent answers agent-checks on a port of its own until the test ends.
func startAgent(t *testing.T, e Endpoint) string {
	t.Helper()
	if e.StaleAfter == 0 {
		e.StaleAfter = time.Minute
	}
	return serving(t, AgentServer(func() *Endpoint { return &e }))
}

func drained(pool string) Finding {
	f := required(PoolDrainID(pool), Failed)
	f.Got = Drained
	return f
}

func TestAgentCheckTellsEveryStateApart(t *testing.T) {
	stale := func() *Standing {
		return NewStanding(NewReport(time.Now().Add(-time.Hour), []Finding{required("a", OK)}))
	}
	long := fresh(required("pool/"+strings.Repeat("x", 200), Failed))
	pools := fresh(required("pool/web", OK), required("pool/mail", Failed), required("pool/old", OK), drained("old"))
	for _, test := range []struct {
		name, said string
		latest     func() *Standing
		want       string
	}{
		{"in service: all is taken back that was said before", "", fresh(required("a", OK)), "up ready 100%\n"},
		{"draining", "", fresh(required("a", OK), required(DrainID, Failed)), "drain\n"},
		{"drained", "", fresh(required("pool/old", OK), drained("old")), "maint\n"},
		{"failed: a drain of before is taken back", "", fresh(required("a", Failed)), "ready down # not ready: a failed\n"},
		{"stale", "", stale, "ready down # not ready: the last look at this node is too old\n"},
		{"nothing known yet", "", func() *Standing { return NewStanding(Report{}) }, "ready down # not ready: the last look at this node is too old\n"},
		{"a reason that is long", "", long, "ready down # not ready: pool/" + strings.Repeat("x", 145) + "\n"},
		{"a reason that is not one line", "", fresh(required("a\nup ready", Failed)), "ready down # not ready: a?up ready failed\n"},
		{"a pool by agent-send", "web\n", pools, "up ready 100%\n"},
		{"a pool without a line end", "web", pools, "up ready 100%\n"},
		{"a pool that failed", "mail\r\n", pools, "ready down # not ready: pool/mail failed\n"},
		{"a pool that is drained", "old\n", pools, "maint\n"},
		{"a pool that is not there", "none\n", pools, "ready down # not ready: no such pool\n"},
		{"more than is taken", strings.Repeat("x", 100_000), pools, "ready down # not ready: no such pool\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			address := startAgent(t, Endpoint{Latest: test.latest})
			began := time.Now()
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(5 * time.Second))
			go io.WriteString(c, test.said)
			got, err := io.ReadAll(c)
			if err != nil {
				t.Errorf("no end comes: %v", err)
			}
			if diff := cmp.Diff(test.want, string(got)); diff != "" {
				t.Errorf("line (-want +got):\n%s", diff)
			}
			if took := time.Since(began); took > 200*time.Millisecond {
				t.Errorf("it took %v", took)
			}
		})
	}
}
