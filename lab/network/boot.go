package network

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

//go:embed boot.sh
var bootScript string

// System is a systemd of a host's own, as in a container that has it: it starts
// units at its boot, and stops them when it is told to reboot.
type System struct {
	host    *Host
	process *Process // ends with it
	dir     string
}

// spared are units of Debian that do nothing for a web server and take seconds of
// an emulated machine.
var spared = []string{
	"console-getty.service", "dbus.service", "dbus.socket", "getty.target", "man-db.timer",
	"systemd-binfmt.service", "systemd-logind.service", "systemd-machine-id-commit.service",
	"systemd-pcrphase-sysinit.service", "systemd-pcrphase.service", "systemd-sysusers.service",
	"systemd-tmpfiles-clean.timer", "systemd-tmpfiles-setup-dev.service", "systemd-tmpfiles-setup.service",
	"systemd-udevd.service", "systemd-update-utmp-runlevel.service", "systemd-update-utmp.service",
	"systemd-user-sessions.service",
}

// Boot has the host start with a systemd of its own, which starts the enabled
// units. It has the machine's files, and over them the files given, by their paths;
// nothing that it changes outlives it. It returns before the boot is over.
func (h *Host) Boot(files map[string]string, enabled ...string) (*System, error) {
	s := &System{host: h, dir: filepath.Join(h.Dir, "system")}
	cgroup := filepath.Join("/sys/fs/cgroup", h.Name)
	if err := errors.Join(s.install(files, enabled), os.MkdirAll(cgroup, 0o755), output(exec.Command("modprobe", "overlay"))); err != nil {
		return nil, fmt.Errorf("cannot boot %s: %v", h.Name, err)
	}
	script, err := h.WriteFile("boot.sh", bootScript)
	if err != nil {
		return nil, err
	}
	s.process, err = h.Start(exec.Command("sh", "-ec", `echo $$ >"$1/cgroup.procs"
exec unshare --mount --pid --cgroup --ipc --uts --fork --kill-child sh "$2" "$3"`, "boot", cgroup, script, s.dir))
	return s, err
}

// install writes the files that come over those of the machine.
func (s *System) install(files map[string]string, enabled []string) error {
	top := filepath.Join(s.dir, "files")
	if err := os.RemoveAll(top); err != nil {
		return err
	}
	for path, text := range files {
		path = filepath.Join(top, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if strings.HasPrefix(text, "\x7fELF") {
			mode = 0o755
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			return err
		}
	}
	units := filepath.Join(top, "etc/systemd/system")
	wants := filepath.Join(units, "multi-user.target.wants")
	if err := os.MkdirAll(wants, 0o755); err != nil {
		return err
	}
	var errs []error
	for _, unit := range enabled {
		errs = append(errs, os.Symlink(filepath.Join("/usr/lib/systemd/system", unit), filepath.Join(wants, unit)))
	}
	for _, unit := range spared {
		errs = append(errs, os.Symlink("/dev/null", filepath.Join(units, unit)))
	}
	return errors.Join(errs...)
}

// Run runs a program within the system.
func (s *System) Run(words ...string) (string, error) {
	first, err := s.first()
	if err != nil {
		return "", err
	}
	return s.host.Run("nsenter", slices.Concat([]string{"--target", first, "--all", "--"}, words)...)
}

// first is the id of the system's first process, as the machine has it.
func (s *System) first() (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", s.process.PID()))
	if err != nil {
		return "", fmt.Errorf("cannot find the systemd of %s: %v: %s", s.host.Name, err, s.process.Log())
	}
	children := strings.Fields(string(text))
	if len(children) != 1 {
		return "", fmt.Errorf("cannot find the systemd of %s: it has %d first processes: %s", s.host.Name, len(children), s.process.Log())
	}
	return children[0], nil
}

// Reboot has the system stop all its units, as it does at a reboot of a machine,
// and returns when it has ended.
func (s *System) Reboot(limit time.Duration) error {
	if _, err := s.Run("systemctl", "reboot"); err != nil {
		return err
	}
	_, err := s.process.Wait(limit)
	return err
}

// Journal is what the system's journal has of some units and of systemd's work on
// them, each line with its time in seconds, from the host's first boot on.
func (s *System) Journal(units ...string) (string, error) {
	args := []string{"--directory", filepath.Join(s.dir, "journal"), "--output=short-unix", "--quiet", "--no-pager"}
	for _, unit := range units {
		args = append(args, "--unit="+unit)
	}
	return s.host.Run("journalctl", args...)
}
