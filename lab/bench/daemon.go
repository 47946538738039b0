package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"rsagent/lab/network"
)

// neverGiveUp keeps the daemon repairing the same thing again and again.
const neverGiveUp = "[repair]\nflaps = 0\n"

// giveDevice makes the device on a host. Where it is of kind ipip the kernel
// has made it.
func (b *bench) giveDevice(h *network.Host) error {
	if b.kind == "ipip" {
		return nil
	}
	return h.IP("link add " + device + " type " + b.kind)
}

// silently starts a command on the host whose words go to a file: to read them
// as they come would disturb it.
func silently(h *network.Host, cmd *exec.Cmd) (*network.Process, error) {
	quiet := exec.Command("sh", slices.Concat([]string{"-c", `exec "$@" >"$0" 2>&1`, logFile(h)}, cmd.Args)...)
	quiet.Env, quiet.Stdin = cmd.Env, cmd.Stdin
	return h.Start(quiet)
}

func logFile(h *network.Host) string { return filepath.Join(h.Dir, "daemon.log") }

// daemonLog is the end of what was said silently.
func daemonLog(h *network.Host) string {
	text, err := os.ReadFile(logFile(h))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2048):])
}

// daemon is rsagent on a host, with a socket in systemd's place.
type daemon struct {
	process *network.Process
	socket  *network.NotifySocket
}

// startDaemon starts rsagent on a host and waits until it says that the node is
// set up. Command is what runs it, before the file of its configuration.
func startDaemon(h *network.Host, command []string, config string) (daemon, error) {
	file, err := h.WriteFile("rsagent.toml", config)
	if err != nil {
		return daemon{}, err
	}
	var d daemon
	if d.socket, err = h.ListenNotify(); err != nil {
		return d, err
	}
	cmd := exec.Command(command[0], append(slices.Clone(command[1:]), file)...)
	d.socket.Tell(cmd, 0)
	d.process, err = silently(h, cmd)
	if err == nil {
		_, err = d.ready()
	}
	if err != nil {
		return d, fmt.Errorf("%v\n%s", errors.Join(err, d.end()), daemonLog(h))
	}
	return d, nil
}

// ready waits for READY=1, and says how long after its start it came.
func (d daemon) ready() (time.Duration, error) {
	heard, err := d.socket.Wait("READY", "1", longPatience)
	if err != nil {
		return 0, err
	}
	return heard.Time.Sub(d.process.Started), nil
}

// end kills the daemon.
func (d daemon) end() error {
	if d.process == nil {
		return d.socket.Close()
	}
	return errors.Join(d.process.Kill(), d.socket.Close())
}

// static is a configuration of keepalived with the VIP as a static address.
const static = `global_defs {
}
static_ipaddress {
  %s/32 dev %s scope host
}
`

// startKeepalived starts keepalived on a host and waits until it has set the
// VIP.
func startKeepalived(h *network.Host, config string) (end func() error, err error) {
	file, err := h.WriteFile("static.conf", config)
	if err != nil {
		return nil, err
	}
	if err := h.IP("link set " + device + " up"); err != nil {
		return nil, err
	}
	pid := func(name string) string { return filepath.Join(h.Dir, name+".pid") }
	p, err := silently(h, exec.Command("keepalived", "--dont-fork", "--no-syslog", "--use-file", file,
		"--pid", pid("keepalived"), "--vrrp_pid", pid("vrrp"), "--checkers_pid", pid("checkers")))
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		out, err := h.Run("ip", "-4", "-o", "addr", "show", "dev", device)
		if err != nil || strings.Contains(out, network.VIP.String()+"/32") {
			return p.Kill, err
		}
	}
	return nil, fmt.Errorf("cannot get keepalived to set its static address:\n%s", daemonLog(h))
}
