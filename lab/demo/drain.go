package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"rsagent/lab/network"
)

// drain takes web2 out of service, stops its web server and puts it back.
func (d *demo) drain() (count, error) {
	slow, err := d.startDownloads()
	if err != nil {
		return count{}, err
	}
	load := d.site.Client.StartLoad(20)
	time.Sleep(500 * time.Millisecond)
	err = d.drainUnder(load)
	answers := load.Stop()
	c := counted(answers)
	d.promise(c.failed == 0, "Meanwhile: %v", answers)
	whole := slow.wait()
	d.promise(whole == downloads, "%d of %d downloads are whole", whole, downloads)
	return c.plus(count{downloads, downloads - whole, downloads - whole}), err
}

// drainLimit is longer than the notice and the downloads together.
const drainLimit = 30 * time.Second

func (d *demo) drainUnder(load *network.Load) error {
	web2, agent := d.site.Web2, d.agents[d.site.Web2]
	d.typed("web2", fmt.Sprintf("kill -TERM %d  # rsagent", agent.PID()))
	asked := time.Now()
	if err := agent.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	said := ""
	turned := until(func() bool {
		_, body, err := d.site.Dir1.Get(web2.ReadyURL())
		said = strings.TrimSpace(body)
		return err == nil && said == "draining"
	})
	d.promise(turned, "/ready says %q after %d ms", said, time.Since(asked).Milliseconds())
	if err := d.site.Dir1.UntilWithout(web2); err != nil {
		return err
	}
	line, err := d.ipvsLine(web2)
	if err != nil {
		return err
	}
	d.say("dir1 gives it weight 0 after %s; of ipvsadm -Ln:", inSeconds(time.Since(asked)))
	d.quote(line)
	d.say("rsagent waits for what is under way ...")
	status, err := agent.Wait(drainLimit)
	if err != nil {
		return fmt.Errorf("rsagent still runs %v after SIGTERM", drainLimit)
	}
	ended := time.Now()
	d.promise(status == 0, "%s; exit status %d", drainEnd(agent.Log()), status)

	if _, err := d.nginx[web2].Stop(patience); err != nil {
		return err
	}
	time.Sleep(1500 * time.Millisecond)
	late := load.SoFar().Between(ended, time.Now())
	d.promise(late.ByNode()["web2"] == 0 && len(late.Failed()) == 0, "nginx on web2 is stopped: %v", late)
	return d.putBack(load)
}

// putBack starts web2 again.
func (d *demo) putBack(load *network.Load) (err error) {
	web2 := d.site.Web2
	started := time.Now()
	if d.nginx[web2], err = web2.StartNginx(); err != nil {
		return err
	}
	if err := d.startAgent(web2); err != nil {
		return err
	}
	if err := d.site.Dir1.UntilDirects(web2); err != nil {
		return err
	}
	back := time.Now()
	d.promise(untilServes(load, web2, back), "nginx and rsagent start again; web2 serves after %s", inSeconds(back.Sub(started)))
	return nil
}

// ipvsLine is what dir1's table says of a node.
func (d *demo) ipvsLine(node *network.Host) (string, error) {
	table, err := d.site.Dir1.Run("ipvsadm", "-Ln")
	for line := range strings.Lines(table) {
		if strings.Contains(line, node.Addr.String()) {
			return line, nil
		}
	}
	return "(nothing)", err
}

// drainEnd says in short what rsagent's log says of the end of a drain.
func drainEnd(log string) string {
	for line := range strings.Lines(log) {
		var entry struct {
			Message     string
			Notice      string `json:"waited_notice"`
			Connections string `json:"waited_connections"`
			Left        int    `json:"connections_left"`
		}
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Message == "drain ended" {
			return fmt.Sprintf("drain ended: waited %s for directors, %s for connections, %d left",
				entry.Notice, entry.Connections, entry.Left)
		}
	}
	return "(no end of the drain in its log)"
}

// downloads is how many files the client fetches during the drain. The
// directors take turns, so it is one from each node.
const downloads = 2

// fetched counts the downloads that came whole.
type fetched struct {
	over  sync.WaitGroup
	mu    sync.Mutex
	whole int
}

// startDownloads begins to fetch files so slowly that they last for 8 seconds.
func (d *demo) startDownloads() (*fetched, error) {
	f := new(fetched)
	for range downloads {
		conn, err := d.site.Client.Dial(network.VIP.String()+":80", 0, patience)
		if err != nil {
			return nil, err
		}
		f.over.Go(func() {
			defer conn.Close()
			if fetch(conn) != network.SlowBytes {
				return
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			f.whole++
		})
	}
	d.say("20 requests a second, and %d downloads of 8 s, one from each node.", downloads)
	return f, nil
}

// fetch asks for the slow file and returns how much of it came.
func fetch(conn io.ReadWriter) int64 {
	if _, err := fmt.Fprintf(conn, "GET /slow HTTP/1.0\r\n\r\n"); err != nil {
		return 0
	}
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	defer r.Body.Close()
	n, _ := io.Copy(io.Discard, r.Body) // what is missing is missed in n
	return n
}

func (f *fetched) wait() int {
	f.over.Wait()
	return f.whole
}
