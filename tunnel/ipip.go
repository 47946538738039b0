package tunnel

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// ErrNoIPIP is the error of a kernel that has no ipip devices and did not load
// the module for them.
var ErrNoIPIP = errors.New("the kernel has no ipip")

// Obstacle is what keeps a kernel from having ipip. The zero Obstacle is none.
type Obstacle struct {
	Cause   string // in words; empty if nothing speaks against ipip
	Remedy  string // what a person can do about it
	Certain bool   // false: it may be so, and only trying tells
}

func noIPIP(o Obstacle) error {
	if o.Cause == "" {
		return fmt.Errorf("%w and did not load it, and nothing here says why (see the kernel's log; a device called tunl0 in any network namespace keeps the module out, too)", ErrNoIPIP)
	}
	if !o.Certain {
		return fmt.Errorf("%w; perhaps %s (%s)", ErrNoIPIP, o.Cause, o.Remedy)
	}
	return fmt.Errorf("%w: %s (%s)", ErrNoIPIP, o.Cause, o.Remedy)
}

// MissingIPIP looks in the files of the system at root, "/" for this one, for
// what keeps the kernel from having ipip, and changes nothing. What cannot be
// read speaks against nothing.
//
// An ipip device is made by the kernel alone, or by the module ipip, which the
// kernel has /proc/sys/kernel/modprobe load under the alias rtnl-link-ipip
// (net/core/rtnetlink.c). Where modprobe looks: modprobe.d(5), depmod(8).
func MissingIPIP(root string) Obstacle {
	s := system{root: root}
	s.release = strings.TrimSpace(s.read("proc/sys/kernel/osrelease"))
	s.modules = path.Join("lib/modules", s.release)
	if s.hasIPIP() {
		return Obstacle{}
	}
	looks := []func() Obstacle{s.kernelBuild, s.kernelSettings, s.moduleFiles, s.modprobeConfig, s.modprobeProgram}
	for _, look := range looks {
		if o := look(); o.Cause != "" {
			return o
		}
	}
	return Obstacle{}
}

// system is the files of a system below root.
type system struct {
	root    string
	release string // of the running kernel
	modules string // the directory of its modules
}

func (s system) read(name string) string {
	text, err := os.ReadFile(filepath.Join(s.root, name))
	if err != nil {
		return ""
	}
	return string(text)
}

// missing tells for certain that nothing of that name is there.
func (s system) missing(name string) bool {
	_, err := os.Stat(filepath.Join(s.root, name))
	return errors.Is(err, os.ErrNotExist)
}

func (s system) loaded(module string) bool {
	for line := range strings.Lines(s.read("proc/modules")) {
		if strings.HasPrefix(line, module+" ") {
			return true
		}
	}
	return false
}

func (s system) hasIPIP() bool {
	if s.loaded("ipip") {
		return true
	}
	for line := range strings.Lines(s.read(path.Join(s.modules, "modules.builtin"))) {
		if moduleName(strings.TrimSpace(line)) == "ipip" {
			return true
		}
	}
	_, err := os.Stat(filepath.Join(s.root, "sys/module/ipip"))
	return err == nil || s.configured() == "y"
}

// configured is what the kernel was built with: "y", "m", "n", or "" if that
// is written nowhere.
func (s system) configured() string {
	texts := []string{
		s.unzip("proc/config.gz"),
		s.read("boot/config-" + s.release),
		s.read(path.Join(s.modules, "config")),
	}
	for _, text := range texts {
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			if line == "# CONFIG_NET_IPIP is not set" {
				return "n"
			}
			if value, found := strings.CutPrefix(line, "CONFIG_NET_IPIP="); found {
				return value
			}
		}
	}
	return ""
}

func (s system) unzip(name string) string {
	file, err := os.Open(filepath.Join(s.root, name))
	if err != nil {
		return ""
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		return ""
	}
	text, err := io.ReadAll(unzipped)
	if err != nil {
		return ""
	}
	return string(text)
}

func (s system) kernelBuild() Obstacle {
	if s.configured() == "n" {
		return Obstacle{
			Cause:   "this kernel, " + s.release + ", is built without it (CONFIG_NET_IPIP is not set)",
			Remedy:  "boot a kernel that has it",
			Certain: true,
		}
	}
	if s.release != "" && s.missing("proc/modules") {
		return Obstacle{
			Cause:  "this kernel, " + s.release + ", loads no modules, and nothing shows that ipip is built in",
			Remedy: "boot a kernel that has it",
		}
	}
	return Obstacle{}
}

func (s system) kernelSettings() Obstacle {
	if strings.TrimSpace(s.read("proc/sys/kernel/modules_disabled")) == "1" {
		return Obstacle{
			Cause:   "loading modules is off until the next boot (kernel.modules_disabled = 1)",
			Remedy:  "put ipip into /etc/modules-load.d/ipip.conf and reboot",
			Certain: true,
		}
	}
	for option := range strings.FieldsSeq(s.read("proc/cmdline")) {
		key, names, _ := strings.Cut(option, "=")
		if (key != "module_blacklist" && key != "modprobe.blacklist") || !slices.Contains(strings.Split(names, ","), "ipip") {
			continue
		}
		return Obstacle{
			Cause:   "the kernel was booted with " + option,
			Remedy:  "take ipip out of it in the boot loader's settings and reboot",
			Certain: true,
		}
	}
	return Obstacle{}
}

func (s system) moduleFiles() Obstacle {
	dir := "/" + s.modules
	switch {
	case s.release == "":
		return Obstacle{}
	case s.missing("lib/modules"):
		return Obstacle{
			Cause:  "there is no /lib/modules here, as in a container or a small VM",
			Remedy: "in a container run modprobe ipip on the host; else install the kernel's modules",
		}
	case s.missing(s.modules):
		return Obstacle{
			Cause:  "there is no " + dir + ", as after an update of the kernel without a reboot",
			Remedy: "reboot, or install the modules of the running kernel",
		}
	case s.missing(path.Join(s.modules, "modules.dep")):
		return Obstacle{
			Cause:  "there is no " + dir + "/modules.dep",
			Remedy: "run depmod",
		}
	}
	files := s.moduleWithNeeds()
	if len(files) == 0 && s.read(path.Join(s.modules, "modules.dep")) != "" {
		return Obstacle{
			Cause:   dir + " has no module ipip",
			Remedy:  "install the package with the rest of this kernel's modules, or boot a kernel that has it",
			Certain: true,
		}
	}
	for _, file := range files {
		if s.missing(path.Join(s.modules, file)) {
			return Obstacle{
				Cause:   "there is no " + path.Join(dir, file),
				Remedy:  "install this kernel's modules again",
				Certain: true,
			}
		}
	}
	return Obstacle{}
}

// moduleWithNeeds is the file of the module ipip, and of those that it needs,
// as modules.dep has them.
func (s system) moduleWithNeeds() []string {
	for line := range strings.Lines(s.read(path.Join(s.modules, "modules.dep"))) {
		file, needs, _ := strings.Cut(line, ":")
		if moduleName(file) == "ipip" {
			return append([]string{file}, strings.Fields(needs)...)
		}
	}
	return nil
}

// moduleName is the name of the module in a file such as ip_tunnel.ko.xz.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}
