package machine

import (
	"io"
	"time"
)

// Program is what a machine runs, and with what.
type Program struct {
	Args    []string // Args[0] is the path of a static binary on this host
	Dir     string   // its testdata directory, if there is one, goes along
	Files   []string // found on the program's PATH by their base names
	Env     []string // NAME=value
	Out     string   // where what the program leaves in $LAB_OUT is brought to
	Systemd bool     // systemd starts it, after multi-user.target
	Kernel  string   // more arguments of the machine's kernel, such as security=selinux

	// Boot is a script of this host that makes the machine's disk what it is to be
	// before systemd starts, the network being down. systemd then starts the program
	// before the network, and sends it a SIGTERM after it has stopped that.
	Boot string

	Timeout time.Duration // from the moment the program starts; 0 is none

	// Stdout and Stderr get what the program says as it says it. When they are
	// the same, its words come in the order they were said.
	Stdout, Stderr io.Writer
}

func (p Program) merged() bool { return p.Stdout == p.Stderr }
