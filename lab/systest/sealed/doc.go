// Package sealed has the tests that change the machine itself, not only a
// network namespace, and end with a machine that loads no modules until its
// next boot. They run in the lab's own machine only, and each time in a new one:
//
//	LAB_VM=always go test -tags lab -exec "$PWD/bin/lab exec --with $PWD/bin/rsagent" ./lab/systest/sealed
package sealed
