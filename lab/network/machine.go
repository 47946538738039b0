package network

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// TakeWeb1 puts this machine in the place of web1: what systemd runs here, and the
// kernel's settings and modules, are then those of a node. Its eth0 is there, with
// no address; the cable is not plugged in before PlugIn. It can be done once on a
// machine, which has to be the lab's own.
func (s *Site) TakeWeb1() error {
	if !OwnMachine() {
		return errors.New("cannot be web1: this is not the lab's own machine")
	}
	w := s.Web1
	err := errors.Join(ipBatch(switchName, "link del "+w.Name+"\n"), w.close())
	if err == nil {
		err = output(exec.Command("ip", "netns", "attach", w.Name, "1"))
	}
	if err == nil {
		w.here = true
		w.namespace, err = os.Open(filepath.Join("/run/netns", w.Name))
	}
	if err == nil {
		err = ipBatch(switchName, fmt.Sprintf("link add %s type veth peer name eth0 address %s netns %[1]s\nlink set %[1]s master br0\n", w.Name, w.MAC))
	}
	if err != nil {
		return fmt.Errorf("cannot be web1: %w", err)
	}
	return nil
}

// PlugIn connects the cable of a host with the segment.
func (s *Site) PlugIn(h *Host) error { return ipBatch(switchName, "link set "+h.Name+" up\n") }
