//go:build lab

package systest

import (
	"fmt"
	"strings"
	"testing"

	"rsagent/lab/network"
)

// metric is what the agent on a node says of a metric: one with its labels as
// they are written, or the sum over all labels.
func metric(t *testing.T, node *network.Host, name string) float64 {
	t.Helper()
	_, body, err := node.Get(fmt.Sprintf("http://%s:9380/metrics", node.Addr))
	ok(t, err)
	sum, found := 0.0, false
	for line := range strings.Lines(body) {
		rest, is := strings.CutPrefix(line, name)
		if !is || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		var value float64
		_, err := fmt.Sscan(rest[strings.LastIndexByte(rest, ' '):], &value)
		ok(t, err)
		sum, found = sum+value, true
	}
	if !found {
		t.Fatalf("there is no metric %s", name)
	}
	return sum
}
