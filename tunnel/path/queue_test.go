package path

import (
	"net"
	"testing"
	"time"
)

func TestHowLongAQueueMakesPacketsWait(t *testing.T) {
	full := Traffic{Bytes: 5000, Packets: 5, Waiting: 9, WaitingBytes: 9000}
	after := func(sent uint64, waiting uint32) Traffic {
		return Traffic{Bytes: 5000 + sent, Waiting: waiting, WaitingBytes: 1000 * waiting}
	}
	for _, x := range []struct {
		name   string
		before Traffic
		after  Traffic
		wait   time.Duration
		stuck  bool
	}{
		{"it was empty", Traffic{}, after(0, 3), 0, false},
		{"it is empty", full, after(9000, 0), 0, false},
		{"it goes on", full, after(1000, 10), 20 * time.Second, false},
		{"it goes on fast", full, after(2_000_000, 10), 10 * time.Millisecond, false},
		{"it stands still", full, after(0, 20), 2 * time.Second, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			wait, stuck := Queue{Before: x.before, After: x.after, Watched: 2 * time.Second}.Wait()
			if wait != x.wait || stuck != x.stuck {
				t.Errorf("got %s, stuck %t, want %s, %t", wait, stuck, x.wait, x.stuck)
			}
		})
	}
	if wait, stuck := (Queue{Before: full, After: full}).Wait(); wait != 0 || stuck {
		t.Errorf("one that was looked at once makes wait %s, stuck %t", wait, stuck)
	}
}

func TestWhatAQueueDoesWhileItIsWatched(t *testing.T) {
	const known = "ip addr add 10.9.0.31/24 dev eth0; ip neigh add 10.9.0.99 lladdr 02:00:00:00:00:09 dev eth0"
	for _, x := range []struct {
		name, queue, kind, parent string
		stuck                     bool
		lost                      bool
	}{
		{"a shaper that lets nothing out", "tc qdisc add dev eth0 root tbf rate 8bit burst 1600 limit 60000", "tbf", "", true, false},
		{"a class that lets nothing out", "tc qdisc add dev eth0 root handle 1: htb default 10; tc class add dev eth0 parent 1: classid 1:10 htb rate 64bit ceil 64bit burst 1600 cburst 1600", "pfifo", "1:10", true, false},
		{"a shaper that takes nothing", "tc qdisc add dev eth0 root tbf rate 8kbit burst 200 limit 60000", "tbf", "", false, true},
		{"no shaper", "true", "noqueue", "", false, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			enterNamespace(t, known, x.queue)
			fill(t)
			all, err := links()
			if err != nil {
				t.Fatal(err)
			}
			f := Facts{Links: all, Trials: []Trial{{Half: true}}, queuesAt: time.Now()}
			if f.Queues, err = queues(all); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			fill(t)
			f.lookAtQueuesAgain(questionOn(all))
			took := time.Since(began)
			for _, q := range f.Queues {
				if q.Link != "eth0" || q.Kind != x.kind || q.Parent != x.parent {
					continue
				}
				if _, stuck := q.Wait(); stuck != x.stuck || (q.Lost() > 0) != x.lost {
					t.Errorf("stuck %t, want %t; lost %d, want some: %t: %+v", stuck, x.stuck, q.Lost(), x.lost, q)
				}
				if long := took > LongWait; long != x.stuck {
					t.Errorf("it was watched for %s", took)
				}
				return
			}
			t.Errorf("there is no %s on eth0: %+v", x.kind, f.Queues)
		})
	}
}

// fill sends so much that a queue has to keep or drop some of it.
func fill(t *testing.T) {
	t.Helper()
	conn, err := net.Dial("udp4", "10.9.0.99:9")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 10 {
		_, _ = conn.Write(make([]byte, 1300)) // a queue that takes nothing is an error here
	}
}
