package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"rsagent/lab/network"
)

// endpoint is how many checks rsagent answers on one processor, beside nginx that
// says the same, and what checks do to repairs.
type endpoint struct {
	Fresh    contest `json:"new_connections"`
	Kept     contest `json:"kept_connections"`
	Quiet    spread  `json:"repair_without_checks"`
	Besieged spread  `json:"repair_with_checks"`
	Checks   float64 `json:"checks_per_s"` // that there were beside those repairs
}

// contest is what two endpoints came to in the same rounds.
type contest struct {
	Agent answering `json:"agent"`
	Nginx answering `json:"nginx"`
	// Medians of the rounds', each beside its neighbour: rsagent's part of nginx's
	// answers a second, and nginx's part of rsagent's processor time for each.
	Rate float64 `json:"rate"`
	Cost float64 `json:"cost"`
}

// answering is the median round of an endpoint.
type answering struct {
	PerSecond float64       `json:"per_s"`
	Each      float64       `json:"per_connection"` // answers
	Cost      time.Duration `json:"cost_ns"`        // processor time of the process for each answer
	Asker     float64       `json:"asker"`          // how much of its processor's time who asked took, from 0 to 1
}

const (
	endpointRounds = 9
	endpointRound  = time.Second
	besieged       = 5000 // checks a second
	serverCPU      = 0
	askerCPU       = 1
)

// says is nginx as a node's web server would be set up to answer checks.
const says = `daemon off;
user root;
master_process off;
error_log %[1]s/error.log;
pid %[1]s/nginx.pid;
events { worker_connections 1024; }
http {
  access_log off;
  keepalive_requests 1000000;
  server {
    listen 80 backlog=4096;
    location / { default_type text/plain; return 200 "ready\n"; }
  }
}
`

func (b *bench) endpoint() (*endpoint, error) {
	if cpus() < 2 {
		return nil, fmt.Errorf("cannot measure the endpoint: who asks and who answers need a processor each")
	}
	site, err := network.New()
	if err != nil {
		return nil, err
	}
	defer site.Close()
	node := site.Web1
	agent, nginx, err := b.answerers(node)
	if err != nil {
		return nil, err
	}
	defer agent.end()
	defer nginx.end()
	var e endpoint
	b.say("asking the endpoint and nginx, %d rounds of %v each", 2*endpointRounds, endpointRound)
	for _, c := range []struct {
		kept bool
		to   *contest
	}{{false, &e.Fresh}, {true, &e.Kept}} {
		if *c.to, err = b.contend(site.Client, agent, nginx, c.kept); err != nil {
			return nil, fmt.Errorf("%v\n%s", err, daemonLog(node))
		}
	}
	return &e, b.besiege(site, &e)
}

// answerer is an endpoint that runs.
type answerer struct {
	pid int
	at  string // its address and port
	end func() error
}

// answerers starts both endpoints on the node, on the same processor.
func (b *bench) answerers(node *network.Host) (agent, nginx answerer, err error) {
	file, err := node.WriteFile("says.conf", fmt.Sprintf(says, node.Dir))
	if err != nil {
		return agent, nginx, err
	}
	on := []string{b.self, "on", strconv.Itoa(serverCPU)}
	p, err := node.Start(exec.Command(on[0], append(on[1:], "nginx", "-p", node.Dir, "-c", file)...))
	if err != nil {
		return agent, nginx, err
	}
	nginx = answerer{p.PID(), node.Addr.String() + ":80", p.Kill}
	config := "[tunnel]\nmode = \"none\"\n" + fmt.Sprintf(pool, "address", node.Addr)
	d, err := startDaemon(node, append(on, "rsagent", "run", "--config"), config)
	if err != nil {
		return agent, nginx, errors.Join(err, nginx.end())
	}
	agent = answerer{d.process.PID(), node.Addr.String() + ":9380", d.end}
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		status, body, err := node.Get("http://" + agent.at + "/ready")
		if err == nil && status == 200 {
			return agent, nginx, nil
		}
		if time.Now().After(deadline) {
			err = fmt.Errorf("cannot get the node ready: %d %q %v: %s", status, body, err, p.Log())
			return agent, nginx, errors.Join(err, agent.end(), nginx.end())
		}
	}
}

// contend has both endpoints asked in turns.
func (b *bench) contend(client *network.Host, agent, nginx answerer, kept bool) (contest, error) {
	var agents, nginxes []answering
	var rates, costs []float64
	for round := range endpointRounds + 1 {
		a, err := b.load(client, agent, kept)
		if err != nil {
			return contest{}, err
		}
		n, err := b.load(client, nginx, kept)
		if err != nil {
			return contest{}, err
		}
		if round == 0 {
			continue // they were cold
		}
		agents, nginxes = append(agents, a), append(nginxes, n)
		rates, costs = append(rates, a.PerSecond/n.PerSecond), append(costs, n.Cost.Seconds()/a.Cost.Seconds())
	}
	slices.Sort(rates)
	slices.Sort(costs)
	return contest{median(agents), median(nginxes), rates[len(rates)/2], costs[len(costs)/2]}, nil
}

func median(all []answering) answering {
	slices.SortFunc(all, func(a, b answering) int { return cmp.Compare(a.PerSecond, b.PerSecond) })
	return all[len(all)/2]
}

func (b *bench) load(client *network.Host, of answerer, kept bool) (answering, error) {
	var before, after use
	if err := before.add(strconv.Itoa(of.pid)); err != nil {
		return answering{}, err
	}
	r, err := b.ask(client, of.at, kept, endpointRound, 0)
	if err != nil {
		return answering{}, err
	}
	if err := after.add(strconv.Itoa(of.pid)); err != nil {
		return answering{}, err
	}
	if r.Good != r.Answers || r.Answers == 0 {
		return answering{}, fmt.Errorf("%d of %d answers were good", r.Good, r.Answers)
	}
	return answering{
		PerSecond: float64(r.Answers) / r.Took.Seconds(),
		Each:      float64(r.Answers) / float64(r.Connections),
		Cost:      (after.cpu - before.cpu) / time.Duration(r.Answers),
		Asker:     r.CPU.Seconds() / r.Took.Seconds(),
	}, nil
}

// ask has the client ask, on its own processor.
func (b *bench) ask(client *network.Host, at string, kept bool, lasts time.Duration, aSecond int) (replies, error) {
	out, err := client.Run(b.self, "on", strconv.Itoa(askerCPU), b.self, "ask",
		at, strconv.FormatBool(kept), lasts.String(), strconv.Itoa(aSecond))
	if err != nil {
		return replies{}, err
	}
	var r replies
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		return replies{}, fmt.Errorf("cannot understand how the endpoint answered: %v: %s", err, out)
	}
	return r, nil
}

// besiege measures repairs with and without checks, in turns.
func (b *bench) besiege(site *network.Site, e *endpoint) error {
	node, times := site.Web2, b.pace.times/blocks
	b.say("repairing a deleted VIP, %d times each with and without %d checks a second", times*blocks, besieged)
	if err := b.giveDevice(node); err != nil {
		return err
	}
	d, err := startDaemon(node, b.agent, site.AgentConfig(neverGiveUp))
	if err != nil {
		return err
	}
	defer d.end()
	vip, err := faultCalled("vip")
	if err != nil {
		return err
	}
	var quiet, loud []time.Duration
	var checks, seconds float64
	for range blocks {
		more, err := b.measureOn(node, vip, times)
		if err != nil {
			return err
		}
		quiet = append(quiet, more...)
		// The checks go on for about as long as the repairs did.
		lasts := time.Duration(times) * (b.pace.gap*5/2 + time.Millisecond)
		type outcome struct {
			replies
			err error
		}
		done := make(chan outcome, 1)
		go func() {
			a, err := b.ask(site.Client, node.Addr.String()+":9380", false, lasts, besieged)
			done <- outcome{a, err}
		}()
		time.Sleep(lasts / 10)
		more, err = b.measureOn(node, vip, times*4/5)
		o := <-done
		if err != nil {
			return err
		}
		if o.err != nil {
			return o.err
		}
		loud = append(loud, more...)
		checks, seconds = checks+float64(o.Answers), seconds+o.Took.Seconds()
	}
	e.Quiet, e.Besieged, e.Checks = spreadOf(quiet), spreadOf(loud), checks/seconds
	return nil
}

// goOn turns into a command that has one processor: CPU COMMAND.
func goOn(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("cannot run on one processor with the arguments %q", args)
	}
	cpu, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	program, err := exec.LookPath(args[1])
	if err != nil {
		return err
	}
	if program, err = filepath.Abs(program); err != nil {
		return err
	}
	runtime.LockOSThread() // exec takes the attributes of this thread along
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("cannot run on processor %d: %v", cpu, err)
	}
	return unix.Exec(program, args[1:], os.Environ())
}
