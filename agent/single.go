package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"rsagent/agent/ledger"
)

// RuntimeDirectory is where the daemon keeps its state: what systemd gives it
// (RuntimeDirectory= in systemd.exec(5)), else /run/rsagent.
func RuntimeDirectory() string {
	if given, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":"); given != "" {
		return given
	}
	return "/run/rsagent"
}

// Lock makes sure that one daemon only looks after this node. Closing the
// file, or the end of the process, gives the lock up. Only root may look into
// the directory and at the file: whoever can open it can hold the lock.
func Lock(directory string) (*os.File, error) {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the runtime directory: %v", err)
	}
	path := filepath.Join(directory, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open the lock: %v", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		defer f.Close()
		return nil, fmt.Errorf("cannot start: another rsagent looks after this node%s", holder(f))
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot lock %s: %v", path, err)
	}
	// The number tells people who holds the lock. A node whose /run is full
	// still needs its daemon, so a failure here is let pass.
	if f.Truncate(0) == nil {
		fmt.Fprintln(f, os.Getpid())
	}
	return f, nil
}

func holder(f *os.File) string {
	buf := make([]byte, 20)
	n, _ := f.Read(buf)
	if pid := strings.TrimSpace(string(buf[:n])); pid != "" {
		return " (process " + pid + ")"
	}
	return ""
}

// OpenLedger opens the ledger in the runtime directory, for as long as this boot
// and this network namespace last.
func OpenLedger(directory string) (*ledger.Ledger, error) {
	boot, err := bootID()
	if err != nil {
		return nil, fmt.Errorf("cannot open the ledger: %v", err)
	}
	var namespace unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &namespace); err != nil { // namespaces(7)
		return nil, fmt.Errorf("cannot open the ledger: cannot look at the network namespace: %v", err)
	}
	return ledger.Open(directory, fmt.Sprintf("%s %d", boot, namespace.Ino))
}

// MayChangeNetwork returns nil if this process has CAP_NET_ADMIN
// (capabilities(7)), which everything that the daemon repairs needs.
func MayChangeNetwork() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("cannot tell what this process may do: %v", err)
	}
	if data[0].Effective&(1<<unix.CAP_NET_ADMIN) == 0 {
		return errors.New("cannot start: rsagent changes the network and needs CAP_NET_ADMIN; run it as root, or as its systemd unit")
	}
	return nil
}
