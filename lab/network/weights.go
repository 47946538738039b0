package network

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"time"
)

// WeightWatch notes which weights a director gives a node, from when on.
type WeightWatch struct {
	stop chan struct{}
	over sync.WaitGroup

	mu      sync.Mutex
	changes []weighed
	err     error
}

type weighed struct {
	at     time.Time
	weight int // -1: the director does not have the node
}

// watchPause is how late a change is noted at most, on a machine that is not busy.
const watchPause = 10 * time.Millisecond

// WatchWeight begins to note the weight that the host, a director, gives a node
// for port 80. It reads what the kernel acts on, ip_vs of proc(5).
func (h *Host) WatchWeight(node *Host) *WeightWatch {
	w := &WeightWatch{stop: make(chan struct{})}
	real := fmt.Sprintf("%08X:%04X", binary.BigEndian.Uint32(node.Addr.AsSlice()), 80)
	w.over.Go(func() {
		err := h.Do(func() error { return w.look(real) })
		w.mu.Lock()
		defer w.mu.Unlock()
		w.err = err
	})
	return w
}

func (w *WeightWatch) look(real string) error {
	last := -1
	for {
		text, err := os.ReadFile("/proc/thread-self/net/ip_vs")
		if err != nil {
			return err
		}
		if weight := weightIn(text, real); weight != last {
			w.note(weight)
			last = weight
		}
		select {
		case <-w.stop:
			return nil
		case <-time.After(watchPause):
		}
	}
}

// weightIn finds "  -> 0A09001F:0050 Tunnel 1 0 0", in whatever service.
func weightIn(text []byte, real string) int {
	for line := range bytes.Lines(text) {
		fields := bytes.Fields(line)
		var weight int
		if len(fields) < 4 || string(fields[1]) != real {
			continue
		}
		if _, err := fmt.Sscan(string(fields[3]), &weight); err == nil {
			return weight
		}
	}
	return -1
}

func (w *WeightWatch) note(weight int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changes = append(w.changes, weighed{time.Now(), weight})
}

// Since is from when on the director has given the weight that it gives now, and
// that weight; -1: it does not have the node.
func (w *WeightWatch) Since() (from time.Time, weight int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.changes) == 0 || w.err != nil {
		return time.Time{}, -1, w.err
	}
	last := w.changes[len(w.changes)-1]
	return last.at, last.weight, nil
}

// Stop ends the watch.
func (w *WeightWatch) Stop() {
	close(w.stop)
	w.over.Wait()
}
