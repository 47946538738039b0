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

//go:embed guest/on-host
var onHost string

// HostLacks tells why this host cannot run the program by itself; nil means that
// it can. It loads nothing.
func HostLacks(ctx context.Context, p Program) error {
	if p.Systemd || p.Boot != "" || p.Kernel != "" {
		return errors.New("only a virtual machine is booted for one program")
	}
	if os.Geteuid() != 0 {
		return errors.New("only root can")
	}
	var missing []string
	for _, module := range []string{"ipip", "ip_vs", "ip_vs_rr", "ip_vs_wrr", "veth", "bridge", "nf_tables"} {
		if !hasModule(ctx, module) {
			missing = append(missing, "no kernel module "+module)
		}
	}
	for _, program := range []string{
		"modprobe", "ip", "nft", "ipvsadm", "keepalived", "ldirectord", "haproxy", "apache2", "nginx",
		"curl", "tcpdump", "arping", "ethtool", "conntrack", "openssl", "python3",
	} {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, "no "+program)
		}
	}
	if missing != nil {
		return fmt.Errorf("it has %s", strings.Join(missing, ", "))
	}
	return nil
}

// hasModule tells whether a module is in the kernel or can be loaded.
func hasModule(ctx context.Context, name string) bool {
	if _, err := os.Stat(filepath.Join("/sys/module", name)); err == nil {
		return true
	}
	sealed, err := os.ReadFile("/proc/sys/kernel/modules_disabled")
	if err != nil || strings.TrimSpace(string(sealed)) != "0" {
		return false
	}
	return exec.CommandContext(ctx, "modprobe", "-n", "-q", name).Run() == nil
}

// RunOnHost runs the program on this host, in namespaces of its own for
// network, mounts, processes and host name. It returns the program's exit
// status as Image.Run does; its namespaces are gone by then. Kernel modules
// that the program loads stay. HostLacks tells whether this can work.
func RunOnHost(ctx context.Context, p Program) (int, error) {
	bin, err := linkAll(p.Files)
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(bin)
	out, err := filepath.Abs(p.Out)
	if err == nil {
		err = os.MkdirAll(out, 0o755)
	}
	if err != nil {
		return 0, fmt.Errorf("cannot keep the program's results: %v", err)
	}
	defer os.Remove(out) // only works when it is empty
	program, err := filepath.Abs(p.Args[0])
	if err != nil {
		return 0, fmt.Errorf("cannot find the program: %v", err)
	}
	limited := ctx
	if p.Timeout > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, p.Timeout)
		defer cancel()
	}
	cmd := exec.CommandContext(limited, "/bin/sh", append([]string{"-c", onHost, "sh", program}, p.Args[1:]...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.Dir, p.Stdout, p.Stderr
	cmd.Env = append([]string{
		"HOME=/root", "USER=root", "LANG=C.UTF-8", "LAB_OUT=" + out,
		"PATH=" + bin + ":" + os.Getenv("PATH"),
	}, p.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Unshareflags: syscall.CLONE_NEWNS, // makes mounts private, which Cloneflags does not
	}
	err = cmd.Run()
	if limited.Err() != nil && ctx.Err() == nil {
		return 0, errTimeout(p)
	}
	return exitStatus(err)
}

// linkAll makes a directory with a link to each file.
func linkAll(files []string) (string, error) {
	dir, err := os.MkdirTemp("", "rsagent-lab-*")
	if err != nil {
		return "", fmt.Errorf("cannot put the files on the program's PATH: %v", err)
	}
	for _, file := range files {
		target, err := filepath.Abs(file)
		if err == nil {
			_, err = os.Stat(target)
		}
		if err == nil {
			err = os.Symlink(target, filepath.Join(dir, filepath.Base(file)))
		}
		if err != nil {
			os.RemoveAll(dir)
			return "", fmt.Errorf("cannot put the files on the program's PATH: %v", err)
		}
	}
	return dir, nil
}

// exitStatus turns what a command ended with into a status as a shell has it.
func exitStatus(err error) (int, error) {
	var exit *exec.ExitError
	if err == nil {
		return 0, nil
	}
	if !errors.As(err, &exit) {
		return 0, fmt.Errorf("cannot run the program: %v", err)
	}
	wait, ok := exit.Sys().(syscall.WaitStatus)
	if ok && wait.Signaled() {
		return 128 + int(wait.Signal()), nil
	}
	return exit.ExitCode(), nil
}
