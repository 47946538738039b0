// Package healthy has nodes that are unusual and serve: whatever stands on them
// for good reasons, `rsagent check` must not call it a fault. It runs in the
// lab's machine, one row of it so:
//
//	.ci/lab-test TestAHealthyNodeIsCalledHealthy -v -run 'TestAHealthyNodeIsCalledHealthy/a_bond'
package healthy
