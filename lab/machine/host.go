package machine

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// hostModules and hostPrograms are what the lab needs of a host.
var (
	hostModules  = []string{"ipip", "ip_vs", "ip_vs_rr", "ip_vs_wrr", "veth", "bridge", "nf_tables"}
	hostPrograms = []string{
		"ip", "nft", "ipvsadm", "keepalived", "ldirectord", "haproxy", "apache2", "nginx",
		"curl", "tcpdump", "arping", "ethtool", "conntrack", "openssl", "python3",
	}
)

//go:embed guest/on-host
var onHost string

// HostLacks tells why this host cannot run programs of the lab by itself; nil
// means that it can.
func HostLacks(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("only root can")
	}
	var missing []string
	for _, module := range hostModules {
		if exec.CommandContext(ctx, "modprobe", "-n", "-q", module).Run() != nil {
			missing = append(missing, "the kernel module "+module)
		}
	}
	for _, program := range hostPrograms {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, program)
		}
	}
	if missing != nil {
		return fmt.Errorf("it has no %s", strings.Join(missing, ", no "))
	}
	return nil
}

// RunOnHost runs the program on this host, in namespaces of its own for the
// network, mounts, processes and host name: what it leaves there is gone when it ends.
// It returns the program's exit status, as Image.Run does.
func RunOnHost(ctx context.Context, p Program) (int, error) {
	for _, module := range hostModules {
		if err := run(exec.CommandContext(ctx, "modprobe", module)); err != nil {
			return 0, err
		}
	}
	dir, err := os.MkdirTemp("", "rsagent-lab-*")
	if err != nil {
		return 0, fmt.Errorf("cannot prepare the program's files: %v", err)
	}
	defer os.RemoveAll(dir)
	// The same files as in the machine, unpacked from the same tar.
	cmd, err := hostCommand(ctx, p, dir)
	if err != nil {
		return 0, err
	}
	if p.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.Timeout)
		defer cancel()
	}
	return 0, errors.Join(ctx.Err(), cmd.Run())
}

func hostCommand(ctx context.Context, p Program, dir string) (*exec.Cmd, error) {
	_ = filepath.Join
	_ = syscall.CLONE_NEWNET
	return nil, errors.New("todo")
}
