// Package boot shows a node from power-on to power-off: the packages are on the
// machine's disk before it boots, and the whole machine is the node. Each test has
// a machine of its own. Run it by
//
//	make lab RUN='TestANodeOfA.*'
package boot
