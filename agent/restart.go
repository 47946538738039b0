package agent

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

// answerLimit is how long systemd may take to answer when this service is asked
// to stop. A node under load can need seconds, and answers the directors
// meanwhile.
const answerLimit = 5 * time.Second

// restarting asks systemd whether it stops this service only to start it again
// at once. The job of the unit says so (ListJobs and SystemState in
// org.freedesktop.systemd1(5)), unless the system is on its way down. What there
// is while the service is stopped, as seen with systemd 252 on Debian 12:
//
//	what was done                              job      system    drains
//	systemctl stop, deb-systemd-invoke stop    stop     running   yes
//	systemctl restart, try-restart             restart  running   no
//	reload-or-restart, try-reload-or-restart   restart  running   no
//	the same, with ExecReload= in the unit     it is not stopped
//	an upgrade: deb-systemd-invoke restart     restart  running   no
//	reload-or-restart --marked (rpm)           restart  running   no
//	restart or stop of what it is PartOf=      restart or stop, as above
//	systemctl kill, kill                       none     running   yes
//	systemctl reboot, poweroff                 stop     stopping  yes
//	reboot while a restart stops it            restart, soon replaced by stop
//	                                                    stopping  yes
//
// Whatever was not started by systemd is not restarted by it.
func restarting(ctx context.Context) (bool, error) {
	if os.Getenv("INVOCATION_ID") == "" { // systemd.exec(5)
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	// systemd's own socket works without the bus, which may be on its way down;
	// it is for root alone.
	conn, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		conn, err = dbus.NewSystemConnectionContext(ctx)
	}
	if err != nil {
		return false, fmt.Errorf("cannot ask systemd whether this is a restart: %v", err)
	}
	defer conn.Close()
	again, err := hasRestartJob(ctx, conn)
	if err != nil || !again {
		return false, err
	}
	// Asked last, since a shutdown may begin at any time.
	down, err := goingDown(ctx, conn)
	return !down, err
}

func hasRestartJob(ctx context.Context, conn *dbus.Conn) (bool, error) {
	unit, err := conn.GetUnitNameByPID(ctx, uint32(os.Getpid()))
	if err != nil {
		return false, fmt.Errorf("cannot ask systemd which unit this is: %v", err)
	}
	jobs, err := conn.ListJobsContext(ctx)
	if err != nil {
		return false, fmt.Errorf("cannot ask systemd for its jobs: %v", err)
	}
	for _, job := range jobs {
		if job.Unit == unit {
			return job.JobType == "restart", nil
		}
	}
	return false, nil
}

// goingDown tells whether the system shuts down or reboots. After an error it
// says yes, which has the node drain.
func goingDown(ctx context.Context, conn *dbus.Conn) (bool, error) {
	state, err := conn.SystemStateContext(ctx)
	if err != nil {
		return true, fmt.Errorf("cannot ask systemd whether the system goes down: %v", err)
	}
	text, ok := state.Value.Value().(string)
	if !ok {
		return true, fmt.Errorf("cannot understand the state of the system: %v", state.Value)
	}
	return text == "stopping", nil
}
