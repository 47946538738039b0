package machine

import (
	"bytes"
	"context"
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

// Accel is how qemu runs the guest's code (its -accel).
type Accel string

const (
	Emulated Accel = "tcg,thread=multi" // works everywhere
	Hardware Accel = "kvm"
)

// trialLimit is how long a kernel may take to its first process with hardware
// virtualisation; where that works it takes about 1 s.
const trialLimit = 8 * time.Second

// ChooseAccel tells how to run the image on this host. A /dev/kvm that opens
// can still hang for ever, so a short boot tries it; the outcome is remembered
// until the host boots again.
func ChooseAccel(ctx context.Context, image Image, progress io.Writer) (Accel, error) {
	kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return Emulated, nil // absent, or not for this user
	}
	kvm.Close()
	bootID, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("cannot tell one boot of this host from another: %v", err)
	}
	memory := filepath.Join(filepath.Dir(image.Dir), "kvm-trial")
	if said, err := os.ReadFile(memory); err == nil {
		id, outcome, _ := strings.Cut(strings.TrimSpace(string(said)), " ")
		if id == strings.TrimSpace(string(bootID)) && (outcome == "works" || outcome == "fails") {
			return accelFor(outcome), nil
		}
	}
	outcome := "fails"
	step(progress, "trying hardware virtualisation", func() error {
		err := trial(ctx, image)
		if err == nil {
			outcome = "works"
		}
		return err
	})
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	remembered := strings.TrimSpace(string(bootID)) + " " + outcome + "\n"
	if err := os.WriteFile(memory, []byte(remembered), 0o644); err != nil {
		return "", fmt.Errorf("cannot remember how machines run here: %v", err)
	}
	return accelFor(outcome), nil
}

func accelFor(outcome string) Accel {
	if outcome == "works" {
		return Hardware
	}
	return Emulated
}

// trial boots a kernel up to its first process.
func trial(ctx context.Context, image Image) error {
	ctx, cancel := context.WithTimeout(ctx, trialLimit)
	defer cancel()
	args := append(machineArgs(image, Hardware, "lab=trial"), "-serial", "stdio")
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // see boot.run
	defer runtime.UnlockOSThread()
	said, err := cmd.Output()
	if !bytes.Contains(said, []byte("lab: alive")) {
		return fmt.Errorf("cannot use hardware virtualisation: no sign of life (%v)", err)
	}
	return nil
}
