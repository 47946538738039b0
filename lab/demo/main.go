// Demo shows on real parts what rsagent is for: two bare web nodes behind two
// directors are made to serve through the tunnel, are broken, mended and
// drained, while a client sends requests. It runs on the lab's machine:
//
//	bin/lab exec --with bin/rsagent bin/demo
//
// Its exit status is 0 if all that rsagent promises held, 1 if something did
// not, and 2 if it could not begin.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"rsagent/lab/network"
)

// step is one chapter. What it counts goes into the table at the end.
type step struct {
	title string
	short string // in the table; empty if the step sends no requests
	show  func(*demo) (count, error)
	alone bool // it builds on no other step
}

// story is the whole demo, from top to bottom.
func story() []step {
	return []step{
		{title: "Two bare nodes get rsagent", show: (*demo).begin},
		{title: "100 requests to the VIP", show: (*demo).serve, short: "through the VIP"},
		{title: "Somebody breaks web1 three times, under load", show: (*demo).mend, short: "web1 broken, three ways"},
		{title: "rsagent on web1 is killed, then web1 is broken", show: (*demo).kill, short: "rsagent killed on web1"},
		{title: "web2 is taken out of service, under load", show: (*demo).drain, short: "web2 drained and stopped"},
		{title: "A director dies, under load", show: (*demo).failOver, short: "dir1 dies"},
		{title: "All the while: who has the VIP?", show: (*demo).arp, alone: true},
	}
}

const picture = `
Two web nodes behind Linux Virtual Server, in tunnelling mode

   client 10.9.0.10  asks http://10.9.0.100/, the VIP
     |
     v
   dir1 10.9.0.21, dir2 10.9.0.22    keepalived: one of them has the VIP
     |                               IPVS wraps each packet in IPIP and hands
     v                               it to a node
   web1 10.9.0.31, web2 10.9.0.32    tunl0 unwraps it; nginx answers, straight
                                     to the client; rsagent keeps that right
`

// demo is what the steps share.
type demo struct {
	teller
	site    *network.Site
	capture *network.Capture // of all that happens
	asker   *network.Asker   // of ARP for the VIP

	nginx, agents map[*network.Host]*network.Process
}

func main() {
	os.Exit(run())
}

func run() int {
	began := time.Now()
	d := &demo{
		teller: teller{w: os.Stdout},
		nginx:  make(map[*network.Host]*network.Process),
		agents: make(map[*network.Host]*network.Process),
	}
	d.raw(picture)
	err := d.setUp()
	if err == nil {
		d.tell(story())
		err = d.keepLogs()
	}
	if d.site != nil {
		err = errors.Join(err, d.site.Close())
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		return 2
	}
	return d.conclude(time.Since(began))
}

// setUp makes the network, with all that a site has today on it except the
// set-up of the nodes.
func (d *demo) setUp() error {
	began := time.Now()
	d.say("Starting the directors, and nginx on the nodes ...")
	if err := network.UnloadIPIP(); err != nil {
		return err
	}
	var err error
	if d.site, err = network.New(); err != nil {
		return err
	}
	if d.capture, err = d.site.StartCapture(); err != nil {
		return err
	}
	if d.asker, err = d.site.Client.StartAsking(network.VIP); err != nil {
		return err
	}
	for i, director := range d.site.Directors() {
		keepalived := network.Keepalived{Priority: 250 - 10*i, Nodes: d.site.Nodes(), Inhibit: true}
		if _, err := director.StartKeepalived(keepalived); err != nil {
			return err
		}
	}
	for _, node := range d.site.Nodes() {
		if d.nginx[node], err = node.StartNginx(); err != nil {
			return err
		}
	}
	if err := d.site.Dir1.UntilDirects(); err != nil {
		return err
	}
	d.say("They run after %s. dir1 has the VIP.", inSeconds(time.Since(began)))
	return nil
}

// tell shows the steps. After one that cannot go on, it leaves out those that
// build on it.
func (d *demo) tell(steps []step) {
	stopped := false
	for i, s := range steps {
		if stopped && !s.alone {
			continue
		}
		d.title(fmt.Sprintf("%d. %s", i+1, s.title))
		c, err := s.show(d)
		if s.short != "" {
			d.rows = append(d.rows, row{fmt.Sprintf("%d. %s", i+1, s.short), c})
		}
		if err != nil {
			first, _, _ := strings.Cut(err.Error(), "\n")
			d.promise(false, "%s", first)
			d.say("What builds on this is left out.")
			stopped = true
		}
	}
}

// keepLogs leaves what all hosts wrote, if something did not hold.
func (d *demo) keepLogs() error {
	out := os.Getenv("LAB_OUT")
	if len(d.broken) == 0 || out == "" {
		return nil
	}
	var b strings.Builder
	for _, h := range d.site.Hosts() {
		b.WriteString(h.Logs())
	}
	if err := os.WriteFile(filepath.Join(out, "demo.log"), []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("cannot keep the logs: %v", err)
	}
	d.say("What every program wrote is in demo.log, in lab-out or LAB_OUT.")
	return nil
}
