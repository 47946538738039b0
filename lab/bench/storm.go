package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"rsagent/lab/network"
)

// storm is how repairs fare while somebody else changes addresses and routes as
// fast as the kernel takes them.
type storm struct {
	Changes int           `json:"changes"`
	Took    time.Duration `json:"took_ns"`
	Back    spread        `json:"back"` // from a VIP's deletion until it is back
	Before  held          `json:"before"`
	Peak    int           `json:"peak_rss_kib"`
	After   held          `json:"after"`
}

// held is what the daemon holds.
type held struct {
	RSS         int `json:"rss_kib"`
	Descriptors int `json:"descriptors"`
	Goroutines  int `json:"goroutines"`
}

const (
	stormChanges = 50_000
	stormVIPs    = 20
	stormDevice  = "storm0"
	// afterStorm is how long the daemon gets to come to rest.
	afterStorm = 30 * time.Second
)

// storm has one node only, with several VIPs.
func (b *bench) storm() (*storm, error) {
	b.say("deleting VIPs during a storm of %d changes", stormChanges)
	site, err := network.New()
	if err != nil {
		return nil, err
	}
	defer site.Close()
	node := site.Web1
	if err := b.giveDevice(node); err != nil {
		return nil, err
	}
	if err := node.IP("link add "+stormDevice+" type veth peer name storm1", "link set "+stormDevice+" up"); err != nil {
		return nil, err
	}
	d, err := startDaemon(node, b.agent, manyVIPs(stormVIPs)+neverGiveUp)
	if err != nil {
		return nil, err
	}
	defer d.end()
	p := d.process
	time.Sleep(rest)
	var s storm
	if s.Before, err = holding(node, p); err != nil {
		return nil, err
	}
	watch := watchRSS(p)
	out, err := node.Run(b.self, "storm", strconv.Itoa(stormChanges), strconv.Itoa(stormVIPs))
	s.Peak = watch()
	if err != nil {
		return nil, fmt.Errorf("%v\n%s", err, daemonLog(node))
	}
	var weathered weathered
	if err := json.Unmarshal([]byte(out), &weathered); err != nil {
		return nil, fmt.Errorf("cannot understand how the storm went: %v: %s", err, out)
	}
	s.Changes, s.Took, s.Back = stormChanges, weathered.Took, spreadOf(weathered.Back)
	time.Sleep(afterStorm)
	s.After, err = holding(node, p)
	return &s, err
}

// watchRSS follows the memory of a process until what it returns is called,
// which returns the most there was.
func watchRSS(p *network.Process) func() int {
	end, most := make(chan struct{}), make(chan int)
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		peak := 0
		for {
			if rss, err := field(procFile(p, "smaps_rollup"), "Rss:"); err == nil {
				peak = max(peak, rss)
			}
			select {
			case <-tick.C:
			case <-end:
				most <- peak
				return
			}
		}
	}()
	return func() int { close(end); return <-most }
}

func procFile(p *network.Process, name string) string {
	return filepath.Join("/proc", strconv.Itoa(p.PID()), name)
}

// holding is what the daemon holds now, with the goroutines as it counts them
// itself. The connection that asks for those is gone before the descriptors are
// counted.
func holding(h *network.Host, p *network.Process) (held, error) {
	status, metrics, err := h.Get(fmt.Sprintf("http://%s:9380/metrics", h.Addr))
	if err != nil || status != 200 {
		return held{}, fmt.Errorf("cannot ask for metrics: status %d: %v", status, err)
	}
	var now held
	for line := range strings.Lines(metrics) {
		if words := strings.Fields(line); len(words) == 2 && words[0] == "go_goroutines" {
			if now.Goroutines, err = strconv.Atoi(words[1]); err != nil {
				return held{}, err
			}
		}
	}
	time.Sleep(100 * time.Millisecond)
	descriptors, err := os.ReadDir(procFile(p, "fd"))
	if err != nil {
		return held{}, err
	}
	now.Descriptors = len(descriptors)
	now.RSS, err = field(procFile(p, "smaps_rollup"), "Rss:")
	return now, err
}

// weathered is what a storm came to.
type weathered struct {
	Took time.Duration   `json:"took"`
	Back []time.Duration `json:"back"`
}

// weather raises a storm and deletes one VIP after the other until it is over.
func weather(changes, count int, w io.Writer) error {
	runtime.LockOSThread()
	var names []string
	for _, v := range vips(count) {
		names = append(names, v.String())
	}
	drifts, err := openAddresses(names...)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	var result weathered
	go func() {
		runtime.LockOSThread()
		began := time.Now()
		err := rage(stormDevice, changes)
		result.Took = time.Since(began)
		done <- err
	}()
	var back []time.Duration
	for {
		select {
		case err := <-done:
			if err != nil {
				return err
			}
			result.Back = back
			return json.NewEncoder(w).Encode(result)
		default:
		}
		took, err := one(drifts[len(back)%count])
		if err != nil {
			return err
		}
		back = append(back, took)
		time.Sleep(time.Millisecond)
	}
}

// rage makes changes on a device that is nobody's concern: it adds an address
// and a route and takes them away again.
func rage(name string, changes int) error {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	fd, err := netlinkSocket(0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	address := netip.MustParseAddr("10.128.0.1")
	for made := 0; made < changes; address = address.Next() {
		for _, request := range unrelated(link.Index, address) {
			if err := asked(fd, request); err != nil {
				return fmt.Errorf("cannot make change %d of the storm: %v", made+1, err)
			}
			made++
		}
	}
	return nil
}

func unrelated(index int, address netip.Addr) [][]byte {
	const add = unix.NLM_F_ACK | unix.NLM_F_CREATE | unix.NLM_F_EXCL
	return [][]byte{
		addressRequest(unix.RTM_NEWADDR, add, index, address),
		routeRequest(unix.RTM_NEWROUTE, add, index, address),
		routeRequest(unix.RTM_DELROUTE, unix.NLM_F_ACK, index, address),
		addressRequest(unix.RTM_DELADDR, unix.NLM_F_ACK, index, address),
	}
}

// routeRequest is a route by the device to the network 172.16.0.0/12 has at that
// place.
func routeRequest(kind, flags, index int, like netip.Addr) []byte {
	to := like.As4()
	to[0] = 172
	r := nl.NewNetlinkRequest(kind, flags)
	head := nl.NewRtMsg()
	head.Family, head.Dst_len, head.Scope = unix.AF_INET, 32, unix.RT_SCOPE_LINK
	r.AddData(head)
	r.AddData(nl.NewRtAttr(unix.RTA_DST, to[:]))
	r.AddData(nl.NewRtAttr(unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, uint32(index))))
	return r.Serialize()
}

// asked sends a request and waits for the kernel's answer.
func asked(fd int, request []byte) error {
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	if n < unix.SizeofNlMsghdr+4 {
		return errors.New("the kernel's answer is too short")
	}
	if code := int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}
