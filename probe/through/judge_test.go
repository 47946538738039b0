package through

import (
	"bytes"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rsagent/packet"
)

var update = flag.Bool("update", false, "write the golden files anew")

func testAttempt() *attempt {
	return &attempt{
		real: testNode, outer: testDirector, from: netip.AddrPortFrom(testDirector, 40000), to: testVIP, seq: 7, id: 9, port: -1,
		sent: time.Now(), took: 400 * time.Microsecond, as: testVIP,
	}
}

func TestTheTunnelAndTheNodesWordTogether(t *testing.T) {
	ready := &readiness{state: Good, weight: 100, text: "ready"}
	draining := &readiness{state: Draining, text: "draining"}
	notReady := &readiness{state: Failed, text: "not ready: tunnel/up failed (status 503)"}
	deaf := &readiness{state: Failed, text: "no answer: not in time", deaf: true}
	for _, test := range []struct {
		name    string
		outcome outcome
		said    *readiness
		state   State
		weight  int
		why     string
		first   string // of what is likely
		code    int    // of weight 10
	}{
		{"a tunnel that serves is enough", granted, nil, Good, 100, "", "", 0},
		{"and a node that is ready", granted, ready, Good, 100, "", "", 0},
		{"a node with half its weight", granted, &readiness{state: Good, weight: 50}, Good, 50, "", "", 7},
		{"a node with next to none", granted, &readiness{state: Good, weight: 1}, Good, 1, "", "", 3},
		{"a node that drains", granted, draining, Draining, 0, "", "", 2},
		{"a node that is not ready", granted, notReady, Failed, 0, "it is not ready: not ready: tunnel/up failed", "", 1},
		{"a node that does not say", granted, deaf, Failed, 0, "whether it is ready cannot be learned: no answer: not in time", "rsagent does not run", 1},
		{"a node that is ready, and a dead tunnel", refused, ready, Failed, 0, "it refuses the connection", "nothing on the node listens", 1},
		{"a node that drains, and a dead tunnel", refused, draining, Failed, 0, "it refuses the connection", "what the node says of itself: draining", 1},
		{"a node that knows", silence, notReady, Failed, 0, "no SYN-ACK", "what the node says of itself: not ready: tunnel/up", 1},
		{"a node that is down", silence, deaf, Failed, 0, "no SYN-ACK", "the node as a whole is down", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := testAttempt()
			a.outcome = test.outcome
			r := a.judge(Question{Timeout: time.Second}, test.said)
			first := ""
			if len(r.Likely) > 0 {
				first = r.Likely[0]
			}
			if r.State != test.state || r.Weight != test.weight || !strings.HasPrefix(r.Why, test.why) || (r.Why == "") != (test.why == "") || !strings.HasPrefix(first, test.first) {
				t.Errorf("got %+v", r)
			}
			if code := r.ExitCode(10); code != test.code {
				t.Errorf("exits with %d, want %d", code, test.code)
			}
			if plain := r.PlainCode(); (plain == 0) != (test.state == Good) {
				t.Errorf("exits plainly with %d", plain)
			}
		})
	}
}

// goldenResults have one of each kind.
func goldenResults() []Result {
	var all []Result
	add := func(host byte, said *readiness, change func(*attempt)) {
		a := testAttempt()
		a.real = netip.AddrFrom4([4]byte{10, 9, 0, host})
		a.reporter = a.real
		change(a)
		all = append(all, a.judge(Question{Timeout: 2 * time.Second}, said))
	}
	ready := &readiness{state: Good, weight: 100, text: "ready"}
	add(31, ready, func(a *attempt) { a.outcome = granted })
	add(32, &readiness{state: Draining, text: "draining"}, func(a *attempt) { a.outcome = granted })
	add(33, &readiness{state: Good, weight: 30, text: "ready"}, func(a *attempt) { a.outcome = granted })
	add(34, ready, func(a *attempt) { a.strays = 0 })
	add(35, ready, func(a *attempt) {})
	add(36, &readiness{state: Failed, text: "not ready: tunnel/up failed (status 503)"}, func(a *attempt) { a.outcome, a.icmp = rejected, [2]byte{3, 3} })
	add(37, ready, func(a *attempt) { a.outcome = refused })
	add(38, nil, func(a *attempt) { a.fail(errors.New("this host has no route to 10.9.0.38: no route to host")) })
	add(39, ready, func(a *attempt) {
		a.outcome, a.icmp, a.inner, a.reporter = rejected, [2]byte{11, 0}, true, netip.MustParseAddr("10.9.0.1")
	})
	return all
}

func TestWhatPeopleAndMachinesRead(t *testing.T) {
	all := goldenResults()
	for name, write := range map[string]func(*bytes.Buffer) error{
		"table.txt":    func(b *bytes.Buffer) error { return Text(b, testVIP, all) },
		"good.txt":     func(b *bytes.Buffer) error { return Text(b, testVIP, all[:1]) },
		"draining.txt": func(b *bytes.Buffer) error { return Text(b, testVIP, all[1:2]) },
		"part.txt":     func(b *bytes.Buffer) error { return Text(b, testVIP, all[2:3]) },
		"silent.txt":   func(b *bytes.Buffer) error { return Text(b, testVIP, all[3:4]) },
		"all.json":     func(b *bytes.Buffer) error { return JSON(b, testVIP, all) },
	} {
		var got bytes.Buffer
		if err := write(&got); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got.String()); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}

// Whatever comes in is read, and answers no SYN whose number it does not have.
func FuzzAnswer(f *testing.F) {
	a := testAttempt()
	f.Add(granting(packet.Header{From: a.from.Addr(), Ports: [2]uint16{40000, 80}}, testVIP, a.seq+1))
	f.Add(packet.Segment{From: testVIP, To: a.from, Flags: packet.RST | packet.ACK, Ack: a.seq + 1}.Packet())
	syn := packet.IPIP(testDirector, testNode, a.id, packet.Segment{From: a.from, To: a.to, Flags: packet.SYN, Seq: a.seq}.Packet())
	for _, quoted := range [][]byte{syn, syn[:28], syn[20:], syn[20:48]} {
		outer := packet.IPIP(testNode, testDirector, 1, append([]byte{3, 2, 0, 0, 0, 0, 0, 0}, quoted...))
		outer[9] = 1
		f.Add(outer)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a := testAttempt()
		c := conversation{attempts: []*attempt{a}}
		c.see(b, time.Now())
		h, ok := packet.Parse(b)
		switch a.outcome {
		case granted, refused:
			if !ok || h.Ack != a.seq+1 || h.Destination() != a.from {
				t.Errorf("%x is an answer", b)
			}
		case rejected:
			if about, ok := h.Quoted(); !ok || about.ID != a.id && about.Seq != a.seq {
				t.Errorf("%x is an error about it", b)
			}
		}
		a.judge(Question{}, nil)
	})
}

func FuzzNeighbours(f *testing.F) {
	f.Add([]byte("IP address       HW type     Flags       HW address            Mask     Device\n" +
		"10.9.0.31        0x1         0x0         00:00:00:00:00:00     *        eth0\n"))
	f.Add([]byte("10.9.0.31 0x1\n\n\x00 \xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for a := range parseNeighbours(b) {
			if !bytes.Contains(b, []byte(a.String())) && a.Is4() {
				t.Errorf("%s is not in %q", a, b)
			}
		}
	})
}

func FuzzReady(f *testing.F) {
	f.Add(200, "50", "ready\n")
	f.Add(404, "", "draining\n")
	f.Add(503, "\x00", "not ready: \x1b[0m")
	f.Fuzz(func(t *testing.T, status int, weight, line string) {
		r := judgeReady(status, weight, line)
		if r.weight < 0 || r.weight > 100 || (r.state == Good) != (r.weight > 0) {
			t.Errorf("got %+v", r)
		}
		if strings.ContainsFunc(r.text, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			t.Errorf("cannot be printed: %q", r.text)
		}
		code := (Result{State: r.state, Weight: r.weight}).ExitCode(253)
		if code < 0 || code > 255 {
			t.Errorf("exits with %d", code)
		}
	})
}
