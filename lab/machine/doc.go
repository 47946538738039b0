// Package machine is the lab's machine: a Debian 12 under qemu whose kernel has
// IPIP and IPVS, or this host itself where its kernel has them. It runs one
// program as root and brings its output, its exit status and its files back.
package machine
