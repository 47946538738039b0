// Package selinux reads what SELinux has refused on this machine, out of the
// kernel's log and auditd's.
package selinux

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Denial is an access that SELinux has refused: an AVC message of the kernel's
// (security/selinux/avc.c and security/lsm_audit.c).
type Denial struct {
	At          time.Time
	Permissions []string // such as name_bind
	Class       string   // of the object, such as tcp_socket
	Program     string   // its own word for itself
	Domain      string   // the type of the process, such as httpd_t
	Type        string   // of the object, such as http_port_t
	Port        uint16   // that was to be bound
	Module      string   // that the kernel was to load
}

// Of tells whether a permission was refused.
func (d Denial) Of(permission string) bool { return slices.Contains(d.Permissions, permission) }

// Enforcing tells whether SELinux refuses anything at all. Root is / but in tests.
func Enforcing(root string) bool {
	text, err := os.ReadFile(filepath.Join(root, "sys/fs/selinux/enforce"))
	return err == nil && strings.TrimSpace(string(text)) == "1"
}

// Denials returns what was refused by the policy that is in force now, the oldest
// first, as far as the logs go back: those of the kernel, and those of auditd, to
// which the kernel gives its messages in place of its log while that runs. The error
// says which of them could not be read; what the other has is returned. Root is / but
// in tests; the kernel has one log.
func Denials(root string) ([]Denial, error) {
	kernels, kernelErr := kernelLog()
	auditds, auditErr := tailOf(filepath.Join(root, "var/log/audit/audit.log"))
	if errors.Is(auditErr, fs.ErrNotExist) {
		auditErr = nil
	}
	booted, err := bootTime()
	return inForce(kernels+"\n"+auditds, booted), errors.Join(kernelErr, auditErr, err)
}

// mostLog is how much of a log is read, from its end, in bytes.
const mostLog = 1 << 20

// kernelLog is the end of the kernel's ring buffer: syslog(2).
func kernelLog() (string, error) {
	const readAll = 3 // SYSLOG_ACTION_READ_ALL
	buffer := make([]byte, mostLog)
	n, err := unix.Klogctl(readAll, buffer)
	if err != nil {
		return "", fmt.Errorf("cannot read the kernel's log: %w", err)
	}
	return string(buffer[:n]), nil
}

func tailOf(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("cannot read auditd's log: %w", err)
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return "", fmt.Errorf("cannot read auditd's log: %w", err)
	}
	text, err := io.ReadAll(io.NewSectionReader(f, max(0, size-mostLog), mostLog))
	if err != nil {
		return "", fmt.Errorf("cannot read auditd's log: %w", err)
	}
	return string(text), nil
}

// bootTime is when the machine started: what was refused before says nothing of
// now. The log of auditd goes back further.
func bootTime() (time.Time, error) {
	var i unix.Sysinfo_t
	if err := unix.Sysinfo(&i); err != nil {
		return time.Time{}, fmt.Errorf("cannot tell when the machine started: %w", err)
	}
	return time.Now().Add(-time.Duration(i.Uptime) * time.Second), nil
}
