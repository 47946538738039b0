// Package pair shows nodes behind two directors that both ask, run by keepalived:
// how long a drain takes, and what becomes of it when a director fails. Its tests
// run on the lab's machine:
//
//	go test -tags lab -exec "$PWD/bin/lab exec --with $PWD/bin/rsagent" ./lab/systest/pair
package pair
