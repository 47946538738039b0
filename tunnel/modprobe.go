package tunnel

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// modprobeConfig finds a line that keeps modprobe from loading ipip or what it
// needs.
func (s system) modprobeConfig() Obstacle {
	names := []string{"ipip"}
	for _, file := range s.moduleWithNeeds() {
		if name := moduleName(file); !s.loaded(name) {
			names = append(names, name)
		}
	}
	files := s.modprobeFiles()
	for _, base := range slices.Sorted(maps.Keys(files)) {
		text := strings.ReplaceAll(s.read(files[base]), "\\\n", " ")
		for line := range strings.Lines(text) {
			if o := modprobeLine(line, names); o.Cause != "" {
				o.Cause += " in /" + files[base]
				o.Remedy = strings.ReplaceAll(o.Remedy, "FILE", "/"+files[base])
				return o
			}
		}
	}
	return Obstacle{}
}

// modprobeFiles is the files that count, by their name without directory: of
// files with the same name the first, modprobe.d(5).
func (s system) modprobeFiles() map[string]string {
	dirs := []string{
		"etc/modprobe.d",
		"run/modprobe.d",
		"usr/local/lib/modprobe.d",
		"usr/lib/modprobe.d",
		"lib/modprobe.d",
	}
	files := map[string]string{}
	for _, dir := range dirs {
		entries, err := os.ReadDir(filepath.Join(s.root, dir))
		if err != nil {
			continue
		}
		for _, e := range entries {
			if _, shadowed := files[e.Name()]; !shadowed && path.Ext(e.Name()) == ".conf" {
				files[e.Name()] = path.Join(dir, e.Name())
			}
		}
	}
	return files
}

// loadByName is what helps where the kernel does not load ipip by itself.
const loadByName = "modprobe ipip && echo ipip > /etc/modules-load.d/ipip.conf"

// modprobeLine judges one line of modprobe.d. names is ipip and what modprobe
// would load for it. FILE in the remedy stands for the file.
func modprobeLine(line string, names []string) Obstacle {
	words := strings.Fields(line)
	if len(words) < 2 {
		return Obstacle{}
	}
	module := strings.ReplaceAll(words[1], "-", "_")
	switch words[0] {
	case "blacklist":
		// It counts only for a module that is asked for by an alias, and ipip
		// is; what ipip needs is asked for by name.
		if module != "ipip" {
			return Obstacle{}
		}
		return Obstacle{
			Cause:   "the kernel may not load it by itself: blacklist ipip",
			Remedy:  loadByName,
			Certain: true,
		}
	case "install":
		if !slices.Contains(names, module) || len(words) < 3 {
			return Obstacle{}
		}
		return installLine(words)
	}
	return Obstacle{}
}

func installLine(words []string) Obstacle {
	command := strings.Join(words[2:], " ")
	if strings.Contains(command, "modprobe") || strings.Contains(command, "insmod") {
		return Obstacle{} // something more, but it loads the module
	}
	nothing := []string{"true", "false", ":", "exit"}
	return Obstacle{
		Cause:   fmt.Sprintf("modprobe runs a command instead of loading it: install %s %s", words[1], command),
		Remedy:  fmt.Sprintf("sed -i -E 's/^ *(install|blacklist) +%s/# &/' FILE", words[1]),
		Certain: slices.Contains(nothing, path.Base(words[2])),
	}
}

// modprobeProgram tells if the kernel has no program that loads modules.
func (s system) modprobeProgram() Obstacle {
	const setting = "proc/sys/kernel/modprobe"
	if s.missing(setting) {
		return Obstacle{}
	}
	program := strings.TrimSpace(s.read(setting))
	if program == "" {
		return Obstacle{
			Cause:  "the kernel has no program to load modules with (kernel.modprobe is empty)",
			Remedy: loadByName,
		}
	}
	if s.missing(program) {
		if quoted := strconv.Quote(program); quoted != `"`+program+`"` {
			program = quoted // whoever wrote it may have written anything
		}
		return Obstacle{
			Cause:  "the program that the kernel loads modules with, " + program + ", is not there",
			Remedy: "install the package kmod",
		}
	}
	return Obstacle{}
}
