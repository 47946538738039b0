// Package unit shows rsagent as a service of a real systemd. Its machine has to
// be booted with one:
//
//	go test -tags lab -exec "$PWD/bin/lab exec --systemd --with $PWD/bin/rsagent --with $PWD/packaging/rsagent.service" ./lab/systest/unit
package unit
