package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rsagent/lab/network"
)

func TestAPromiseThatDoesNotHoldIsToldTwiceAndFails(t *testing.T) {
	var out strings.Builder
	story := teller{w: &out}
	story.title("1. A step")
	story.typed("web1", "rsagent check")
	story.quote("failed  tunnel/up: The device is up\n    cause   " + strings.Repeat("word ", 14))
	story.promise(true, "short")
	story.promise(false, "%s", strings.TrimSpace(strings.Repeat("long ", 15)))
	story.rows = append(story.rows, row{"1. a step", count{sent: 10, failed: 3, broken: 1}})
	status := story.conclude(time.Second)

	want := `
1. A step
   web1# rsagent check
   | failed  tunnel/up: The device is up
   |     cause   word word word word word word word word word word word word
   |             word word
   short                                                                  ok
   long long long long long long long long long long long long long long
   long                                                                   FAILED

requests                           sent  answered   failed    against a promise
1. a step                            10         7        3                    1

Not all that was promised held. 1 did not:
- long long long long long long long long long long long long long long long
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("story (-want +got):\n%s", diff)
	}
	if status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
}

func TestARunInWhichAllHeldExitsWithZero(t *testing.T) {
	var out strings.Builder
	story := teller{w: &out}
	story.promise(true, "short")
	if status := story.conclude(1234 * time.Millisecond); status != 0 {
		t.Errorf("exit status %d, want 0", status)
	}
	want := "\nAll that was promised held. That took 1.2 s.\n"
	if !strings.HasSuffix(out.String(), want) {
		t.Errorf("the story ends with %q, want %q", out.String(), want)
	}
}

func TestOnlyRequestsUnderWayInASpanMayFail(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	request := func(sent, took int, err string) network.Answer {
		return network.Answer{Sent: at(sent), Took: time.Duration(took) * time.Millisecond, Error: err}
	}
	broken := span{at(100), at(200)}
	for _, test := range []struct {
		name    string
		request network.Answer
		want    count
	}{
		{"an answer is no failure", request(150, 10, ""), count{1, 0, 0}},
		{"a failure that ended before is not excused", request(50, 40, "refused"), count{1, 1, 1}},
		{"one under way when it broke is excused", request(50, 60, "reset"), count{1, 1, 0}},
		{"one sent while it was broken is excused, however long it took", request(199, 3000, "timeout"), count{1, 1, 0}},
		{"one that was there all the time is excused", request(50, 3000, "timeout"), count{1, 1, 0}},
		{"one sent after the repair is not excused", request(200, 10, "refused"), count{1, 1, 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := counted(network.Answers{test.request}, broken); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestLogLinesInShort(t *testing.T) {
	log := `{"level":"info","condition":"tunnel/up","what":"device tunl0","old":"down","new":"up","message":"repaired"}
not JSON
{"level":"info","waited_notice":"4s","waited_connections":"1.5s","connections_left":2,"message":"drain ended"}
`
	if got, want := repairs(log), "tunnel/up, down -> up"; got != want {
		t.Errorf("repairs: %q, want %q", got, want)
	}
	want := "drain ended: waited 4s for directors, 1.5s for connections, 2 left"
	if got := drainEnd(log); got != want {
		t.Errorf("the end of the drain: %q, want %q", got, want)
	}
	if got, want := repairs("")+drainEnd(""), "(nothing in its log)(no end of the drain in its log)"; got != want {
		t.Errorf("of an empty log: %q, want %q", got, want)
	}
}
