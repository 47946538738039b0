package machine

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// writeInitrd writes an initrd for the Debian unpacked at root: its busybox, the
// modules that the disks need, and the lab's first process.
func writeInitrd(w io.Writer, root string) error {
	moduleDirs, err := filepath.Glob(filepath.Join(root, "lib/modules/*"))
	if err != nil || len(moduleDirs) != 1 {
		return fmt.Errorf("cannot tell the kernel's modules: %d versions in %s", len(moduleDirs), root)
	}
	modules, err := moduleOrder(moduleDirs[0], bootModules)
	if err != nil {
		return err
	}
	busybox, err := os.ReadFile(filepath.Join(root, "bin/busybox"))
	if err != nil {
		return fmt.Errorf("cannot take busybox from the image: %v", err)
	}
	gz := gzip.NewWriter(w)
	archive := &cpioWriter{w: gz}
	for _, dir := range []string{"bin", "dev", "modules", "proc", "root", "sys"} {
		archive.add(dir, cpioDir|0o755, nil)
	}
	archive.add("bin/busybox", cpioFile|0o755, busybox)
	archive.add("init", cpioFile|0o755, []byte(initrdInit))
	var order strings.Builder
	for _, module := range modules {
		code, err := os.ReadFile(filepath.Join(moduleDirs[0], module))
		if err != nil {
			return fmt.Errorf("cannot take a kernel module from the image: %v", err)
		}
		archive.add("modules/"+filepath.Base(module), cpioFile|0o644, code)
		fmt.Fprintln(&order, filepath.Base(module))
	}
	archive.add("modules/order", cpioFile|0o644, []byte(order.String()))
	if err := archive.close(); err != nil {
		return fmt.Errorf("cannot write the initrd: %v", err)
	}
	return gz.Close()
}

// moduleOrder returns the files to load, relative to dir, so that the named
// modules work: each after those it depends on, by dir's modules.dep
// (modules.dep(5)). Modules built into the kernel need no file.
func moduleOrder(dir string, names []string) ([]string, error) {
	dep, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, fmt.Errorf("cannot order the kernel's modules: %v", err)
	}
	builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("cannot order the kernel's modules: %v", err)
	}
	needs := make(map[string][]string)
	files := make(map[string]string)
	for line := range strings.Lines(string(dep)) {
		file, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		needs[file] = strings.Fields(rest)
		files[moduleName(file)] = file
	}
	for line := range strings.Lines(string(builtin)) {
		files[moduleName(strings.TrimSpace(line))] = ""
	}
	var order []string
	for _, name := range names {
		file, known := files[name]
		if !known {
			return nil, fmt.Errorf("cannot boot this kernel: it has no module %s", name)
		}
		if file == "" {
			continue
		}
		// modules.dep lists what a module needs nearest first.
		for _, need := range slices.Backward(needs[file]) {
			order = append(order, need)
		}
		order = append(order, file)
	}
	return firstOfEach(order), nil
}

func moduleName(file string) string {
	return strings.ReplaceAll(strings.TrimSuffix(filepath.Base(file), ".ko"), "-", "_")
}

func firstOfEach(list []string) []string {
	var once []string
	for _, entry := range list {
		if !slices.Contains(once, entry) {
			once = append(once, entry)
		}
	}
	return once
}

const (
	cpioDir  = 0o040000
	cpioFile = 0o100000
)

// cpioWriter writes the "newc" archive that the kernel unpacks as its initrd
// (Documentation/driver-api/early-userspace/buffer-format.rst in the kernel
// tree). The first error sticks and is returned by close.
type cpioWriter struct {
	w     io.Writer
	inode int
	err   error
}

func (c *cpioWriter) add(name string, mode int, data []byte) {
	if c.err != nil {
		return
	}
	c.inode++
	var entry bytes.Buffer
	entry.WriteString("070701")
	for _, field := range []int{
		c.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0,
	} {
		fmt.Fprintf(&entry, "%08x", field)
	}
	entry.WriteString(name + "\x00")
	pad4(&entry)
	entry.Write(data)
	pad4(&entry)
	_, c.err = c.w.Write(entry.Bytes())
}

func (c *cpioWriter) close() error {
	c.add("TRAILER!!!", 0, nil)
	return c.err
}

func pad4(b *bytes.Buffer) {
	for b.Len()%4 != 0 {
		b.WriteByte(0)
	}
}
