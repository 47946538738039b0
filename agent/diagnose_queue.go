package agent

import (
	"fmt"
	"slices"
	"time"

	"rsagent/agent/health"
	"rsagent/tunnel/path"
)

// queuesLetOut wants the queues of the links by which answers go to send what they
// are given. What goes by a branch of a tree is known by what does not come out of
// it.
func queuesLetOut() Condition {
	return queuesHold(Condition{
		ID: pathLossID, Title: "No queue keeps or loses what this node sends", Effect: answerLost, Severity: health.Required,
	}, func(n Node, q path.Queue) string {
		half := anyHalf(&n.Examined.Path)
		switch {
		case q.Loss >= 0.5 && (q.Root || half):
			return losesAtRandom(q)
		case !n.Examined.Path.Telling(q) || !half && !q.Root:
			return ""
		case dropsAll(q):
			return fmt.Sprintf("%s dropped %d packets and sent none", inWordsOfTC(&n.Examined.Path, q), q.Lost())
		case half && holdsBack(q):
			return keeps(&n.Examined.Path, q)
		}
		return ""
	})
}

// queuesAreQuick wants them to be quick besides.
func queuesAreQuick() Condition {
	return queuesHold(Condition{
		ID: "path/queue", Needs: []string{pathLossID}, Title: "No queue keeps for long, or loses, some of what this node sends",
		Effect: "Answers are slow: packets wait, or are lost and sent again.", Severity: health.Advisory,
	}, func(n Node, q path.Queue) string {
		switch {
		case q.Root && q.Loss >= 1e-9 && q.Loss < 0.5:
			return losesAtRandom(q)
		case q.Root && n.Examined.Path.Telling(q) && oneAfterAnother[q.Kind] && holdsBack(q):
			return keeps(&n.Examined.Path, q)
		}
		return ""
	})
}

// queuesHold fails for a queue on the way out of which something is said.
func queuesHold(c Condition, says func(Node, path.Queue) string) Condition {
	c.Evaluate = func(n Node) Verdict {
		f := &n.Examined.Path
		v := Verdict{Status: health.OK, Want: "none", Got: "none found"}
		if f.QueuesErr != nil {
			return unknown(v.Want, f.QueuesErr)
		}
		for _, q := range f.Queues {
			l := f.Named(q.Link)
			if l == nil || !slices.Contains(n.Facing, l.Index) && l.Index != f.Gateway.Link && !slices.Contains(f.Beneath, l.Index) {
				continue
			}
			if got := says(n, q); got != "" {
				v.Status, v.Got = health.Failed, got
				v.Cause, v.Remedy = behindQueue(rootOver(f, q), q)
				return v
			}
		}
		return v
	}
	return c
}

func losesAtRandom(q path.Queue) string {
	return fmt.Sprintf("netem on %s drops %.3g %%", q.Link, 100*q.Loss)
}

// dropsAll tells of a queue that has let out nothing of what it was given.
func dropsAll(q path.Queue) bool {
	const few = 3
	packets, _ := q.Sent()
	return q.Watched > 0 && packets == 0 && q.Lost() >= few
}

// holdsBack tells of one in which packets wait for so long that clients ask again.
func holdsBack(q path.Queue) bool {
	wait, _ := q.Wait()
	return wait > path.LongWait
}

func keeps(f *path.Facts, q path.Queue) string {
	packets, _ := q.Sent()
	got := fmt.Sprintf("%s let out %d packets within %s, and %d wait", inWordsOfTC(f, q), packets, q.Watched.Round(100*time.Millisecond), q.After.Waiting)
	if wait, stuck := q.Wait(); !stuck {
		got += fmt.Sprintf(": for %s", wait.Round(time.Second/10))
	}
	return got
}

// rootOver is the root of the tree that a queue is in, or the queue itself.
func rootOver(f *path.Facts, q path.Queue) path.Queue {
	for _, o := range f.Queues {
		if o.Link == q.Link && o.Root {
			return o
		}
	}
	return q
}

// inWordsOfTC is a queue by its name, or by the class of a shaper that it is in.
func inWordsOfTC(f *path.Facts, q path.Queue) string {
	if root := rootOver(f, q); !q.Root && unshaped[q.Kind] && !unshaped[root.Kind] {
		return fmt.Sprintf("class %s of %s on %s", q.Parent, root.Kind, q.Link)
	}
	return fmt.Sprintf("%s on %s", q.Kind, q.Link)
}

// oneAfterAnother are the kinds that send what came first. Others let those pass
// that send little, so that what waits there says nothing of them.
var oneAfterAnother = map[string]bool{"pfifo": true, "bfifo": true, "pfifo_fast": true, "tbf": true, "netem": true}

// unshaped are the kinds that the kernel gives a link unasked, and that hold back
// nothing by themselves.
var unshaped = map[string]bool{"pfifo": true, "bfifo": true, "pfifo_fast": true, "mq": true, "fq_codel": true, "fq": true, "noqueue": true}

// behindQueue says who has made the queue as it is, and how to undo that.
func behindQueue(root, q path.Queue) (cause, remedy string) {
	switch {
	case q.Loss > 0 && q.Root:
		return "somebody has made a test of a bad network on this link", fmt.Sprintf("tc qdisc del dev %s root", q.Link)
	case q.Loss > 0:
		return "somebody has made a test of a bad network on this link", fmt.Sprintf("tc qdisc del dev %s parent %s", q.Link, q.Parent)
	case !unshaped[q.Kind] && !q.Root:
		return "a shaper lets too little through", fmt.Sprintf("tc qdisc del dev %s parent %s   # or give it the rate that it should have: tc qdisc change", q.Link, q.Parent)
	case !unshaped[root.Kind]:
		change := "tc qdisc change"
		if !q.Root {
			change = fmt.Sprintf("tc class change dev %s classid %s", q.Link, q.Parent)
		}
		return "a shaper lets too little through", fmt.Sprintf("tc qdisc del dev %s root   # this ends all shaping there; or give it the rate that it should have: %s", q.Link, change)
	}
	return "no shaper is there: the link stands still, or what it is connected to holds it back",
		fmt.Sprintf("look at it: ip -s link show dev %s; ethtool -S %[1]s; ethtool -a %[1]s", q.Link)
}

// anyHalf tells whether a trial has arrived, and nothing came of it.
func anyHalf(f *path.Facts) bool {
	return slices.ContainsFunc(unserved(f), func(t path.Trial) bool { return t.Half })
}
