package agent

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

// answerLimit is how long systemd may take to answer when this service is
// asked to stop.
const answerLimit = 2 * time.Second

// restarting asks systemd whether it stops this service only to start it
// again, as for systemctl restart or an upgrade: the job of the unit then is a
// restart (systemd's org.freedesktop.systemd1(5), ListJobs). Whatever was not
// started by systemd is not restarted by it.
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
