package network

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// OwnMachine tells whether this machine is the lab's own, on which a test may
// do as it pleases. On anybody's host the namespaces are all that is ours.
func OwnMachine() bool {
	names, _ := filepath.Glob("/sys/class/virtio-ports/*/name") // the pattern is good
	return slices.ContainsFunc(names, func(file string) bool {
		name, err := os.ReadFile(file)
		return err == nil && strings.TrimSpace(string(name)) == "lab.stdout"
	})
}

// UnloadIPIP makes the kernel forget IPIP, and with it every tunl0, where the
// machine is the lab's own. Elsewhere a host may need it, and it stays.
func UnloadIPIP() error {
	if !OwnMachine() {
		return nil
	}
	if _, err := os.Stat("/sys/module/ipip"); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return output(exec.Command("rmmod", "ipip"))
}
