package path

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Queue is a queueing discipline.
type Queue struct {
	Link    string
	Kind    string
	Root    bool    // of what the link sends
	Parent  string  // as tc(8) names it, such as 1:3; empty: it is the root
	Loss    float64 // of netem, from 0 to 1
	ingress bool
	clsact  bool
	index   int

	Before, After Traffic       // when it was looked at, and once more
	Watched       time.Duration // the time between; 0: it was looked at once only
}

// Traffic is what became of the packets that a queue was given.
type Traffic struct {
	Bytes                 uint64 // sent
	Packets               uint32 // the same
	Waiting, WaitingBytes uint32 // packets and bytes that are in it
	Dropped               uint32 // packets
}

// Hook tells what is no queue, but where filters of tc are.
func (q Queue) Hook() bool { return q.ingress || q.clsact }

// Sent is what the queue let out while it was watched.
func (q Queue) Sent() (packets uint32, bytes uint64) {
	return q.After.Packets - q.Before.Packets, q.After.Bytes - q.Before.Bytes
}

// Lost is what it dropped meanwhile.
func (q Queue) Lost() uint32 { return q.After.Dropped - q.Before.Dropped }

// Wait is how long a packet that comes now has to wait for those before it, as fast
// as it went while the queue was watched. If nothing went it is longer than Watched,
// and nobody knows how long; then stuck is true. A queue that was empty at either
// time makes nobody wait.
func (q Queue) Wait() (wait time.Duration, stuck bool) {
	_, sent := q.Sent()
	switch {
	case q.Watched == 0 || q.Before.Waiting == 0 || q.After.Waiting == 0:
		return 0, false
	case sent == 0:
		return q.Watched, true
	}
	return time.Duration(float64(q.After.WaitingBytes) / float64(sent) * float64(q.Watched)), false
}

// queues lists the queueing disciplines, with those that a class has by itself:
// RTM_GETQDISC, struct tcmsg.
func queues(links []Link) ([]Queue, error) {
	body := binary.NativeEndian.AppendUint16(make([]byte, 20), unix.SizeofRtAttr)
	list, err := dump(unix.RTM_GETQDISC, unix.RTM_NEWQDISC, binary.NativeEndian.AppendUint16(body, tcaInvisible))
	if err != nil {
		return nil, fmt.Errorf("cannot list the queues of the links: %w", err)
	}
	var all []Queue
	for _, b := range list {
		if len(b) < 20 {
			return nil, fmt.Errorf("the kernel describes a queue in %d bytes", len(b))
		}
		index := int(binary.NativeEndian.Uint32(b[4:]))
		l := linkOf(links, func(l Link) bool { return l.Index == index })
		if l == nil {
			continue // it has come since, or gone
		}
		q := Queue{Link: l.Name, index: index, Root: binary.NativeEndian.Uint32(b[12:]) == rootParent}
		if parent := binary.NativeEndian.Uint32(b[12:]); !q.Root {
			q.Parent = fmt.Sprintf("%x:%x", parent>>16, parent&0xffff)
		}
		var options []byte
		err := attributes(b[20:], func(kind uint16, v []byte) error {
			switch kind {
			case tcaKind:
				q.Kind = text(v)
			case tcaOptions:
				options = v
			case tcaStats2:
				return q.Before.read(v)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		q.ingress, q.clsact = q.Kind == "ingress", q.Kind == "clsact"
		if q.Kind == "netem" && len(options) >= 12 { // struct tc_netem_qopt
			q.Loss = float64(binary.NativeEndian.Uint32(options[8:])) / (1<<32 - 1)
		}
		all = append(all, q)
	}
	return all, nil
}

// read takes the statistics of a queue: struct gnet_stats_basic and
// gnet_stats_queue, linux/gen_stats.h.
func (t *Traffic) read(b []byte) error {
	const basic, queue = 1, 3
	return attributes(b, func(kind uint16, v []byte) error {
		switch {
		case kind == basic && len(v) >= 12:
			t.Bytes, t.Packets = binary.NativeEndian.Uint64(v), binary.NativeEndian.Uint32(v[8:])
		case kind == queue && len(v) >= 12:
			t.Waiting, t.WaitingBytes = binary.NativeEndian.Uint32(v), binary.NativeEndian.Uint32(v[4:])
			t.Dropped = binary.NativeEndian.Uint32(v[8:])
		}
		return nil
	})
}

// A queue that seems to hold back packets for longer than LongWait is watched for
// longWatch. LongWait is when a client that got no answer asks again (RFC 6298,
// section 2).
const (
	LongWait  = time.Second
	longWatch = LongWait + LongWait/10
)

// lookAtQueuesAgain sees what the queues have done meanwhile.
func (f *Facts) lookAtQueuesAgain(q Question) {
	if f.QueuesErr != nil || f.LinksErr != nil {
		return
	}
	f.compareQueues()
	half := slices.ContainsFunc(f.Trials, func(t Trial) bool { return t.Half && !t.Answered() })
	slow := slices.ContainsFunc(f.Queues, func(one Queue) bool {
		wait, stuck := one.Wait()
		out := slices.Contains(q.Facing, one.index) || one.index == f.Gateway.Link || slices.Contains(f.Beneath, one.index)
		// What a branch of a tree keeps is of no concern as long as all is answered.
		return out && (stuck || wait > LongWait) && f.Telling(one) && (half || one.Root)
	})
	if left := longWatch - time.Since(f.queuesAt); slow && left > 0 {
		time.Sleep(left)
		f.compareQueues()
	}
}

// Telling tells which queue of a link says what becomes of its packets: the root, or,
// where that has several queues below, of which some may be idle and others full,
// each of these.
func (f *Facts) Telling(q Queue) bool {
	below := 0
	for _, o := range f.Queues {
		if o.Link == q.Link && o.Parent != "" && !o.Hook() {
			below++
		}
	}
	return q.Root == (below < 2)
}

func (f *Facts) compareQueues() {
	now, err := queues(f.Links)
	watched := time.Since(f.queuesAt)
	if err != nil {
		return // it is as if they had been looked at once only
	}
	for i := range f.Queues {
		q := &f.Queues[i]
		at := slices.IndexFunc(now, func(o Queue) bool {
			return o.index == q.index && o.Kind == q.Kind && o.Parent == q.Parent && o.Root == q.Root
		})
		// One that was made anew counts from nothing.
		if at >= 0 && now[at].Before.Bytes >= q.Before.Bytes {
			q.After, q.Watched = now[at].Before, watched
		}
	}
}
