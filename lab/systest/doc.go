// Package systest shows on real parts what rsagent promises: IPVS directors,
// nginx, and kernels that unwrap IPIP. It runs in the lab's machine:
//
//	go test -tags lab -exec "$PWD/bin/lab exec --with $PWD/bin/rsagent" ./lab/systest
package systest
