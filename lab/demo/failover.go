package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"rsagent/lab/network"
)

// failOver takes dir1 off the network.
func (d *demo) failOver() (count, error) {
	var watches []*network.Writes
	for _, node := range d.site.Nodes() {
		w, err := node.WatchWrites("net/ipv4/conf/*/arp_ignore", "net/ipv4/conf/*/arp_announce", "net/ipv4/conf/*/rp_filter")
		if err != nil {
			return count{}, err
		}
		watches = append(watches, w)
	}
	load := d.site.Client.StartLoad(15)
	time.Sleep(500 * time.Millisecond)
	gone, err := d.switchDirectors()
	time.Sleep(2 * time.Second)
	answers := load.Stop()
	var written []string
	for _, w := range watches {
		seen, stopErr := w.Stop()
		written, err = append(written, seen...), errors.Join(err, stopErr)
	}
	c := counted(answers, gone)
	if err != nil {
		return c, err
	}
	after := answers.Between(gone.to, time.Now())
	byNode := after.ByNode()
	d.say("%d requests failed until then. How fast VRRP is, rsagent cannot promise.", c.failed-c.broken)
	d.promise(c.broken == 0 && byNode["web1"] > 0 && byNode["web2"] > 0, "Through dir2: %v", after)
	d.promise(len(written) == 0, "Changed on the nodes for it: %s", changes(written))
	return c, nil
}

func changes(written []string) string {
	if len(written) == 0 {
		return "nothing"
	}
	return strings.Join(written, ", ")
}

// switchDirectors says from when to when neither director worked.
func (d *demo) switchDirectors() (span, error) {
	d.typed("dir1", "ip link set eth0 down")
	down := time.Now()
	if err := d.site.Dir1.IP("link set eth0 down"); err != nil {
		return span{}, err
	}
	if !until(func() bool { return hasVIP(d.site.Dir2) }) {
		return span{}, fmt.Errorf("dir2 does not take the VIP within %v", patience)
	}
	took := time.Now()
	d.say("keepalived on dir2 takes the VIP after %s.", inSeconds(took.Sub(down)))
	return span{down, took}, nil
}

func hasVIP(director *network.Host) bool {
	has := false
	err := director.Do(func() error {
		eth0, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		addresses, err := eth0.Addrs()
		has = slices.ContainsFunc(addresses, func(a net.Addr) bool { return a.String() == network.VIP.String()+"/32" })
		return err
	})
	return err == nil && has
}
