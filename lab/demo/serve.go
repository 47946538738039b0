package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"rsagent/lab/network"
)

// config is what the nodes run with. Both have the same.
const config = `vips      = ["10.9.0.100"]
directors = ["10.9.0.21", "10.9.0.22"]

[drain]
notice = "4s"

[[pool]]
name  = "http-pool"
vip   = "10.9.0.100"
port  = 80
probe = { type = "http", interval = "1s", rise = 1, fall = 2 }
`

// begin starts rsagent on both nodes.
func (d *demo) begin() (count, error) {
	for _, node := range d.site.Nodes() {
		state, err := inWords(node)
		if err != nil {
			return count{}, err
		}
		d.say("%s before: %s", node.Name, state)
	}
	d.say("Each gets this rsagent.toml, and rsagent run:")
	d.quote(config)
	for _, node := range d.site.Nodes() {
		if err := d.startAgent(node); err != nil {
			return count{}, err
		}
		took := time.Since(d.agents[node].Started)
		state, err := inWords(node)
		if err != nil {
			return count{}, err
		}
		d.promise(true, "%s: /ready after %s; %s", node.Name, inSeconds(took), state)
	}
	err := d.site.Dir1.UntilDirects(d.site.Nodes()...)
	if err == nil {
		d.promise(true, "dir1 sends both nodes traffic")
	}
	return count{}, err
}

// startAgent starts rsagent on a node and waits until it is ready.
func (d *demo) startAgent(node *network.Host) (err error) {
	if d.agents[node], err = node.StartAgent(config); err != nil {
		return err
	}
	return node.UntilReady()
}

// inWords says what LVS-TUN needs of a node and what there is of it.
func inWords(node *network.Host) (string, error) {
	var words []string
	if _, err := os.Stat("/sys/module/ipip"); errors.Is(err, os.ErrNotExist) {
		words = append(words, "ipip not loaded")
	}
	err := node.Do(func() error {
		tunl0, err := net.InterfaceByName("tunl0")
		if err != nil {
			words = append(words, "no tunl0")
			return nil
		}
		addresses, err := tunl0.Addrs()
		words = append(words, fmt.Sprintf("tunl0 %s %v", inAWord(tunl0.Flags), addresses))
		return err
	})
	if err != nil {
		return "", err
	}
	for _, setting := range []string{"arp_ignore", "arp_announce"} {
		value, err := node.Sysctl("net/ipv4/conf/all/" + setting)
		if err != nil {
			return "", err
		}
		words = append(words, setting+" "+value)
	}
	return strings.Join(words, ", "), nil
}

func inAWord(flags net.Flags) string {
	if flags&net.FlagUp != 0 {
		return "up"
	}
	return "down"
}

// serve sends requests through the VIP and looks at what passes the director.
func (d *demo) serve() (count, error) {
	const requests = 100
	capture, err := d.site.StartCapture()
	if err != nil {
		return count{}, err
	}
	answers := d.site.Client.Requests(requests)
	frames, err := capture.Stop()
	if err != nil {
		return counted(answers), err
	}
	c := counted(answers)
	byNode := answers.ByNode()
	d.promise(c.failed == 0 && byNode["web1"] > 0 && byNode["web2"] > 0, "%v", answers)

	var wrapped, passed, straight int
	for _, f := range frames {
		p := f.Packet
		switch {
		case p == nil:
		case f.Host == "dir1" && f.Sent && p.Inner != nil && p.Inner.To == network.VIP:
			wrapped++
		case f.Host == "dir1" && p.From == network.VIP:
			passed++
		case f.Host == "client" && !f.Sent && p.From == network.VIP:
			straight++
		}
	}
	d.promise(wrapped > 0 && straight > 0 && passed == 0,
		"Packets: %d in through dir1; %d out straight, %d out through dir1", wrapped, straight, passed)
	return c, nil
}

// arp shows that nobody but the directors ever said that the VIP is theirs.
func (d *demo) arp() (count, error) {
	asked, err := d.asker.Stop()
	if err != nil {
		return count{}, err
	}
	frames, err := d.capture.Stop()
	if err != nil {
		return count{}, err
	}
	directors, nodes := 0, 0
	for _, f := range frames {
		switch {
		case !f.Sent || !f.ARP.Claims(network.VIP):
		case f.Host == "web1" || f.Host == "web2":
			nodes++
		default:
			directors++
		}
	}
	d.promise(nodes == 0 && directors > 0,
		"The client asked by ARP %d times. \"I have it\" said the directors %d times, the nodes %d times.",
		asked, directors, nodes)
	return count{}, nil
}
