package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Image is a machine ready to boot: files that no boot changes.
type Image struct {
	Dir    string // holds the files below
	Kernel string
	Initrd string
	Root   string // raw ext4 disk
}

// Prepare returns the image of this recipe, from the cache when it is there. A
// build says on progress what it does; it needs root, mmdebstrap and mke2fs.
// Several may call it at once: one builds and the others wait for it.
func Prepare(ctx context.Context, progress io.Writer) (Image, error) {
	cache, err := cacheDir()
	if err != nil {
		return Image{}, err
	}
	image := imageIn(filepath.Join(cache, recipeKey()))
	if image.complete() {
		return image, nil
	}
	unlock, err := lock(ctx, filepath.Join(cache, "lock"), progress)
	if err != nil {
		return Image{}, err
	}
	defer unlock()
	if image.complete() {
		return image, nil
	}
	if os.Geteuid() != 0 {
		return Image{}, errors.New("cannot build the lab's image: only root can; run it once as root")
	}
	// A fixed name: what a killed build left is found and removed here.
	unfinished := filepath.Join(cache, "unfinished")
	if err := discard(unfinished); err != nil {
		return Image{}, err
	}
	if err := build(ctx, unfinished, progress); err != nil {
		return Image{}, errors.Join(err, discard(unfinished))
	}
	if err := os.Rename(filepath.Join(unfinished, "image"), image.Dir); err != nil {
		return Image{}, fmt.Errorf("cannot keep the lab's image: %v", err)
	}
	return image, discard(unfinished)
}

func imageIn(dir string) Image {
	return Image{
		Dir:    dir,
		Kernel: filepath.Join(dir, "vmlinuz"),
		Initrd: filepath.Join(dir, "initrd"),
		Root:   filepath.Join(dir, "root.ext4"),
	}
}

// complete: the directory gets its name only when all is in it.
func (i Image) complete() bool {
	info, err := os.Stat(i.Dir)
	return err == nil && info.IsDir()
}

// cacheDir is where images stay between runs.
func cacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("cannot tell where to keep the lab's image: %v", err)
	}
	dir := filepath.Join(base, "rsagent-lab")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("cannot keep the lab's image: %v", err)
	}
	return dir, nil
}

// lock waits until no other process builds.
func lock(ctx context.Context, path string, progress io.Writer) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the lab's image: %v", err)
	}
	try := func() error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
	if err = try(); errors.Is(err, syscall.EWOULDBLOCK) {
		err = step(progress, "waiting for another build of the image", func() error {
			return retry(ctx, try)
		})
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot lock the lab's image with %s: %v", path, err)
	}
	return func() { f.Close() }, nil
}

// retry calls try until it no longer says that it would block. A blocking
// flock(2) could not be interrupted.
func retry(ctx context.Context, try func() error) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := try(); !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// discard removes a build, unless something is still mounted in it: then
// removing would reach into the host.
func discard(dir string) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("cannot clean up %s: %v", dir, err)
	}
	if strings.Contains(string(mounts), " "+dir+"/") {
		return fmt.Errorf("cannot clean up %s: something is mounted in it; unmount that first", dir)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("cannot clean up: %v", err)
	}
	return nil
}

// build makes the image in dir/image.
func build(ctx context.Context, dir string, progress io.Writer) error {
	image := imageIn(filepath.Join(dir, "image"))
	if err := os.MkdirAll(image.Dir, 0o755); err != nil {
		return fmt.Errorf("cannot build the lab's image: %v", err)
	}
	root := filepath.Join(dir, "root")
	err := step(progress, "installing Debian 12 for the lab's machine (once, about a minute)", func() error {
		return install(ctx, dir, root)
	})
	if err != nil {
		return err
	}
	return step(progress, "making its disk", func() error {
		if err := bootFiles(image, root); err != nil {
			return err
		}
		return run(exec.CommandContext(ctx, "mke2fs", "-q", "-t", "ext4",
			"-E", "lazy_itable_init=1,lazy_journal_init=1", "-d", root, image.Root, rootSize))
	})
}

// install unpacks Debian into root.
func install(ctx context.Context, dir, root string) error {
	hook := filepath.Join(dir, "customize")
	if err := os.WriteFile(hook, []byte(customizeHook), 0o755); err != nil {
		return fmt.Errorf("cannot build the lab's image: %v", err)
	}
	apt := filepath.Join(dir, "apt.conf")
	if err := os.WriteFile(apt, hostAptSettings(ctx), 0o644); err != nil {
		return fmt.Errorf("cannot build the lab's image: %v", err)
	}
	args := append(mmdebstrapArgs(),
		"--mode=root", "--format=directory", "--customize-hook="+hook, "--aptopt="+apt, suite, root)
	cmd := exec.CommandContext(ctx, "mmdebstrap", append(args, hostAptSources("/etc")...)...)
	// In namespaces of its own, so that neither its processes nor its mounts
	// outlive it, however it ends; and it ends with this thread.
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   syscall.CLONE_NEWPID,
		Unshareflags: syscall.CLONE_NEWNS,
		Pdeathsig:    syscall.SIGKILL,
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return run(cmd)
}

// bootFiles puts the kernel and the initrd for the Debian at root into the image.
func bootFiles(image Image, root string) error {
	kernels, err := filepath.Glob(filepath.Join(root, "boot/vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		return fmt.Errorf("cannot tell the machine's kernel: %d in %s", len(kernels), root)
	}
	if err := os.Rename(kernels[0], image.Kernel); err != nil {
		return fmt.Errorf("cannot take the machine's kernel: %v", err)
	}
	initrd, err := os.Create(image.Initrd)
	if err != nil {
		return fmt.Errorf("cannot write the initrd: %v", err)
	}
	defer initrd.Close()
	if err := writeInitrd(initrd, root); err != nil {
		return err
	}
	return initrd.Close()
}

// run runs a command that is silent when all is well; its words are in the error.
func run(cmd *exec.Cmd) error {
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cannot run %s: %v\n%s", filepath.Base(cmd.Path), err, lastLines(said.String(), 20))
	}
	return nil
}

// lastLines returns the last n lines of text, indented.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return "    " + strings.Join(lines, "\n    ")
}
