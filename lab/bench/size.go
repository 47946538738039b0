package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"rsagent/lab/network"
)

// size is what a daemon takes of the machine while nothing happens.
type size struct {
	Who     string  `json:"who"`
	RSS     int     `json:"rss_kib"`
	PSS     int     `json:"pss_kib"`
	CPU     float64 `json:"cpu_percent"` // of one processor
	Wakeups float64 `json:"wakeups_per_s"`
	Agent   bool    `json:"agent"` // rsagent itself, for which there are aims
}

// Before a daemon is looked at it comes to rest; then it is left alone.
const (
	rest = 10 * time.Second
	idle = time.Minute
)

const pool = `
[[pool]]
name = "http-pool"
%s = %q
port = 80
probe = { type = "http" }
`

// idler is a daemon that has nothing to do.
type idler struct {
	who   string
	agent bool
	host  *network.Host
	start func(*network.Host) (end func() error, err error)
}

// sizes looks at all daemons during the same minute, each on a node of its own.
func (b *bench) sizes() ([]size, error) {
	b.say("leaving daemons alone for %v", rest+idle)
	site, err := network.New()
	if err != nil {
		return nil, err
	}
	defer site.Close()
	idlers := b.idlers(site)
	for _, i := range idlers {
		end, err := b.idle(i)
		if err != nil {
			return nil, err
		}
		defer end()
	}
	time.Sleep(rest)
	before, err := useOf(idlers)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	time.Sleep(idle)
	took := time.Since(began)
	after, err := useOf(idlers)
	if err != nil {
		return nil, err
	}
	var all []size
	for n, i := range idlers {
		all = append(all, size{
			Who: i.who, Agent: i.agent, RSS: after[n].rss, PSS: after[n].pss,
			CPU:     100 * (after[n].cpu - before[n].cpu).Seconds() / took.Seconds(),
			Wakeups: float64(after[n].switches-before[n].switches) / took.Seconds(),
		})
	}
	return all, nil
}

// idlers are the daemon itself, with one pool and all else as it is by default,
// and keepalived with as much of the same duty as the kernel lets it have.
func (b *bench) idlers(site *network.Site) []idler {
	node := site.AgentConfig(fmt.Sprintf(pool, "vip", network.VIP))
	if b.kind == "ipip" {
		return []idler{
			{"rsagent", true, site.Web1, starter([]string{"rsagent", "run", "--config"}, node)},
			{"keepalived, VIP and check", false, site.Web2, keepalivedChecks},
		}
	}
	proxied := "[tunnel]\nmode = \"none\"\n" + fmt.Sprintf(pool, "address", site.Web1.Addr)
	return []idler{
		{"rsagent, mode none", true, site.Web1, starter([]string{"rsagent", "run", "--config"}, proxied)},
		{"rsagent's code, " + b.kind, true, site.Web2, starter(b.agent, node)},
		{"keepalived, VIP only", false, site.Dir1, keepalivedOnly},
	}
}

func starter(command []string, config string) func(*network.Host) (func() error, error) {
	return func(h *network.Host) (func() error, error) {
		d, err := startDaemon(h, command, config)
		return d.end, err
	}
}

func keepalivedOnly(h *network.Host) (func() error, error) {
	return startKeepalived(h, fmt.Sprintf(static, network.VIP, device))
}

const checked = `virtual_server %s 80 {
  delay_loop 2
  lvs_sched rr
  lvs_method TUN
  protocol TCP
  real_server %s 80 {
    HTTP_GET {
      url {
        path /
        status_code 200
      }
      connect_timeout 1
    }
  }
}
`

func keepalivedChecks(h *network.Host) (func() error, error) {
	if out, err := exec.Command("modprobe", "-a", "ip_vs", "ip_vs_rr").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("cannot load IPVS: %v: %s", err, out)
	}
	return startKeepalived(h, fmt.Sprintf(static+checked, network.VIP, device, network.VIP, h.Addr))
}

// idle gives a daemon its node, a web server on it, and starts it. The web
// server is this process, so it does not count.
func (b *bench) idle(i idler) (end func() error, err error) {
	if err := b.giveDevice(i.host); err != nil {
		return nil, err
	}
	err = i.host.Do(func() error {
		listener, err := net.Listen("tcp4", ":80")
		if err == nil {
			go http.Serve(listener, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return i.start(i.host)
}

// use is what all processes of a host have used, and hold.
type use struct {
	rss, pss int // KiB
	cpu      time.Duration
	switches int // voluntary ones: each ends with a wake-up
}

func useOf(idlers []idler) ([]use, error) {
	var all []use
	for _, i := range idlers {
		out, err := exec.Command("ip", "netns", "pids", i.host.Name).Output()
		if err != nil {
			return nil, err
		}
		var sum use
		for pid := range strings.FieldsSeq(string(out)) {
			if err := sum.add(pid); err != nil {
				return nil, fmt.Errorf("cannot tell what %s uses: %v", i.who, err)
			}
		}
		all = append(all, sum)
	}
	return all, nil
}

func (u *use) add(pid string) error {
	proc := filepath.Join("/proc", pid)
	// In status, VmRSS lacks what each thread has not reported yet
	// (Documentation/filesystems/proc.rst).
	const memory = "smaps_rollup"
	rss, err := field(filepath.Join(proc, memory), "Rss:")
	if err != nil {
		return err
	}
	pss, err := field(filepath.Join(proc, memory), "Pss:")
	if err != nil {
		return err
	}
	u.rss, u.pss = u.rss+rss, u.pss+pss
	tasks, err := filepath.Glob(filepath.Join(proc, "task", "*"))
	for _, task := range tasks {
		switches, err := field(filepath.Join(task, "status"), "voluntary_ctxt_switches:")
		if err != nil {
			return err
		}
		// The first number is the time on a processor, in ns
		// (Documentation/scheduler/sched-stats.rst).
		text, err := os.ReadFile(filepath.Join(task, "schedstat"))
		if err != nil {
			return err
		}
		first, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return err
		}
		u.cpu, u.switches = u.cpu+time.Duration(ns), u.switches+switches
	}
	return err
}

// field is the number behind a name in a file of such lines.
func field(file, name string) (int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == name {
			return strconv.Atoi(words[1])
		}
	}
	return 0, fmt.Errorf("no %s in %s", name, file)
}
