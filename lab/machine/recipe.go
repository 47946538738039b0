package machine

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"strings"
)

// suite is the Debian release of the machine; its kernel has what the lab needs.
const suite = "bookworm"

// rootSize is the size of the root disk. The file is sparse, and what a machine
// writes goes to an overlay of its own.
const rootSize = "4G"

//go:embed guest/init
var initrdInit string

//go:embed guest/customize
var customizeHook string

// packages are installed in the machine. tiny-initramfs only keeps the kernel
// from pulling in a builder of initrds that the machine never boots.
var packages = []string{
	"systemd", "systemd-sysv", "dbus", "udev", "kmod", "procps", "busybox-static",
	"linux-image-cloud-amd64", "tiny-initramfs",
	"iproute2", "iputils-arping", "iputils-ping", "ethtool", "tcpdump", "conntrack",
	"nftables", "iptables", "checkpolicy",
	"ipvsadm", "keepalived", "ldirectord", "haproxy", "apache2", "nginx-light",
	"curl", "openssl", "ca-certificates", "python3",
	"rpm", "rpmlint", "lintian",
	"bash-completion", "zsh", "fish",
}

// bootModules are loaded by the initrd, in this order, after what they need:
// the disks and the ports to the host.
var bootModules = []string{"virtio_pci", "virtio_blk", "virtio_console"}

// mmdebstrapArgs are the arguments that decide what is in the image.
func mmdebstrapArgs() []string {
	return []string{
		"--variant=minbase",
		"--architectures=amd64",
		"--include=" + strings.Join(packages, ","),
		`--aptopt=Acquire::Languages "none"`,
		`--aptopt=APT::Install-Recommends "false"`,
		"--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-exclude=/usr/share/man/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*",
		"--dpkgopt=force-unsafe-io",
	}
}

// recipeKey names the image that this recipe makes: it changes whenever
// anything that is in the image does.
func recipeKey() string {
	h := sha256.New()
	for _, part := range [][]string{
		mmdebstrapArgs(), bootModules, {suite, rootSize, customizeHook, initrdInit},
	} {
		fmt.Fprintf(h, "%q\n", part)
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}
