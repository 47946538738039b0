package agent

import (
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"rsagent/agent/health"
)

// systemd is told by datagrams to $NOTIFY_SOCKET (sd_notify(3)). Without one,
// as in a terminal, all of this does nothing.
type systemd struct {
	watchdog time.Duration // how often to ping; 0: not at all
	status   string        // the last STATUS= sent
}

// newSystemd reads $WATCHDOG_USEC. systemd recommends a ping at half the time
// (sd_watchdog_enabled(3)).
func newSystemd() (*systemd, error) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return nil, fmt.Errorf("cannot read the watchdog's interval from the environment: %v", err)
	}
	return &systemd{watchdog: interval / 2}, nil
}

func (s *systemd) send(lines ...string) error {
	if _, err := daemon.SdNotify(false, strings.Join(lines, "\n")); err != nil {
		return fmt.Errorf("cannot notify systemd: %v", err)
	}
	return nil
}

// reloading begins a reload, which READY=1 ends. systemd wants to know when it
// began (sd_notify(3)).
func (s *systemd) reloading() error {
	return s.send(daemon.SdNotifyReloading, strings.TrimSpace(daemon.SdNotifyMonotonicUsec()))
}

// say sets the status line of the unit, if it changed.
func (s *systemd) say(status string) error {
	if status == s.status {
		return nil
	}
	s.status = status
	return s.send("STATUS=" + status)
}

// extension is for how long each message puts off the end of the stop
// timeout; the next one comes well before.
const extension = 10 * time.Second

func (s *systemd) extend(status string) error {
	s.status = status
	return s.send(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", extension.Microseconds()), "STATUS="+status)
}

// inWords is the state of the node in one line.
func inWords(r health.Report, vips, pools int) string {
	ready, why := r.Ready()
	if ready {
		return fmt.Sprintf("ready: %s, %s", counted(vips, "VIP"), counted(pools, "pool"))
	}
	if r.Draining() {
		return "draining"
	}
	return "not ready: " + why
}

func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
