package machine

import (
	"archive/tar"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

//go:embed guest/start guest/start-systemd guest/start-boot guest/run guest/lab.target guest/lab.service guest/lab-boot.service
var guestFiles embed.FS

// writeCargo writes the tar that the guest unpacks over its root: what starts
// the program, the program with its package's testdata, and the files that it
// finds on its PATH.
func writeCargo(w io.Writer, p Program, mark string) error {
	c := &cargo{tar: tar.NewWriter(w)}
	for _, dir := range []string{"lab", "lab/bin", "lab/work", "lab/out"} {
		c.dir(dir)
	}
	start, service := "guest/start", "guest/lab.service"
	switch {
	case p.Boot != "":
		start, service = "guest/start-boot", "guest/lab-boot.service"
		c.file("lab/prepare", p.Boot)
	case p.Systemd:
		start = "guest/start-systemd"
	}
	c.guest("lab/start", start, 0o755)
	c.guest("lab/run", "guest/run", 0o755)
	c.guest("etc/systemd/system/lab.target", "guest/lab.target", 0o644)
	c.guest("etc/systemd/system/lab.service", service, 0o644)
	c.data("lab/job", 0o644, []byte(job(p, mark)))
	c.file(path.Join("lab/work", filepath.Base(p.Args[0])), p.Args[0])
	for _, file := range p.Files {
		c.file(path.Join("lab/bin", filepath.Base(file)), file)
	}
	c.tree("lab/work/testdata", filepath.Join(p.Dir, "testdata"))
	if c.err == nil {
		c.err = c.tar.Close()
	}
	if c.err != nil {
		return fmt.Errorf("cannot pack what the machine runs: %v", c.err)
	}
	return nil
}

// cargo writes a tar; the first error sticks.
type cargo struct {
	tar *tar.Writer
	err error
}

func (c *cargo) add(h *tar.Header, body io.Reader) {
	if c.err != nil {
		return
	}
	if c.err = c.tar.WriteHeader(h); c.err == nil && body != nil {
		_, c.err = io.Copy(c.tar, body)
	}
}

func (c *cargo) dir(name string) {
	c.add(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755}, nil)
}

func (c *cargo) data(name string, mode int64, data []byte) {
	c.add(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data))},
		strings.NewReader(string(data)))
}

func (c *cargo) guest(name, embedded string, mode int64) {
	data, err := guestFiles.ReadFile(embedded)
	if err != nil {
		c.err = errors.Join(c.err, err)
		return
	}
	c.data(name, mode, data)
}

// file adds a file of the host with its mode; symbolic links are followed.
func (c *cargo) file(name, source string) {
	if c.err != nil {
		return
	}
	f, err := os.Open(source)
	if err != nil {
		c.err = err
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		c.err = err
		return
	}
	if !info.Mode().IsRegular() {
		c.err = fmt.Errorf("%s is not a file", source)
		return
	}
	c.add(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Size: info.Size(),
		Mode: int64(info.Mode().Perm()), ModTime: info.ModTime(),
	}, f)
}

// tree adds a directory with all that is in it, if it exists.
func (c *cargo) tree(name, source string) {
	if _, err := os.Stat(source); errors.Is(err, fs.ErrNotExist) {
		return
	}
	err := filepath.WalkDir(source, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(source, file)
		if err != nil {
			return err
		}
		target := path.Join(name, filepath.ToSlash(relative))
		if entry.IsDir() {
			c.dir(target)
		} else {
			c.file(target, file)
		}
		return c.err
	})
	c.err = errors.Join(c.err, err)
}

// job is the shell text with which the guest runs the program.
func job(p Program, mark string) string {
	var b strings.Builder
	b.WriteString("export HOME=/root USER=root LANG=C.UTF-8 LAB_OUT=/lab/out\n")
	b.WriteString("export PATH=/lab/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n")
	for _, variable := range p.Env {
		name, value, _ := strings.Cut(variable, "=")
		fmt.Fprintf(&b, "export %s=%s\n", name, quote(value))
	}
	fmt.Fprintf(&b, "lab_mark=%s\n", quote(mark))
	if p.merged() {
		b.WriteString("lab_merged=yes\n")
	}
	fmt.Fprintf(&b, "set -- %s", quote("/lab/work/"+filepath.Base(p.Args[0])))
	for _, arg := range p.Args[1:] {
		b.WriteString(" " + quote(arg))
	}
	return b.String() + "\n"
}

// quote makes any text one word of a POSIX shell.
func quote(text string) string {
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// unpackResults writes the files and directories of a tar under dir, which is
// made when there is something to put there. Nothing in the tar gets out of dir.
func unpackResults(r io.Reader, dir string) error {
	archive := tar.NewReader(r)
	header, err := archive.Next()
	if err != nil || path.Clean(header.Name) != "." {
		return fmt.Errorf("cannot read the machine's results: they do not start with a directory (%v)", err)
	}
	header, err = archive.Next()
	if err == io.EOF {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("cannot keep the machine's results: %v", err)
	}
	root, openErr := os.OpenRoot(dir)
	if openErr != nil {
		return fmt.Errorf("cannot keep the machine's results: %v", openErr)
	}
	defer root.Close()
	for ; err == nil; header, err = archive.Next() {
		if err := unpackEntry(root, path.Clean(header.Name), header, archive); err != nil {
			return fmt.Errorf("cannot keep the machine's results: %v", err)
		}
	}
	if err != io.EOF {
		return fmt.Errorf("cannot read the machine's results: %v", err)
	}
	return nil
}

func unpackEntry(root *os.Root, name string, header *tar.Header, body io.Reader) error {
	switch header.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(name, 0o755)
	case tar.TypeReg:
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		mode := fs.FileMode(header.Mode)&0o755 | 0o600
		f, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, body)
		return errors.Join(err, f.Close())
	default:
		return nil // sockets, devices and links are of no use here
	}
}
